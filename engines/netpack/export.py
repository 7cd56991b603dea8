"""Torch modules -> the ONNX graphs of a pack. The only place where a graph is written."""
import numpy as np

from .graph import Graph


def _parameters(conv):
    bias = None if conv.bias is None else conv.bias.detach().cpu().numpy()
    return conv.weight.detach().cpu().numpy(), bias


def _full_decomposition(net, g):
    x = g.input("image", 3)
    for conv in (net.conv1, net.conv2, net.conv3):
        x = g.leaky(g.conv(x, *_parameters(conv)))
    p, q = g.split(g.relu(g.conv(x, *_parameters(net.conv4))), 3, 1)
    g.output(p, "p", 3)
    g.output(q, "q", 1)


def _full_restoration(net, g):
    p, q = g.input("p", 3), g.input("q", 1)
    x = g.concat(g.relu(g.conv(p, *_parameters(net.conv_p))), g.relu(g.conv(q, *_parameters(net.conv_q))))
    # The mean of a whole frame is taken in FP32: a sum over millions of pixels leaves FP16's range.
    s = g.relu(g.conv(g.mean(g.wide(x)), *_parameters(net.squeeze)))
    s = g.narrow(g.sigmoid(g.conv(s, *_parameters(net.excite))))
    x = g.mul(x, s)
    for conv in net.body:
        x = g.relu(g.conv(x, *_parameters(conv)))
    g.output(g.add(p, g.conv(x, *_parameters(net.last))), "r", 3)


def _full_illumination(net, g):
    x = g.input("q", 1)
    for conv in net.body:
        x = g.leaky(g.conv(x, *_parameters(conv)))
    g.output(g.relu(g.conv(x, *_parameters(net.last))), "l", 1)


def _full_adjustment(net, g):
    l, ratio = g.input("l", 1), g.input("ratio", 1, spatial=False)
    # The ratio as a plane of the size of L: Clip(L, 0, 0) is zero for every L, infinity included.
    x = g.concat(l, g.add(g.clip(l, 0.0, 0.0), ratio))
    for conv in net.body:
        x = g.leaky(g.conv(x, *_parameters(conv)))
    g.output(g.relu(g.conv(x, *_parameters(net.last))), "l_adjusted", 1)


BUILDERS = {
    "Full": {"decomposition": _full_decomposition, "restoration": _full_restoration,
             "illumination": _full_illumination, "adjustment": _full_adjustment},
}


def subnetwork(model, stage, precision):
    """The ONNX model of one stage ("decomposition", …) of `model` in "fp32" or "fp16"."""
    graph = Graph(stage, precision)
    BUILDERS[type(model).__name__][stage](getattr(model, stage), graph)
    return graph.model()


def mac_per_pixel(model, rounds):
    """Multiply-accumulates of all convolutions per pixel of the frame, all rounds together."""
    total = 0.0
    for stage in BUILDERS[type(model).__name__]:
        onnx_model = subnetwork(model, stage, "fp32")
        weights = {w.name: list(w.dims) for w in onnx_model.graph.initializer}
        scale, cost = {}, 0.0
        for node in onnx_model.graph.node:
            area = scale.get(node.input[0], 1.0)
            if node.op_type == "Conv":
                cost += np.prod(weights[node.input[1]]) * area
            elif node.op_type == "SpaceToDepth":
                area /= next(a.i for a in node.attribute if a.name == "blocksize") ** 2
            elif node.op_type == "DepthToSpace":
                area *= next(a.i for a in node.attribute if a.name == "blocksize") ** 2
            elif node.op_type == "GlobalAveragePool":
                area = 0.0
            for name in node.output:
                scale[name] = area
        total += cost * (rounds if stage in ("restoration", "illumination") else 1)
    return int(round(total))
