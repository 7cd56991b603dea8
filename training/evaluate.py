#!/usr/bin/env python3
"""Measures a pack through the shipped binary, on pairs or on pictures without a bright twin.

    python training/evaluate.py --model engines/lite --low DIR --high DIR --output DIR
    python training/evaluate.py --model engines/lite --low DIR --output DIR          (unpaired)
    ... --compare PACK [--compare PACK]   puts other packs on the contact sheets
    ... --best-from FILE                  ratios from a JSON {file name: ratio} instead of the search

Writes table.md, images.csv, summary.json and one contact sheet per image (PNG).
PSNR and SSIM are scikit-image's (SSIM over RGB, data range 255, uniform 7 × 7 window), CIEDE2000 the
mean over pixels, chroma the mean of sqrt(a² + b²) in CIELAB against that of the truth, FLIP the mean
error of flip-evaluator (0 is perfect).
"""
import argparse
import csv
import json
import sys
from pathlib import Path

import flip_evaluator
import numpy as np
from PIL import Image, ImageDraw
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from tqdm import tqdm

from netpack.runner import add_arguments, from_arguments, pictures, read

RATIOS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20)
SHEET_RATIOS = (1, 2, 4, 8)
COLUMNS = ("psnr", "ssim", "ciede2000", "chroma", "flip")


def chroma(image):
    lab = rgb2lab(image)
    return float(np.hypot(lab[..., 1], lab[..., 2]).mean())


def measure(output, truth):
    scene = [x.astype(np.float32) / 255 for x in (truth, output)]
    return {
        "psnr": float(peak_signal_noise_ratio(truth, output, data_range=255)),
        "ssim": float(structural_similarity(truth, output, channel_axis=2, data_range=255)),
        "ciede2000": float(deltaE_ciede2000(rgb2lab(truth), rgb2lab(output)).mean()),
        "chroma": chroma(output) / max(chroma(truth), 1e-6),
        "flip": float(flip_evaluator.evaluate(scene[0], scene[1], "LDR")[1]),
    }


def sheet(path, parts, width=420, columns=4):
    """Captioned pictures side by side, `columns` to a row."""
    tiles = []
    for caption, image in parts:
        tile = Image.fromarray(image)
        tile = tile.resize((width, round(width * tile.height / tile.width)), Image.LANCZOS)
        framed = Image.new("RGB", (width, tile.height + 20), "white")
        framed.paste(tile, (0, 20))
        ImageDraw.Draw(framed).text((4, 4), caption, fill="black")
        tiles.append(framed)
    height = tiles[0].height
    page = Image.new("RGB", (width * min(columns, len(tiles)), height * -(-len(tiles) // columns)), "white")
    for i, tile in enumerate(tiles):
        page.paste(tile, (width * (i % columns), height * (i // columns)))
    page.save(path)


def pairs_table(runner, low, high, fixed):
    """Rows per image for the best ratio (or the fixed one) and for ratio 4, and all outputs."""
    names = [name for name in low if name in high]
    images = {name: read(low[name]) for name in names}
    truths = {name: read(high[name]) for name in names}
    ratios = sorted({4, *fixed.values()}) if fixed else RATIOS
    outputs = runner.run(images, ratios)
    rows = []
    for name in tqdm(names, desc="measuring", unit="image", leave=False):
        if fixed:
            best = fixed[name]
        else:
            psnr = {r: peak_signal_noise_ratio(truths[name], outputs[r][name], data_range=255) for r in ratios}
            best = max(psnr, key=psnr.get)
        for label, ratio in (("best" if not fixed else "given", best), ("ratio 4", 4)):
            rows.append({"image": name, "at": label, "ratio": ratio, "mean": float(outputs[ratio][name].mean()),
                         **measure(outputs[ratio][name], truths[name])})
    return rows, outputs, images, truths


def markdown(rows):
    lines = []
    for label in dict.fromkeys(row["at"] for row in rows):
        chosen = [row for row in rows if row["at"] == label]
        mean = {key: float(np.mean([row[key] for row in chosen])) for key in ("ratio", "mean", *COLUMNS)}
        lines += [f"| {label}: image | ratio | mean of 255 | PSNR | SSIM | CIEDE2000 | chroma | FLIP |",
                  "|---|---|---|---|---|---|---|---|"]
        for row in [*chosen, {"image": "**mean**", **mean}]:
            lines.append(f"| {row['image']} | {row['ratio']:g} | {row['mean']:.1f} | {row['psnr']:.2f} | "
                         f"{row['ssim']:.4f} | {row['ciede2000']:.2f} | {row['chroma']:.3f} | {row['flip']:.4f} |")
        lines.append("")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--low", type=Path, required=True, help="folder of dark pictures")
    parser.add_argument("--high", type=Path, help="folder of their bright twins, same file stems")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--best-from", type=Path, help="JSON of ratios per file name")
    parser.add_argument("--compare", action="append", default=[], help="another pack for the contact sheets")
    parser.add_argument("--limit", type=int, help="only the first N pictures")
    parser.add_argument("--no-sheets", action="store_true")
    arguments = parser.parse_args()
    for folder in filter(None, (arguments.low, arguments.high)):
        if not folder.is_dir():
            sys.exit(f"evaluate.py: {folder} is no folder; give one with pictures.")
    arguments.output.mkdir(parents=True, exist_ok=True)
    low = dict(list(pictures(arguments.low).items())[:arguments.limit])
    runner = from_arguments(arguments)
    if arguments.high:
        fixed = None
        if arguments.best_from:
            fixed = {Path(k).stem: v for k, v in json.loads(arguments.best_from.read_text()).items()}
        rows, outputs, images, truths = pairs_table(runner, low, pictures(arguments.high), fixed)
        table = markdown(rows)
    else:
        images, truths = {name: read(path) for name, path in low.items()}, {}
        outputs = runner.run(images, SHEET_RATIOS)
        rows = [{"image": n, "at": f"ratio {r}", "ratio": r, "mean_in": float(images[n].mean()),
                 "mean": float(outputs[r][n].mean()), "chroma": chroma(outputs[r][n])}
                for r in SHEET_RATIOS for n in images]
        table = "\n".join(["| ratio | mean of 255 | chroma |", "|---|---|---|"] + [
            f"| {r} | {np.mean([w['mean'] for w in rows if w['ratio'] == r]):.1f} | "
            f"{np.mean([w['chroma'] for w in rows if w['ratio'] == r]):.1f} |" for r in SHEET_RATIOS]) + "\n"
    print(table)
    (arguments.output / "table.md").write_text(table)
    (arguments.output / "summary.json").write_text(json.dumps(rows, indent=1))
    with open(arguments.output / "images.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    if arguments.no_sheets:
        return
    others = {Path(pack).name: from_arguments(arguments, pack).run(images, (4,))[4] for pack in arguments.compare}
    best = {row["image"]: row["ratio"] for row in rows if row["at"] in ("best", "given")}
    for name, image in images.items():
        wanted = sorted({r for r in (*SHEET_RATIOS, best.get(name)) if r in outputs})
        parts = [("input", image)] + [(f"ratio {r:g}" + (" (best)" if r == best.get(name) else ""),
                                       outputs[r][name]) for r in wanted]
        parts += [(f"{pack}, ratio 4", pages[name]) for pack, pages in others.items()]
        parts += [("truth", truths[name])] if name in truths else []
        sheet(arguments.output / f"sheet_{name}.png", parts)


if __name__ == "__main__":
    main()
