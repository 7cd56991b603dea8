"""Draws the automatic ratio of the element over time, on the clips of DIR/video/real_lowlight.

    python3 benches/video/ratios.py [--data DIR] [--program target/release/examples/ratios] [--picture docs/video/ratio.png]

Needs numpy and matplotlib (PyPI), and `cargo build --release -p gst-plugin-uretinex --example ratios`. Whole clips at their own
size; `max-pixels` only saves time, as the ratio is found by a small copy of the frame. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
#: The packs, and the colour of each.
MODELS = {"video": "tab:blue", "lite": "tab:green"}
TICKS = (1, 1.5, 2, 3, 4, 6, 8)


def path(program: Path, clip: Path, model: str) -> np.ndarray:
    """Rows of seconds, ratio (0 where frames go through untouched), mean luma before and after, 0 to 1."""
    command = [str(program), str(clip), f"model={model}", "max-pixels=57600", "temporal=0"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\n")
    return np.array([[float(v) for v in line.split()] for line in lines if line])


def describe(name: str, model: str, rows: np.ndarray) -> str:
    """A row of the table: the ratio at the start, its range, its greatest change from frame to frame."""
    ratio = rows[:, 1]
    if not ratio.any():
        return f"| {name} | {model} | {len(rows)} | daylight: untouched | | | |"
    step = np.abs(np.diff(np.log(ratio))).max() if len(ratio) > 1 else 0.0
    return (f"| {name} | {model} | {len(rows)} | {ratio[0]:.2f} | {ratio.min():.2f} to {ratio.max():.2f} | {100 * np.expm1(step):.1f} % | "
            f"{255 * rows[:, 2].mean():.0f} → {255 * rows[:, 3].mean():.0f} |")


def draw(paths: dict[str, dict[str, np.ndarray]], file: Path) -> None:
    columns = 3
    lines = -(-len(paths) // columns)
    figure, cells = plt.subplots(lines, columns, figsize=(11, 2.1 * lines), sharey=True, layout="constrained", squeeze=False)
    for cell in cells.flat[len(paths):]:
        cell.set_axis_off()
    for cell, (name, of_models) in zip(cells.flat, paths.items()):
        cell.set_title(name, fontsize=9)
        cell.set_yscale("log")
        cell.set_ylim(0.95, 8.8)
        cell.set_yticks(TICKS, [f"{t:g}" for t in TICKS])
        cell.minorticks_off()
        cell.grid(alpha=0.3)
        cell.tick_params(labelsize=7)
        for model, rows in of_models.items():
            cell.plot(rows[:, 0], rows[:, 1], color=MODELS[model], label=f"ratio, {model}")
        rows = of_models["video"]
        if not rows[:, 1].any():
            cell.text(0.5, 0.5, "daylight: untouched", transform=cell.transAxes, ha="center", fontsize=9)
        luma = cell.twinx()
        luma.set_ylim(0, 255)
        luma.tick_params(labelsize=7, colors="grey")
        luma.plot(rows[:, 0], 255 * rows[:, 2], color="black", linewidth=0.8, linestyle=":", label="mean luma of the frame")
        luma.plot(rows[:, 0], 255 * rows[:, 3], color="tab:orange", linewidth=0.8, label="mean luma of the output, video")
    for cell in cells[-1]:
        cell.set_xlabel("seconds", fontsize=8)
    handles = [line for axis in (cells[0, 0], *figure.axes[-1:]) for line in axis.get_lines()]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=8)
    figure.savefig(file, dpi=90)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "../shared/data")
    parser.add_argument("--program", type=Path, default=ROOT / "target/release/examples/ratios")
    parser.add_argument("--picture", type=Path, default=ROOT / "docs/video/ratio.png")
    args = parser.parse_args()
    clips = sorted((args.data / "video/real_lowlight").glob("*.*"))
    if not clips:
        print(f"SKIPPED: no clips in {args.data / 'video/real_lowlight'}: name a folder with such clips with --data")
        return 0
    paths = {}
    print("| clip | pack | frames | first ratio | range | greatest step | mean luma |\n|---|---|---|---|---|---|---|")
    for clip in clips:
        paths[clip.stem] = {model: path(args.program, clip, model) for model in MODELS}
        for model, rows in paths[clip.stem].items():
            print(describe(clip.stem, model, rows), flush=True)
    args.picture.parent.mkdir(parents=True, exist_ok=True)
    draw(paths, args.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
