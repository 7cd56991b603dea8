#!/usr/bin/env python3
"""Quality against cost of several designs of `lite`, trained alike and briefly: python probe.py [--steps N].

Prints a table of MAC per pixel and the figures on the held-out pairs; finished designs are not trained again.
"""
import argparse
import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from netpack.export import mac_per_pixel  # noqa: E402
from netpack.lite import Lite  # noqa: E402

# rounds, width at 4x, width at 8x, layers at 8x, width of the colour path, layers at 4x
DESIGNS = {
    "shipped": dict(rounds=2, width=32, deep=48, layers=2, chroma=32, joins=3),
    "one round": dict(rounds=1, width=32, deep=48, layers=2, chroma=32, joins=3),
    "one round, deeper": dict(rounds=1, width=32, deep=64, layers=4, chroma=32, joins=8),
    "three rounds, shallow": dict(rounds=3, width=32, deep=32, layers=1, chroma=16, joins=1),
    "work at 8x": dict(rounds=2, width=32, deep=80, layers=2, chroma=32, joins=1),
    "work at 4x": dict(rounds=2, width=32, deep=16, layers=1, chroma=32, joins=4),
    "narrow": dict(rounds=2, width=16, deep=32, layers=2, chroma=16, joins=3),
    "wide": dict(rounds=2, width=48, deep=64, layers=2, chroma=32, joins=4),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--runs", type=Path, default=HERE / "runs")
    arguments = parser.parse_args()
    print("| design | MAC per pixel | parameters | best PSNR | best SSIM | PSNR at 4 | seconds |\n|---|---|---|---|---|---|---|")
    for name, design in DESIGNS.items():
        run = "probe_" + name.replace(" ", "_").replace(",", "")
        log = arguments.runs / run / "log.jsonl"
        if not log.exists():
            changes = [f"lite.network.{key}={value}" for key, value in design.items()]
            changes += ["lite.patch=96", "lite.warmup=50", "lite.checkpoint_every=100000", "lite.validate_every=100000"]
            command = [sys.executable, str(HERE / "train.py"), "lite", "--runs", str(arguments.runs), "--name", run,
                       "--steps", str(arguments.steps), "--threads", "1"] + [x for change in changes for x in ("--set", change)]
            subprocess.run(command, check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        figures = json.loads(log.read_text().splitlines()[-1])
        model = Lite(**design)
        size = sum(p.numel() for p in model.parameters())
        print(f"| {name} | {mac_per_pixel(model, model.rounds)} | {size} | {figures['best_psnr']:.2f} | "
              f"{figures['best_ssim']:.4f} | {figures['psnr_at_4']:.2f} | {figures['seconds']} |", flush=True)


if __name__ == "__main__":
    main()
