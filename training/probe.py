#!/usr/bin/env python3
"""Quality against cost of several designs of `lite`, trained alike and briefly: python training/probe.py [--steps N].

Prints a table of MAC per pixel and the figures on the held-out pairs; finished designs are not trained again.
"""
import argparse
import json
import subprocess
import sys
from pathlib import Path

from netpack.export import mac_per_pixel
from netpack.lite import Lite

HERE = Path(__file__).resolve().parent

# What differs from the network that ships.
DESIGNS = {
    "shipped": {},
    "one round": dict(rounds=1),
    "one round, four blocks by 4": dict(rounds=1, joins=4),
    "three rounds, one block by 4": dict(rounds=3, joins=1),
    "one block by 4": dict(joins=1),
    "gamma 0.05": dict(gamma=0.05),
    "gamma 0.003": dict(gamma=0.003),
    "wider by 8 and 16": dict(deep=48),
    "one block by 16": dict(deepest=1),
    "narrow colour": dict(chroma=16),
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
            changes += ["lite.warmup=50", "lite.checkpoint_every=100000", "lite.validate_every=100000"]
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
