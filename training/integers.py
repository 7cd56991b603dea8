#!/usr/bin/env python3
"""What 8-bit products would cost a pack: calibrates its convolutions with onnxruntime and compares pictures with FP32.

    python training/integers.py --model engines/video --calibrate NIGHT_PICTURES --pictures OTHER_PICTURES

Weights get a scale for each output channel, activations one for each value. Each subnetwork is measured alone, then all
together. A pack may run in a number format whose pictures stay within 50 dB of FP32; so may each subnetwork.
"""
import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from PIL import Image, ImageOps

from netpack.manifest import SUBNETWORKS, files_of, read_manifest
from netpack.runner import pictures, read
from netpack.runtime import Pack

METHODS = {"minmax": CalibrationMethod.MinMax, "percentile": CalibrationMethod.Percentile}
RATIO = 4


class Recorded(CalibrationDataReader):
    def __init__(self, inputs):
        self.inputs = iter(inputs)

    def get_next(self):
        return next(self.inputs, None)


class Recording(Pack):
    """A pack that keeps what its subnetworks are given."""

    def __init__(self, folder):
        super().__init__(folder)
        self.given = {stage: [] for stage in SUBNETWORKS}

    def run(self, stage, **inputs):
        self.given[stage].append({k: v.astype(np.float32) for k, v in inputs.items()})
        return super().run(stage, **inputs)


def load(folder, limit, side):
    """Squares from the middle of pictures: calibration wants all of one size."""
    paths = list(pictures(folder).values())[:limit]
    images = [np.asarray(ImageOps.fit(Image.fromarray(read(path)), (side, side))).astype(np.float32) / 255 for path in paths]
    if not images:
        raise SystemExit(f"{folder} holds no pictures")
    return images


def in_integers(source, target, inputs, method, keep):
    """Writes the model with the products of its convolutions in 8 bits, but for those named in `keep`."""
    quantize_static(str(source), str(target), Recorded(inputs), quant_format=QuantFormat.QDQ, op_types_to_quantize=["Conv"],
                    per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                    calibrate_method=METHODS[method], nodes_to_exclude=keep)
    return ort.InferenceSession(str(target), providers=["CPUExecutionProvider"])


def psnr(a, b):
    return 10 * np.log10(1 / max(float(np.mean((np.rint(255 * a) - np.rint(255 * b)) ** 2)) / 255**2, 1e-12))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of a pack")
    parser.add_argument("--calibrate", type=Path, required=True, help="folder of dark pictures that ranges are taken from")
    parser.add_argument("--pictures", type=Path, required=True, help="folder of dark pictures to measure with")
    parser.add_argument("--limit", type=int, default=8, help="pictures of each; default: %(default)s")
    parser.add_argument("--side", type=int, default=384, help="side of the squares that are taken from them; default: %(default)s")
    parser.add_argument("--method", choices=METHODS, default="minmax", help="default: %(default)s")
    arguments = parser.parse_args()

    files = files_of(read_manifest(Path(arguments.model)), "fp32")
    recording, whole = Recording(arguments.model), Pack(arguments.model)
    for image in load(arguments.calibrate, arguments.limit, arguments.side):
        recording.enhance(image, RATIO)
    images = load(arguments.pictures, arguments.limit, arguments.side)
    truth = [whole.enhance(image, RATIO)[0] for image in images]

    def row(what, sessions):
        pack = Pack(arguments.model)
        pack.sessions.update(sessions)
        values = [psnr(pack.enhance(image, RATIO)[0], t) for image, t in zip(images, truth)]
        print(f"| {what} | {np.mean(values):.1f} dB | {min(values):.1f} dB |", flush=True)

    print("| convolutions in 8 bits | mean | worst picture |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        made = {}
        for stage in SUBNETWORKS:
            source = Path(arguments.model) / files[stage]
            named = onnx.load(source)
            for i, node in enumerate(named.graph.node):
                node.name = node.name or f"{node.op_type}{i}"
            convolutions = [node.name for node in named.graph.node if node.op_type == "Conv"]
            if not convolutions:
                continue
            onnx.save(named, Path(folder) / "named.onnx")
            variants = {stage: []}
            if len(convolutions) > 3:
                variants[f"{stage}, but for its first and its last"] = [convolutions[0], convolutions[-1]]
            for what, keep in variants.items():
                target = Path(folder) / f"{stage}{len(keep)}.onnx"
                session = in_integers(Path(folder) / "named.onnx", target, recording.given[stage], arguments.method, keep)
                made.setdefault(stage, session)
                row(what, {stage: session})
        if len(made) > 1:
            row("all", made)


if __name__ == "__main__":
    main()
