#!/usr/bin/env python3
"""Checks what a pack promises, through the shipped binary; exit status 1 if anything fails.

    python training/check.py --model engines/lite --pictures DIR [--pictures DIR ...] [--clips DIR] [--footage DIR]

Per picture: brightness rises strictly from ratio 1 to 10, ratio 1 keeps it within 10 %, tones keep their order at ratio 4,
pixels above 0.8 change by less than 10 % at ratio 4 (mean over them). Made frames: grey stays grey, black stays black,
extreme values and small sizes pass. With --footage (real clips of the night): a frame of each at the ratio that is found
for it: tones in their order, no new clipping, no more colour in the dark and no more of the encoder's grid than a plain
curve gives. With --clips (well-lit clips): daylight at ratio 1, and noise on
darkened frames, of which the truth is known. FP16 files against FP32 where --model is a folder that has both.
"""
import argparse
import sys
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benches/video"))
import figures  # noqa: E402
from netpack.manifest import read_manifest, variants_of
from netpack.runner import OnnxRunner, add_arguments, from_arguments, pictures, read

RATIOS = tuple(range(1, 11))
BRIGHT = int(0.8 * 255)


class Report:
    def __init__(self):
        self.failed = 0

    def row(self, what, value, limit, passed):
        self.failed += not passed
        print(f"| {what} | {value} | {limit} | {'ok' if passed else '**FAILS**'} |", flush=True)


def shrink(image, longest):
    scale = longest / max(image.shape[:2]) if longest else 1
    if scale >= 1:
        return image
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    return np.asarray(Image.fromarray(image).resize(size, Image.LANCZOS))


def check_pictures(report, runner, folder, limit, longest, lit):
    images = {name: shrink(read(path), longest) for name, path in list(pictures(folder).items())[:limit]}
    outputs = runner.run(images, RATIOS)
    brightness = {n: [float(outputs[r][n].mean()) for r in RATIOS] for n in images}
    falling = [n for n, b in brightness.items() if not all(y > x for x, y in zip(b, b[1:]))]
    report.row(f"{folder.name}: pictures whose brightness does not rise from ratio 1 to 10",
               f"{len(falling)} of {len(images)} {' '.join(falling[:4])}", "0", not falling)
    away = {n: b[0] / max(float(images[n].mean()), 1e-3) - 1 for n, b in brightness.items()}
    worst = max(away, key=lambda n: abs(away[n]))
    report.row(f"{folder.name}: brightness at ratio 1 against the input, worst", f"{100 * away[worst]:+.1f} % ({worst})",
               "10 %", abs(away[worst]) < 0.1)
    turned = {n: figures.without_truth(images[n][None], outputs[4][n][None])["flips"] for n in images}
    worst = max(turned, key=turned.get)
    mean = float(np.mean(list(turned.values())))
    report.row(f"{folder.name}: pairs of tones that turn over at ratio 4, mean",
               f"{mean:.1f} %, worst {turned[worst]:.1f} % ({worst})", "1 %", mean <= 1)
    changes = {}
    for name, image in images.items():
        bright = image.mean(2) > BRIGHT
        if bright.sum() >= 20:
            before, after = image[bright].astype(float), outputs[4][name][bright].astype(float)
            changes[name] = float(np.abs(after.mean(1) / before.mean(1) - 1).mean())
    if changes:
        worst = max(changes, key=changes.get)
        report.row(f"{folder.name}: pixels above 0.8 at ratio 4, mean change, worst of {len(changes)} pictures",
                   f"{100 * changes[worst]:.1f} % ({worst}), median {100 * np.median(list(changes.values())):.1f} %",
                   "10 %", changes[worst] < 0.1)
    at4 = [b[3] for b in brightness.values()]
    report.row(f"{folder.name}: brightness at ratio 4", f"{min(at4):.0f} to {max(at4):.0f}, mean {np.mean(at4):.0f}",
               "90 to 140" if lit else "-", not lit or (min(at4) >= 90 and max(at4) <= 140))


FLAT = (2, 3, 5, 8, 15, 30, 60, 120)


def made_frames():
    rng = np.random.default_rng(5)
    y, x = np.mgrid[0:120, 0:160]
    grey = (30 + 25 * np.sin(x / 9) * np.cos(y / 7) + 5 * rng.standard_normal((120, 160))).clip(0, 255)
    lamps = grey.copy()
    lamps[40:50, 60:75] = 255
    frames = {"grey": np.repeat(grey[..., None], 3, 2), "grey_lamps": np.repeat(lamps[..., None], 3, 2),
              "grey_bright": np.repeat((x * 255 / 159)[..., None], 3, 2), "black": np.zeros((120, 160, 3)),
              "black_large": np.zeros((480, 640, 3)), "white": np.full((120, 160, 3), 255),
              "random": rng.integers(0, 256, (97, 131, 3)), "tiny": rng.integers(0, 60, (16, 16, 3)),
              "checker": np.where((x + y)[..., None] % 2, 255, 0) * np.ones(3)}
    for i, name in enumerate(("red", "green", "blue")):
        frames[name] = np.zeros((64, 64, 3))
        frames[name][..., i] = 255
    for level in FLAT:
        frames[f"flat_{level}"] = np.full((96, 96, 3), level)
    return {name: np.rint(frame).astype(np.uint8) for name, frame in frames.items()}


def check_made(report, runner, large):
    frames = made_frames()
    outputs = runner.run(frames, (1, 4, 10, 20))
    spread = max(int((o[n].max(2).astype(int) - o[n].min(2)).max())
                 for o in outputs.values() for n in frames if n.startswith("grey"))
    report.row("grey in: largest difference of channels out, of 255", spread, "1", spread <= 1)
    for name in ("black", "black_large"):
        worst, peak = (max(float(f(outputs[r][name])) for r in outputs) for f in (np.mean, np.max))
        report.row(f"{name}: mean and largest level at any ratio", f"{worst:.2f}, {peak:.0f}", "mean under 4", worst < 4)
    grid = {level: float(outputs[4][f"flat_{level}"][32:64, 32:64].std((0, 1)).max()) for level in FLAT}
    worst = max(grid, key=grid.get)
    report.row("flat surfaces at ratio 4: standard deviation away from the edge", f"{grid[worst]:.2f} (level {worst})", "1",
               grid[worst] < 1)
    report.row("extreme values, single colours, 16 × 16", "all written", "no failure", True)
    white = float(outputs[4]["white"].mean())
    report.row("white at ratio 4, mean", f"{white:.1f}", "above 245", white > 245)
    if large:
        rng = np.random.default_rng(6)
        frame = {"large": (rng.random((2304, 4096, 3)) * 40).astype(np.uint8)}
        runner.run(frame, (4,))
        report.row("4096 × 2304", "written", "no failure", True)


#: What real footage may come to: figure, words, limit, unit.
FOOTAGE = (("flips", "pairs of tones that turn over", 0.5, " %"), ("clipped", "pixels newly clipped", 1.0, " %"),
           ("chroma", "colour in the dark against a plain curve's", 1.1, ""), ("grid", "coding grid against a plain curve's", 1.05, ""))


def check_footage(report, runner, folder, longest):
    frames = clip_frames(folder, [], longest)
    if isinstance(runner, OnnxRunner):
        sys.exit("check.py: --footage needs the program: the automatic ratio is its own")
    outputs = runner.run(frames, (0,))[0]
    found = {name: figures.without_truth(frame[None], outputs[name][None]) for name, frame in frames.items()}
    for key, words, limit, unit in FOOTAGE:
        values = {name: row[key] for name, row in found.items() if np.isfinite(row[key])}
        worst = max(values, key=values.get)
        report.row(f"{folder.name} at the automatic ratio: {words}, worst of {len(values)}",
                   f"{values[worst]:.2f}{unit} ({worst}), median {np.median(list(values.values())):.2f}{unit}",
                   f"{limit}{unit}", values[worst] <= limit)


def clip_frames(folder, names, longest):
    frames = {}
    for path in sorted(folder.iterdir()):
        if path.suffix in (".mp4", ".mkv", ".avi") and (not names or path.stem in names):
            for i, frame in enumerate(iio.imiter(path, plugin="FFMPEG")):
                if i == 10:
                    frames[path.stem] = shrink(np.asarray(frame), longest)
                    break
    return frames


def check_clips(report, runner, folder, names, longest):
    frames = clip_frames(folder, names, longest)
    daylight = runner.run(frames, (1,))[1]
    psnr = {n: -10 * np.log10(max(((daylight[n] / 255.0 - f / 255.0) ** 2).mean(), 1e-9)) for n, f in frames.items()}
    worst = min(psnr, key=psnr.get)
    report.row(f"daylight at ratio 1, worst of {len(psnr)}", f"{psnr[worst]:.1f} dB ({worst}), "
               f"mean {np.mean(list(psnr.values())):.1f}", "30 dB", psnr[worst] > 30)
    # The same scene with and without noise; what differs between the two outputs is output noise.
    rng = np.random.default_rng(8)
    noisy, gain_db = {}, []
    for name, frame in frames.items():
        dark = (frame / 255.0) ** 2.2 * 0.02
        noise = rng.standard_normal(dark.shape) * np.sqrt(2e-4 * dark + 2e-7)
        for kind, light in (("clean", dark), ("noisy", dark + noise)):
            noisy[f"{name}_{kind}"] = np.rint(255 * np.clip(light, 0, 1) ** (1 / 2.2)).astype(np.uint8)
    outputs = runner.run(noisy, (4,))[4]
    for name in frames:
        a, b = (noisy[f"{name}_{k}"].astype(float) for k in ("clean", "noisy"))
        c, d = (outputs[f"{name}_{k}"].astype(float) for k in ("clean", "noisy"))
        gain = c.mean() / max(a.mean(), 1e-3)
        amplified, left = ((b - a) * gain), (d - c)
        gain_db.append(20 * np.log10(amplified.std() / max(left.std(), 1e-6)))
    report.row(f"noise below the input's amplified by the same gain, worst of {len(gain_db)}",
               f"{min(gain_db):.1f} dB, mean {np.mean(gain_db):.1f}", "6 dB", min(gain_db) >= 6)


def check_variants(report, model, folder, longest):
    images = {n: shrink(read(p), longest) for n, p in list(pictures(folder).items())[:5]}
    found = [OnnxRunner(model, variant).pack for variant in ("fp32", "fp16")]
    worst = 1e9
    for image in images.values():
        for a, b in zip(*(pack.enhance(image.astype(np.float32) / 255, 1.0, 4.0, 10.0) for pack in found)):
            worst = min(worst, -10 * np.log10(max(float(((a - b) ** 2).mean()), 1e-12)))
    report.row("FP16 files against FP32, worst", f"{worst:.1f} dB", "50 dB", worst >= 50)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--pictures", type=Path, action="append", default=[])
    parser.add_argument("--lit", type=Path, help="pictures that must come out between 90 and 140 at ratio 4")
    parser.add_argument("--clips", type=Path, help="folder of well-lit clips")
    parser.add_argument("--footage", type=Path, help="folder of real clips of the night")
    parser.add_argument("--clip", action="append", default=[], help="only this clip (stem); may repeat")
    parser.add_argument("--limit", type=int, help="only the first N pictures of each folder")
    parser.add_argument("--longest", type=int, default=0, help="shrink pictures to this longest side")
    parser.add_argument("--large", action="store_true", help="also a 4096 × 2304 frame")
    arguments = parser.parse_args()
    runner, report = from_arguments(arguments), Report()
    print("| check | found | allowed | |\n|---|---|---|---|")
    for folder in ([arguments.lit] if arguments.lit else []) + arguments.pictures:
        check_pictures(report, runner, folder, arguments.limit, arguments.longest, folder == arguments.lit)
    check_made(report, runner, arguments.large)
    if arguments.footage:
        check_footage(report, runner, arguments.footage, arguments.longest)
    if arguments.clips:
        check_clips(report, runner, arguments.clips, arguments.clip, arguments.longest)
    folder = Path(arguments.model)
    has_both = folder.is_dir() and "fp16" in variants_of(read_manifest(folder))
    if has_both and (arguments.lit or arguments.pictures):
        check_variants(report, arguments.model, arguments.lit or arguments.pictures[0], arguments.longest)
    print(f"\n{report.failed} failed" if report.failed else "\nall passed")
    sys.exit(report.failed > 0)


if __name__ == "__main__":
    main()
