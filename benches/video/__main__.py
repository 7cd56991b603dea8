"""Measures the element on footage as night cameras deliver it.

    python3 benches/video [--data DIR] [--ratio 4] [--model lite] [--short] [--clips a,b] [--conditions a,b] [--methods a,b]
                          [--json F] [--no-real]

Clips of DIR/video/normal (default ../shared/data) become dark, noisy and compressed, so that the truth is known, and those
of DIR/video/real_lowlight are taken as they are. Prints tables in Markdown. Needs requirements.txt (PyPI),
GStreamer with x264 and x265, the element in GST_PLUGIN_PATH, and FFmpeg for what people would chain. --short takes two
clips and two conditions at half the size, and fails where the element is worse than frame by frame.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

import figures
import footage
import methods as chains

SHORT_CLIPS = ("street", "still-street")
SHORT_CONDITIONS = ("medium", "medium-h264")


def mean(values) -> float:
    values = [v for v in values if np.isfinite(v)]
    return float(np.mean(values)) if values else float("nan")


def measure(data: Path, clips, conditions, chosen, frames: int, width: int) -> list[dict]:
    """One row for each clip, condition and method."""
    rows = []
    for clip in clips:
        truth = footage.truth(clip, data / "video/normal", frames, width)
        cut = frames // 2 if clip.cut_to else 0
        for condition in conditions:
            night = footage.night(clip, condition, truth)
            for name, method in chosen.items():
                out, seconds = chains.timed(method, night)
                row = figures.against_truth(out, truth, cut)
                rows.append({"clip": clip.name, "fixed": clip.still, "condition": condition.name, "method": name, **row})
                print(f"{clip.name} {condition.name} {name}: {row['psnr']:.2f} dB, {seconds:.1f} s", file=sys.stderr)
    return rows


def by_condition(rows: list[dict], chosen) -> str:
    """A table of what each method gains over frame by frame."""
    lines = [
        "| condition | clips | method | PSNR | SSIM | E_t | moving | worst moving | ghost | worst | 5 back | luma std |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    keys = dict.fromkeys((row["condition"], row["fixed"]) for row in rows)
    for condition, still in keys:
        here = [r for r in rows if (r["condition"], r["fixed"]) == (condition, still)]
        base = {r["clip"]: r for r in here if r["method"] == chains.PER_FRAME}
        for name in chosen:
            mine = [r for r in here if r["method"] == name]
            gain = lambda key: [r[key] - base[r["clip"]][key] for r in mine]
            share = lambda key: [r[key] / max(base[r["clip"]][key], 0.02) for r in mine]
            kind = "still" if still else "moving"
            if name == chains.PER_FRAME:
                values = [f"{mean(r['psnr'] for r in mine):.1f}", f"{mean(r['ssim'] for r in mine):.3f}",
                          f"{mean(r['e_t'] for r in mine):.2f}", f"{mean(r['moving'] for r in mine):.1f}", ""]
            else:
                worst = [v for v in gain("moving") if np.isfinite(v)]
                values = [f"{mean(gain('psnr')):+.2f}", f"{mean(gain('ssim')):+.3f}", f"×{mean(share('e_t')):.2f}",
                          "" if still else f"{mean(gain('moving')):+.2f}", f"{min(worst):+.2f}" if worst else ""]
            ghosts = [100 * r["ghost"] for r in mine if np.isfinite(r["ghost"])]
            values += ["", "", ""] if still or not ghosts else [
                f"{np.mean(ghosts):.1f} %", f"{max(ghosts):.1f} %", f"{100 * mean(r['ghost5'] for r in mine):.1f} %"]
            values.append(f"{mean(r['luma_std'] for r in mine):.3f}" if still else "")
            lines.append(f"| {condition} | {len(mine)} {kind} | {name} | " + " | ".join(values) + " |")
    return "\n".join(lines)


def after_cuts(rows: list[dict], chosen) -> str:
    lines = ["| condition | method | first frame | next | fifth after |", "|---|---|---|---|---|"]
    cuts = [r for r in rows if "cut+0" in r]
    base = {(r["clip"], r["condition"]): r for r in cuts if r["method"] == chains.PER_FRAME}
    for row in cuts:
        if row["method"] != chains.PER_FRAME:
            other = base[row["clip"], row["condition"]]
            gains = " | ".join(f"{row[k] - other[k]:+.2f}" for k in ("cut+0", "cut+1", "cut+5"))
            lines.append(f"| {row['condition']} | {row['method']} | {gains} |")
    return "\n".join(lines)


def real_clips(data: Path, chosen, frames: int, width: int) -> str:
    lines = ["| clip | method | flips % | clipped % | boil | chroma | grid | mean luma |", "|---|---|---|---|---|---|---|---|"]
    for file in sorted((data / "video/real_lowlight").glob("*.*")):
        source = footage.read(file, frames, width)
        for name, method in chosen.items():
            row = figures.without_truth(source, method(source))
            lines.append(f"| {file.stem} | {name} | {row['flips']:.1f} | {row['clipped']:.1f} | {row['boil']:.2f} | "
                         f"{row['chroma']:.2f} | {row['grid']:.2f} | {row['luma_in']:.0f} → {row['luma_out']:.0f} |")
            print(lines[-1], file=sys.stderr)
    return "\n".join(lines)


def guard(rows: list[dict]) -> list[str]:
    """What is worse than frame by frame, in words."""
    faults = []
    base = {(r["clip"], r["condition"]): r for r in rows if r["method"] == chains.PER_FRAME}
    for row in rows:
        if row["method"] != chains.NOW:
            continue
        other = base[row["clip"], row["condition"]]
        what = f"{row['clip']}, {row['condition']}"
        least, most = (2.0, 0.5) if row["condition"] == "medium" and row["fixed"] else (0.0, 1.0)
        if row["psnr"] < other["psnr"] + least:
            faults.append(f"{what}: {row['psnr']:.2f} dB, {other['psnr']:.2f} dB frame by frame")
        if row["e_t"] > most * other["e_t"]:
            faults.append(f"{what}: E_t {row['e_t']:.2f}, {other['e_t']:.2f} frame by frame")
        if row["moving"] < other["moving"] - 0.15:
            faults.append(f"{what}: {row['moving']:.2f} dB where it moves, {other['moving']:.2f} dB frame by frame")
    return faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "../shared/data")
    parser.add_argument("--ratio", type=float, default=4.0)
    parser.add_argument("--model", default="lite", help="the pack that is measured beside the default one")
    parser.add_argument("--clips", default="")
    parser.add_argument("--conditions", default="")
    parser.add_argument("--methods", default="")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--no-real", action="store_true")
    args = parser.parse_args()
    if not (args.data / "video/normal").is_dir():
        print(f"SKIPPED: {args.data / 'video/normal'} is absent: name a folder with such clips with --data")
        return 0
    select = lambda given, known: [k for k in known if not given or k.name in given.split(",")]
    clips, conditions = args.clips, args.conditions
    if args.short:
        clips, conditions = clips or ",".join(SHORT_CLIPS), conditions or ",".join(SHORT_CONDITIONS)
    clips, conditions = select(clips, footage.CLIPS), select(conditions, footage.CONDITIONS)
    wanted = args.methods or (f"{chains.PER_FRAME},{chains.NOW}" if args.short else "")
    chosen = {n: m for n, m in chains.methods(args.ratio, args.model).items() if not wanted or n in wanted.split(",")}
    frames, width = (16, 320) if args.short else (footage.FRAMES, footage.WIDTH)
    rows = measure(args.data, clips, conditions, chosen, frames, width)
    print(by_condition(rows, chosen), "\n")
    print(after_cuts(rows, chosen), "\n")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))
    if args.short:
        faults = guard(rows)
        print("\n".join(f"FAULT: {fault}" for fault in faults) or "no worse than frame by frame")
        return 1 if faults else 0
    if not args.no_real:
        print(real_clips(args.data, {n: m for n, m in chosen.items() if "→" not in n}, frames, 640))
    return 0


if __name__ == "__main__":
    sys.exit(main())
