"""Torch modules -> the ONNX graphs of a pack. The only place where a graph is written."""
from pathlib import Path

import numpy as np

from .graph import Graph
from .lite import BOUND, DARKEST, FLOOR, KEEP, KEPT, LEVELS, UNSHUFFLE
from . import video
from .manifest import SUBNETWORKS, VARIANTS, check_variants, file_name, write_manifest


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


def _largest(g, a, b):
    """max(a, b) without an operator of its own."""
    return g.add(a, g.relu(g.sub(b, a)))


def _lite_decomposition(net, g):
    image = g.input("image", 3)
    red, green, blue = g.split(image, 1, 1, 1)
    largest = _largest(g, _largest(g, red, green), blue)
    lamp = g.relu(g.sub(largest, g.constant(KEEP, largest)))
    v = g.space_to_depth(largest, UNSHUFFLE)
    seen = g.relu(g.conv(v, np.full((16, 16, 1, 1), 1 / 16), -np.array(LEVELS)))
    weight, bias = _parameters(net.frame1)
    seen = g.relu(g.conv(g.mean(g.wide(seen)), weight * 10, bias))
    first, second = g.split(g.narrow(g.conv(seen, *_parameters(net.frame2))), 16, 16)
    x = g.relu(g.add(g.conv(v, *_parameters(net.conv1)), first))
    x = g.add(g.conv(x, *_parameters(net.conv2)), second)
    q = g.sigmoid(g.add(g.depth_to_space(x, UNSHUFFLE), g.mul(lamp, g.constant(KEPT, lamp))))
    q = g.add(g.mul(q, g.constant(1 - FLOOR, q)), g.constant(FLOOR, q))
    p = g.narrow(g.div(g.wide(image), g.wide(q)))
    g.output(p, "p", 3)
    g.output(q, "q", 1)


def _gated(blocks, g, x):
    for block in blocks:
        mixed = g.mul(g.conv(x, *_parameters(block.mix)), g.clip(g.conv(x, *_parameters(block.gate)), 0.0, 1.0))
        x = g.relu(g.add(x, g.conv(mixed, *_parameters(block.spread))))
    return x


def _lite_restoration(net, g):
    p, q = g.input("p", 3), g.input("q", 1)
    red, green, blue = (g.space_to_depth(c, UNSHUFFLE) for c in g.split(p, 1, 1, 1))
    x = g.concat(red, green, blue, g.space_to_depth(q, UNSHUFFLE))
    y = _gated(net.before, g, g.relu(g.conv(g.space_to_depth(x, 2), *_parameters(net.down8))))
    z = _gated(net.deepest, g, g.relu(g.conv(g.space_to_depth(y, 2), *_parameters(net.down16))))
    y = _gated(net.after, g, g.relu(g.add(y, g.depth_to_space(g.conv(z, *_parameters(net.up16)), 2))))
    x = _gated(net.join, g, g.relu(g.add(x, g.depth_to_space(g.conv(y, *_parameters(net.up8)), 2))))
    kept = g.mul(green, g.relu(g.conv(x, *_parameters(net.gate_luma))))
    green_out = g.add(kept, g.conv(x, *_parameters(net.luma)))
    c = g.concat(g.sub(red, green), g.sub(blue, green))
    e = g.conv(g.space_to_depth(c, 2), *_parameters(net.chroma_down8))
    e = g.mul(e, g.sigmoid(g.conv(y, *_parameters(net.gate8))))
    f = g.conv(g.space_to_depth(e, 2), *_parameters(net.chroma_down16))
    f = g.mul(f, g.sigmoid(g.conv(z, *_parameters(net.gate16))))
    e = g.add(e, g.depth_to_space(g.conv(f, *_parameters(net.chroma_up16)), 2))
    e = g.leaky(g.conv(e, *_parameters(net.chroma)))
    c = g.mul(c, g.relu(g.conv(x, *_parameters(net.gate))))
    c = g.add(c, g.depth_to_space(g.conv(e, *_parameters(net.chroma_up8)), 2))
    red_out, blue_out = (g.add(green_out, d) for d in g.split(c, 16, 16))
    g.output(g.depth_to_space(g.concat(red_out, green_out, blue_out), UNSHUFFLE), "r", 3)


def _lite_illumination(net, g):
    q = g.input("q", 1)
    x = g.space_to_depth(q, UNSHUFFLE)
    y = g.relu(g.conv(g.space_to_depth(x, 2), *_parameters(net.down)))
    y = g.relu(g.conv(y, *_parameters(net.deep)))
    x = g.relu(g.add(x, g.depth_to_space(g.conv(y, *_parameters(net.up)), 2)))
    x = g.depth_to_space(g.conv(x, *_parameters(net.last)), UNSHUFFLE)
    g.output(g.clip(g.add(q, x), DARKEST, 1.0), "l", 1)


def _lite_adjustment(net, g):
    l, ratio = g.input("l", 1), g.input("ratio", 1, spatial=False)
    wide = g.wide(l)
    bounded = g.log(g.clip(wide, BOUND, 1.0))
    gain = g.exp(g.sub(g.div(bounded, g.wide(ratio)), bounded))
    x = g.mul(wide, gain)
    g.output(g.narrow(x), "l_adjusted", 1)


def _video_decomposition(net, g):
    image = g.input("image", 3)
    wide = g.wide(image)
    red, green, blue = g.split(wide, 1, 1, 1)
    largest = _largest(g, _largest(g, red, green), blue)
    luma = g.add(g.mul(g.add(red, blue), g.constant(0.25, wide)), g.mul(green, g.constant(0.5, wide)))
    guide = g.add(g.mul(largest, g.constant(1 - video.MIX, wide)), g.mul(luma, g.constant(video.MIX, wide)))
    level = g.mean(luma)
    level = g.clip(g.mul(level, g.constant(video.LEVEL, level)), video.FLOOR, 1.0)
    guide, level = g.mul(guide, guide), g.mul(level, level)
    fourth = g.add(g.mul(guide, guide), g.mul(level, level))
    q = g.clip(g.exp(g.mul(g.log(fourth), g.constant(0.25, fourth))), 0.0, 1.0)
    p = g.narrow(g.div(wide, q))
    g.output(p, "p", 3)
    # In FP32 nothing is left to narrow: a node of its own, as an output is named after the node that makes it.
    g.output(g.narrow(g.clip(q, 0.0, 1.0)), "q", 1)


def _video_restoration(net, g):
    p, q = g.input("p", 3), g.input("q", 1)
    red, green, blue = (g.space_to_depth(c, UNSHUFFLE) for c in g.split(p, 1, 1, 1))
    cr, cb = g.sub(red, green), g.sub(blue, green)
    y = g.add(green, g.mul(g.add(cr, cb), g.constant(0.25, cr)))
    c = g.concat(cr, cb)
    q = g.space_to_depth(q, UNSHUFFLE)
    level = g.div(g.constant(video.FLOOR, q), q)
    x = g.concat(y, g.relu(g.conv(g.concat(y, c, level), *_parameters(net.enter))))
    d = _blocks(net.before, g, g.relu(g.conv(g.space_to_depth(x, 2), *_parameters(net.down8))))
    e = _blocks(net.deepest, g, g.relu(g.conv(g.space_to_depth(d, 2), *_parameters(net.down16))))
    d = _blocks(net.after, g, g.relu(g.add(d, g.depth_to_space(g.conv(e, *_parameters(net.up16)), 2))))
    x = _blocks(net.join, g, g.relu(g.add(x, g.depth_to_space(g.conv(d, *_parameters(net.up8)), 2))))
    y = g.add(g.mul(y, g.relu(g.conv(x, *_parameters(net.gate_luma)))), g.conv(x, *_parameters(net.luma)))
    f = g.mul(g.conv(g.space_to_depth(c, 2), *_parameters(net.chroma_down8)), g.sigmoid(g.conv(d, *_parameters(net.gate8))))
    h = g.mul(g.conv(g.space_to_depth(f, 2), *_parameters(net.chroma_down16)), g.sigmoid(g.conv(e, *_parameters(net.gate16))))
    f = g.add(f, g.depth_to_space(g.conv(h, *_parameters(net.chroma_up16)), 2))
    f = g.leaky(g.conv(f, *_parameters(net.chroma)))
    c = g.mul(c, g.relu(g.conv(x, *_parameters(net.gate))))
    c = g.add(c, g.depth_to_space(g.conv(f, *_parameters(net.chroma_up8)), 2))
    light = g.mul(g.mul(y, q), g.constant(-0.25, y))
    none = g.clip(g.add(light, g.constant(0.25 * video.CORED_TO, y)), 0.0, video.CORED)
    none = g.mul(none, g.mul(level, g.constant(1 / video.FLOOR, level)))
    cr, cb = (_cored(g, d, none) for d in g.split(c, 16, 16))
    green = g.sub(y, g.mul(g.add(cr, cb), g.constant(0.25, cr)))
    g.output(g.depth_to_space(g.concat(g.add(green, cr), green, g.add(green, cb)), UNSHUFFLE), "r", 3)


def _cored(g, difference, none):
    below = g.sub(g.mul(difference, g.constant(-1.0, difference)), none)
    return g.sub(g.relu(g.sub(difference, none)), g.relu(below))


def _blocks(blocks, g, x):
    for block in blocks:
        x = g.relu(g.add(x, g.conv(x, *_parameters(block.mix))))
    return x


def _video_illumination(net, g):
    g.output(g.clip(g.input("q", 1), DARKEST, 1.0), "l", 1)


BUILDERS = {
    "Lite": {"decomposition": _lite_decomposition, "restoration": _lite_restoration,
             "illumination": _lite_illumination, "adjustment": _lite_adjustment},
    "Video": {"decomposition": _video_decomposition, "restoration": _video_restoration,
              "illumination": _video_illumination, "adjustment": _lite_adjustment},
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


def write_pack(model, folder, *, name, version, description, licence, provenance, variants=VARIANTS):
    """Writes the ONNX files of `variants`, `fp32` among them, and `model.toml` to `folder`."""
    check_variants(variants)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for variant in variants:
        for stage in SUBNETWORKS:
            content = subnetwork(model, stage, variant).SerializeToString()
            (folder / file_name(stage, variant)).write_bytes(content)
    write_manifest(folder, {
        "name": name, "version": version, "description": description,
        "rounds": model.rounds,
        "gamma": model.gamma, "gamma_step": model.gamma_step,
        "lambda": model.lam, "lambda_step": model.lam_step,
        "multiple": model.multiple,
        "mac_per_pixel": mac_per_pixel(model, model.rounds),
        "licence": licence, "provenance": provenance,
    }, variants)
