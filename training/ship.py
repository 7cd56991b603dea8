#!/usr/bin/env python3
"""Writes the pack of a run: python training/ship.py lite --version X.Y.Z --output engines/lite [--run NAME].

The averaged weights of the checkpoint are exported, each rounded to what 16 bits hold, so that both variants have the
same weights; FP16 is compared with FP32 over the whole pipeline.
"""
import argparse
import sys
from pathlib import Path

import numpy as np
import torch

from learning.grey import even_out
from learning.objectives import PACKS
from learning.provenance import provenance
from netpack.export import write_pack
from netpack.load import load
from netpack.manifest import SUBNETWORKS, VARIANTS, file_name, read_manifest
from netpack.networks import Full
from netpack.runtime import Pack

HERE = Path(__file__).resolve().parent

LICENCES = {"video": "MIT, as far as the weights are the project's to license; trained on data sets that are for research "
                     "(LOL, BSDS500, ImageNet samples) or of no stated licence (clips), so clear commercial use yourself"}
LICENCE = ("MIT, as far as the weights are the project's to license; trained on data sets that are for research "
           "(LOL, BSDS500, ImageNet samples), CC BY-NC 4.0 (SICE) or of no stated licence (night pictures), so clear "
           "commercial use yourself")
DESCRIPTIONS = {
    "full": "URetinex-Net as in the paper, trained by this project",
    "lite": "URetinex-Net's unfolding on unshuffled planes, about a hundredth of the cost",
    "video": "one round for a stream that remembers, trained on what cameras and encoders leave, tones that cannot turn over",
}
# Bytes of a variant: packs are embedded in the library.
LIMITS = {"full": 2_000_000, "lite": 600_000, "video": 600_000}


@torch.no_grad()
def mix(model, other, share):
    """Moves the weights by that share of the way to those of another state of the same network."""
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        a.lerp_(b, share)


@torch.no_grad()
def round_weights(model):
    """Rounds to 16 bits in place. What is left between the variants is the rounding of what layers hand on."""
    for weights in model.parameters():
        rounded = weights.half().float()
        if not torch.isfinite(rounded).all():
            sys.exit("ship.py: a weight is beyond 65504, the largest number of 16 bits; train with a smaller rate")
        weights.copy_(rounded)
    if isinstance(model, Full):
        even_out(model)


def compare_variants(folder):
    """-> the likeness of FP16 to FP32 over dark and bright noise, in dB, at worst."""
    rng = np.random.default_rng(3)
    worst = 1e9
    for scale in (0.02, 0.1, 0.4, 1.0):
        image = (rng.random((48, 64, 3)) * np.linspace(0, scale, 64)[None, :, None]).astype(np.float32)
        for ratio in (1.0, 4.0, 10.0):
            a, b = (Pack(folder, variant).enhance(image, ratio)[0] for variant in ("fp32", "fp16"))
            worst = min(worst, -10 * np.log10(max(float(((a - b) ** 2).mean()), 1e-12)))
    return worst


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pack", choices=PACKS)
    parser.add_argument("--runs", type=Path, default=HERE / "runs")
    parser.add_argument("--run", help="folder under --runs; default is the pack's name")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--machine", default="one CPU core (AVX-512)")
    parser.add_argument("--mix", type=Path, metavar="PACK", help="ship the mean of the run's weights and of this pack's")
    parser.add_argument("--share", type=float, default=0.5, help="of PACK in that mean")
    arguments = parser.parse_args()
    if not 0 <= arguments.share <= 1:
        sys.exit(f"ship.py: --share {arguments.share:g} is not from 0 to 1")
    checkpoint = arguments.runs / (arguments.run or arguments.pack) / "checkpoint.pt"
    if not checkpoint.is_file():
        sys.exit(f"ship.py: {checkpoint} is missing; train first: train.py {arguments.pack}")
    stored = torch.load(checkpoint, map_location="cpu", weights_only=False)
    model = PACKS[arguments.pack][0](stored["settings"]).eval()
    model.load_state_dict(stored["average"])
    told = provenance(stored, arguments.machine)
    if arguments.mix:
        try:
            before = read_manifest(arguments.mix)["version"]
            other = load(PACKS[arguments.pack][0](stored["settings"]).eval(), arguments.mix)
        except (OSError, ValueError) as error:
            sys.exit(f"ship.py: {arguments.mix} is no pack of {arguments.pack}'s design: {error}")
        mix(model, other, arguments.share)
        told += f" {100 * arguments.share:.0f} % of each weight is that of {arguments.pack} {before}, the rest the last run's."
    round_weights(model)
    write_pack(model, arguments.output, name=arguments.pack, version=arguments.version,
               description=DESCRIPTIONS[arguments.pack], licence=LICENCES.get(arguments.pack, LICENCE),
               provenance=told)
    for variant in VARIANTS:
        size = sum((arguments.output / file_name(stage, variant)).stat().st_size for stage in SUBNETWORKS)
        print(f"{arguments.output}, {variant}: {size} bytes, allowed {LIMITS[arguments.pack]}")
        if size > LIMITS[arguments.pack]:
            sys.exit("ship.py: the pack is too large to be embedded; make it narrower")
    psnr = compare_variants(arguments.output)
    print(f"FP16 against FP32: {psnr:.1f} dB at worst")
    if not psnr >= 50:
        sys.exit("ship.py: FP16 is further than 50 dB from FP32; widen the operators that lose it")


if __name__ == "__main__":
    main()
