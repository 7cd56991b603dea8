#!/usr/bin/env python3
"""The authors' checkpoint -> a pack for the golden tests, without PyTorch.

    tests/authors_pack.py CHECKPOINT_DIR OUTPUT_DIR

Takes the graphs of engines/full, which is the same architecture, and puts the checkpoint's weights in
place of its own. For users there is training/convert.py, which checks its result against PyTorch; here the
golden files do. Needs python3-onnx and python3-numpy.
"""
import argparse
import collections
import pickle
import struct
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "training"))
from netpack.manifest import VARIANTS, file_name, files_of, read_manifest, write_manifest  # noqa: E402

FULL = ROOT / "engines" / "full"
# Subnetwork: file, network in its state_dict, layers in the order of the graph's convolutions.
SOURCES = {
    "decomposition": ("init_low.pth", "model_R", ["decom.0", "decom.2", "decom.4", "decom.6"]),
    "restoration": ("unfolding.pth", "model_R", ["conv1", "conv2", "se_layer.fc.0", "se_layer.fc.2",
                                                 "conv3", "conv4", "conv5", "conv6", "conv7", "conv8"]),
    "illumination": ("unfolding.pth", "model_L", ["conv1", "conv2", "conv3", "conv4", "conv5"]),
    "adjustment": ("L_adjust.pth", "model_A", ["conv1", "conv2", "conv3", "conv4"]),
}


class Tensor:
    """A tensor whose storage follows later in the file."""

    def __init__(self, key, offset, shape):
        self.key, self.offset, self.shape = key, offset, shape

    def resolve(self, storages):
        return storages[self.key][self.offset:self.offset + int(np.prod(self.shape))].reshape(self.shape)


class Reader(pickle.Unpickler):
    """Knows the few classes that such a file needs, and runs no other code."""

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("argparse", "Namespace"):
            return argparse.Namespace
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, *rest: Tensor(storage, offset, shape)
        if module == "torch" and name.endswith("Storage"):
            return name
        raise pickle.UnpicklingError(f"{module}.{name} is not expected in a checkpoint of this network")

    def persistent_load(self, identity):
        kind, dtype, key = identity[:3]
        if (kind, dtype) != ("storage", "FloatStorage"):
            raise pickle.UnpicklingError(f"expected 32-bit floats, found {dtype}")
        return key


def state_dict(path, network):
    """PyTorch's format before 1.6: five pickles, then each storage as its length and its numbers."""
    with open(path, "rb") as file:
        for _ in range(3):
            pickle.load(file)
        content = Reader(file).load()
        storages = {}
        for key in pickle.load(file):
            (length,) = struct.unpack("<q", file.read(8))
            storages[key] = np.frombuffer(file.read(4 * length), dtype="<f4")
    weights = content["state_dict"][network]
    return {key: value.resolve(storages) for key, value in weights.items()}


def replaced(template, weights, layers):
    """The graph of `template` with other weights, in its own number format."""
    model = onnx.load(template)
    constants = {c.name: c for c in model.graph.initializer}
    convolutions = [n for n in model.graph.node if n.op_type == "Conv"]
    if len(convolutions) != len(layers):
        raise SystemExit(f"{template} has {len(convolutions)} convolutions, expected {len(layers)}")
    for node, layer in zip(convolutions, layers):
        for name, kind in zip(node.input[1:], ("weight", "bias")):
            old = numpy_helper.to_array(constants[name])
            new = weights[f"{layer}.{kind}"].astype(old.dtype).reshape(old.shape)
            constants[name].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(new), name))
    return model.SerializeToString()


def main():
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    checkpoint, output = map(Path, sys.argv[1:])
    output.mkdir(parents=True, exist_ok=True)
    full = read_manifest(FULL)
    for stage, (file, network, layers) in SOURCES.items():
        weights = state_dict(checkpoint / file, network)
        for variant in VARIANTS:
            content = replaced(FULL / files_of(full, variant)[stage], weights, layers)
            (output / file_name(stage, variant)).write_bytes(content)
    values = {"name": "authors", "version": "1.0.0", "rounds": 3, "gamma": 0.1, "gamma_step": 0.05,
              "lambda": 0.5, "lambda_step": 0.05, "mac_per_pixel": 870000}
    write_manifest(output, values, VARIANTS)


if __name__ == "__main__":
    main()
