"""The weights of a pack back into its PyTorch module, to train on from what ships."""
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from .export import subnetwork
from .manifest import SUBNETWORKS, files_of, read_manifest


@torch.no_grad()
def load(model, folder):
    """Fills `model` from the FP32 files of the pack in `folder`, which must be of its design.

    Each initializer is found by exporting the module with numbers that stand for themselves: it is the
    parameter that it is a multiple of (the exporter folds factors into weights). ValueError if the design is another.
    """
    files = files_of(read_manifest(folder), "fp32")
    for stage in SUBNETWORKS:
        path = Path(folder) / files[stage]
        stored = onnx.load(path)
        arrays = {w.name: numpy_helper.to_array(w) for w in stored.graph.initializer}
        parameters = dict(getattr(model, stage).named_parameters())
        for parameter in parameters.values():
            parameter.copy_(torch.rand_like(parameter) + 0.5)
        marked = subnetwork(model, stage, "fp32")
        if [n.op_type for n in marked.graph.node] != [n.op_type for n in stored.graph.node]:
            raise ValueError(f"{path}: its operators are not those of {type(model).__name__}; "
                             "give the settings that it was trained with")
        left = dict(parameters)
        for initializer in marked.graph.initializer:
            mark = numpy_helper.to_array(initializer)
            for name, parameter in list(left.items()):
                values = parameter.numpy()
                if values.shape != mark.shape or not values.size:
                    continue
                factor = mark.flat[0] / values.flat[0]
                # A single number is a multiple of any other.
                if np.allclose(mark, values * factor, rtol=1e-5) and (values.size > 1 or factor == 1):
                    array = arrays.get(initializer.name)
                    if array is None or array.shape != values.shape:
                        raise ValueError(f"{path}: {name} is not of shape {list(values.shape)}; "
                                         "give the settings that it was trained with")
                    parameter.copy_(torch.from_numpy(array.copy()) / float(factor))
                    del left[name]
                    break
        if left:
            raise ValueError(f"{path} has no {', '.join(left)}")
    return model
