#!/usr/bin/env python3
"""The authors' PyTorch checkpoint -> a model pack, each file checked against PyTorch.

    python training/convert.py --checkpoint DIR --output DIR [--name NAME] [--variants fp32 ...] [--golden DIR]

DIR of the checkpoint holds init_low.pth, unfolding.pth and L_adjust.pth as published in the
repository AndersonYong/URetinex-Net. With --golden, the whole pipeline is compared with stored
stages (*.npz with image, ratio, p0, q0, … output). Files are pickles: convert only what you trust.
"""
import argparse
import pickle
import sys
from pathlib import Path

import numpy as np
import torch

from netpack.export import write_pack
from netpack.manifest import VARIANTS, check_variants
from netpack.networks import Full
from netpack.runtime import Pack

# Largest difference of a subnetwork from PyTorch, by variant.
TOLERANCES = {"fp32": 1e-4, "fp16": 0.05}
# Least likeness of a whole frame in fp16, in dB.
LEAST_PSNR = 50

# (checkpoint file, network in its state_dict, stage here, {prefix of a key there: prefix here})
SOURCES = [
    ("init_low.pth", "model_R", "decomposition",
     {"decom.0": "conv1", "decom.2": "conv2", "decom.4": "conv3", "decom.6": "conv4"}),
    ("unfolding.pth", "model_R", "restoration",
     {"conv1": "conv_p", "conv2": "conv_q", "se_layer.fc.0": "squeeze", "se_layer.fc.2": "excite",
      "conv3": "body.0", "conv4": "body.1", "conv5": "body.2", "conv6": "body.3", "conv7": "body.4",
      "conv8": "last"}),
    ("unfolding.pth", "model_L", "illumination",
     {"conv1": "body.0", "conv2": "body.1", "conv3": "body.2", "conv4": "body.3", "conv5": "last"}),
    ("L_adjust.pth", "model_A", "adjustment",
     {"conv1": "body.0", "conv2": "body.1", "conv3": "body.2", "conv4": "last"}),
]


class Problem(Exception):
    """Something the user can mend; the message says what and how."""


def load(path):
    if not path.is_file():
        raise Problem(f"{path} is missing. Give the folder that holds "
                      f"{', '.join(sorted({s[0] for s in SOURCES}))} as --checkpoint.")
    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise Problem(f"{path} cannot be read as a PyTorch file ({error}). Download it again; "
                      "a Git LFS pointer or a cut-off download looks like this.") from error


def fill(model, folder):
    for file, network, stage, prefixes in SOURCES:
        path = folder / file
        content = load(path)
        try:
            weights = content["state_dict"][network]
        except (KeyError, TypeError) as error:
            raise Problem(f"{path} has no state_dict/{network}. It is not the file of that name "
                          "from AndersonYong/URetinex-Net; check that no two files were swapped.") from error
        target = getattr(model, stage)
        expected = target.state_dict()
        mapped = {}
        for key, tensor in weights.items():
            prefix, _, kind = key.rpartition(".")
            if prefix not in prefixes:
                raise Problem(f"{path}: unknown layer {network}/{key}. Only the published architecture "
                              "converts; train other shapes with training/train.py.")
            name = f"{prefixes[prefix]}.{kind}"
            if tensor.dim() == 2:
                tensor = tensor[:, :, None, None]
            if name not in expected or tensor.shape != expected[name].shape:
                wanted = tuple(expected[name].shape) if name in expected else "no such tensor"
                raise Problem(f"{path}: {network}/{key} has shape {tuple(tensor.shape)}, expected {wanted}. "
                              "Check that the file is the published one.")
            if not torch.isfinite(tensor).all():
                raise Problem(f"{path}: {network}/{key} holds NaN or infinity. Download the file again.")
            mapped[name] = tensor.float()
        absent = sorted(set(expected) - set(mapped))
        if absent:
            raise Problem(f"{path}: {network} lacks {', '.join(absent)}. Check that the file is the published one.")
        target.load_state_dict(mapped)
    options = load(folder / "unfolding.pth").get("opts")
    if options is not None:
        model.rounds = int(options.round)
        model.gamma, model.gamma_step = float(options.gamma), float(options.Roffset)
        model.lam, model.lam_step = float(options.lamda), float(options.Loffset)


@torch.no_grad()
def check_stages(model, folder, variants):
    """Largest difference between ONNX and PyTorch of each file, on two sizes, one of them odd."""
    generator = torch.Generator().manual_seed(1)
    worst = {}
    packs = {variant: Pack(folder, variant) for variant in variants}
    for height, width in ((64, 80), (37, 51)):
        image = torch.rand(1, 3, height, width, generator=generator) * 0.3
        ratio = torch.full((1, 1, 1, 1), 5.0)
        found = model.stages(image, ratio)
        last = model.rounds - 1
        cases = {
            "decomposition": (dict(image=image), [found["p0"], found["q0"]]),
            "restoration": (dict(p=found["p0"], q=found["q0"]), [found["r0"]]),
            "illumination": (dict(q=found["q0"]), [found["l0"]]),
            "adjustment": (dict(l=found[f"l{last}"], ratio=ratio), [found["l_adjusted"]]),
        }
        for stage, (inputs, expected) in cases.items():
            for variant, pack in packs.items():
                results = pack.run(stage, **{k: v.numpy() for k, v in inputs.items()})
                error = max(float(np.abs(a - b.numpy()).max()) for a, b in zip(results, expected))
                worst[stage, variant] = max(worst.get((stage, variant), 0.0), error)
    for (stage, variant), error in worst.items():
        print(f"  {stage:14} {variant}  largest difference from PyTorch {error:.2e}")
        limit = TOLERANCES[variant]
        if not error <= limit:
            raise Problem(f"{stage} in {variant} differs from PyTorch by {error:.2e}, allowed {limit}. "
                          "Check the versions of onnx and onnxruntime in training/requirements.txt.")


@torch.no_grad()
def check_golden(model, folder, goldens, variants):
    files = sorted(goldens.glob("*.npz"))
    if not files:
        raise Problem(f"{goldens} holds no *.npz. Leave --golden out, or give the folder with the stored stages.")
    pack, half = Pack(folder), Pack(folder, "fp16") if "fp16" in variants else None
    for file in files:
        stored = np.load(file)
        image, ratio = stored["image"][None], float(stored["ratio"])
        found = model.stages(torch.from_numpy(image), torch.full((1, 1, 1, 1), ratio))
        torch_error = max(float(np.abs(found[k][0].numpy() - stored[k]).max()) for k in found)
        r, l = pack.retinex(image)
        output = np.clip(stored["output"], 0, 1)
        onnx_error = float(np.abs(pack.relight(r, l, ratio)[0] - output).max())
        line = f"  {file.name:26} stages {torch_error:.2e}   output fp32 {onnx_error:.2e}"
        right = torch_error <= TOLERANCES["fp32"] and onnx_error <= TOLERANCES["fp32"]
        if half:
            r, l = half.retinex(image)
            noise = float(((half.relight(r, l, ratio)[0] - output) ** 2).mean())
            psnr = -10 * np.log10(max(noise, 1e-12))
            line += f"   fp16 {psnr:.1f} dB"
            right = right and psnr >= LEAST_PSNR
        print(line)
        if not right:
            raise Problem(f"{file.name}: the pipeline does not give the stored result. The checkpoint is not the "
                          "one the golden was made with, or a stage is wrong.")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder with the authors' .pth files")
    parser.add_argument("--output", type=Path, required=True, help="folder of the pack, made if absent")
    parser.add_argument("--name", default="authors", help="name written in model.toml")
    parser.add_argument("--variants", nargs="+", default=VARIANTS, choices=VARIANTS,
                        help="number formats of the files, fp32 among them (default: fp32 fp16)")
    parser.add_argument("--golden", type=Path, help="folder of stored stages to compare the pipeline with")
    arguments = parser.parse_args()
    try:
        check_variants(arguments.variants)
    except ValueError as error:
        parser.error(str(error))
    try:
        model = Full().eval()
        fill(model, arguments.checkpoint)
        write_pack(
            model, arguments.output, name=arguments.name, version="1.0.0",
            description="URetinex-Net, the authors' published checkpoint",
            licence="MIT file; README: only for non-commercial use. Not redistributed with this project.",
            provenance="Converted from the PyTorch checkpoint of AndersonYong/URetinex-Net, "
                       "trained by its authors on LOL.",
            variants=arguments.variants)
        print(f"{arguments.output}: written")
        check_stages(model, arguments.output, arguments.variants)
        if arguments.golden:
            check_golden(model, arguments.output, arguments.golden, arguments.variants)
    except Problem as problem:
        sys.exit(f"convert.py: {problem}")
    except PermissionError as error:
        sys.exit(f"convert.py: {error.filename} cannot be written or read. Choose another folder or mend its rights.")


if __name__ == "__main__":
    main()
