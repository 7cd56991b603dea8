"""The runs that made a pack's weights, as the text `provenance` of its `model.toml`: written, and read again."""
import datetime
import re


DATA = {
    "pictures": "LOL our485 (a subset without the evaluation scenes), SICE and FiveK pairs, and synthetically darkened BSDS500, "
                "ImageNet samples and video frames, and night pictures and clips at ratio 1",
    "video": "sequences of synthetically darkened, noisy and encoded clips, BSDS500 and ImageNet samples, and on LOL our485 (a "
             "subset without the evaluation scenes)",
}


def provenance(stored, machine):
    options = stored["settings"][stored["pack"]]
    runs = stored.get("earlier", []) + [[stored["step"], stored["seconds"]]]
    steps, seconds = sum(r[0] for r in runs), sum(r[1] for r in runs)
    data = DATA["video" if stored["pack"] == "video" else "pictures"]
    return (f"Trained by the uretinexenhance project from random initialisation on {data}: {steps} steps, {seconds / 60:.0f} minutes on "
            f"{machine}, PyTorch, {datetime.date.today():%Y-%m-%d}; the last {stored['step']} steps, of {options['batch']} "
            f"patches of {options['patch']} pixels, in {stored['seconds'] / 60:.0f} minutes. {role_of_the_teacher(stored)}")


def role_of_the_teacher(stored):
    """What teach.py's teacher, the authors' checkpoint, had to do with the weights."""
    share = stored["settings"]["data"]["taught"]
    before = stored.get("taught_before", 0)
    if not share and before:
        return (f"The authors' checkpoint was not used for initialisation. It was a teacher in {before} steps before the "
                "last run: part of the luma of the LOL targets was its output.")
    if not share:
        return "The authors' checkpoint was used neither for initialisation nor as a teacher."
    return (f"The authors' checkpoint was not used for initialisation. It was a teacher in the last "
            f"{before + stored['step']} steps: {100 * share:.0f} % of the luma of the LOL targets was its output.")


def told_by(provenance):
    """What ship.py wrote of the runs: their steps and seconds, and the steps that had a teacher; None if it tells none."""
    told = re.search(r"(\d+) steps.*? (\d+) minutes", provenance)
    taught = re.search(r"a teacher in (?:the last )?(\d+) steps", provenance)
    return told and (int(told[1]), 60 * int(told[2]), int(taught[1]) if taught else 0)
