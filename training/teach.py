#!/usr/bin/env python3
"""What a trained network makes of the LOL pairs, to teach with: python training/teach.py --teacher PACK.

Run prepare.py first. PACK is a pack of the paper's architecture, for instance the authors' checkpoint through
convert.py. Its output for each dark picture, as it is and recoloured, is brought to the brightness of the bright twin
over 16 × 16 pixels; its luma is kept. That is the twin less what cannot be told from the dark picture, noise among it:
`data.taught` of settings.toml says how much of it targets take.
"""
import argparse
import pickle
import tomllib
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from learning.samples import luma, recoloured, smoothed_gain
from netpack.load import load
from netpack.networks import Full

HERE = Path(__file__).resolve().parent

RATIO = 6.0      # where the authors' network is at its best on LOL


@torch.no_grad()
def taught(model, low, high):
    """-> 8-bit luma [h, w] of the teacher's output, as bright as the truth."""
    image = torch.from_numpy(low.transpose(2, 0, 1)[None].astype(np.float32) / 255)
    device = next(model.parameters()).device
    with torch.autocast(device.type, dtype=torch.bfloat16):
        output = model(image.to(device), torch.full((1, 1, 1, 1), RATIO, device=device))
    found = luma(output.float().clamp(0, 1)[0].permute(1, 2, 0).cpu().numpy())
    return np.rint(np.clip(found * smoothed_gain(found, luma(high.astype(np.float32) / 255)), 0, 1) * 255).astype(np.uint8)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=HERE / "runs")
    arguments = parser.parse_args()
    settings = tomllib.loads((HERE / "settings.toml").read_text())["data"]
    with open(arguments.runs / settings["cache"], "rb") as file:
        pairs = pickle.load(file)["lol"]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = load(Full(), arguments.teacher).eval().to(device, memory_format=torch.channels_last)
    found = {name: (taught(model, low, high), taught(model, recoloured(low, high), high))
             for low, high, name in tqdm(pairs, desc="taught", unit="pair", mininterval=10)}
    with open(arguments.runs / settings["taught_by"], "wb") as file:
        pickle.dump(found, file, protocol=pickle.HIGHEST_PROTOCOL)


if __name__ == "__main__":
    main()
