"""Keeps `full` grey-preserving: a grey frame gives a grey frame, for any such weights.

The channels of each layer are three groups of equal size, one per colour, and a shared rest. If the
colour groups of the input are equal, those of the output are equal when (a) the blocks that lead from
the three colour groups to one colour group have the same sum for each of them, and (b) what leads from
the shared channels, and the bias, is the same for each. Both are linear, so the nearest such weights
are a projection, applied after every step. The architecture stays the paper's.
"""
import torch


def _project(weight, bias, group_in, group_out):
    """weight [out, in, k, k]; groups of size group_in / group_out lead, the rest is shared."""
    if group_out == 0:
        return
    rows = weight[:3 * group_out].view(3, group_out, *weight.shape[1:])
    if group_in:
        colours = rows[:, :, :3 * group_in].reshape(3, group_out, 3, group_in, *weight.shape[2:])
        excess = colours.sum(2)
        excess = (excess - excess.mean(0, keepdim=True)) / 3
        rows[:, :, :3 * group_in] -= excess.repeat(1, 1, 3, *[1] * (excess.dim() - 3))
    shared = rows[:, :, 3 * group_in:]
    if shared.numel():
        shared.copy_(shared.mean(0, keepdim=True).expand_as(shared))
    if bias is not None:
        b = bias[:3 * group_out].view(3, group_out)
        b.copy_(b.mean(0, keepdim=True).expand_as(b))


def _layers(model):
    """(layer, size of a colour group of its input, of its output)."""
    d, r = model.decomposition, model.restoration
    return ((d.conv1, 1, 8), (d.conv2, 8, 8), (d.conv3, 8, 8), (d.conv4, 8, 1), (r.conv_p, 1, 8), (r.excite, 0, 8),
            (r.body[0], 8, 16), *((conv, 16, 16) for conv in r.body[1:]), (r.last, 16, 1))


@torch.no_grad()
def keep_grey(model):
    for conv, group_in, group_out in _layers(model):
        _project(conv.weight.data, None if conv.bias is None else conv.bias.data, group_in, group_out)


@torch.no_grad()
def even_out(model):
    """After the weights have been rounded to 16 bits: brings the three sums of (a) together again.

    What rounding did to a sum is added to the smallest of its weights, whose own 16 bits are the finest.
    """
    for conv, group_in, group_out in _layers(model):
        if not group_in:
            continue
        rows = conv.weight.data[:3 * group_out].view(3, group_out, *conv.weight.shape[1:])
        colours = rows[:, :, :3 * group_in].reshape(3, group_out, 3, group_in, *conv.weight.shape[2:]).clone()
        sums = colours.double().sum(2)
        smallest = colours.abs().argmin(2, keepdim=True)
        missing = (sums.mean(0, keepdim=True) - sums).unsqueeze(2)
        changed = (colours.gather(2, smallest).double() + missing).half().float()
        colours.scatter_(2, smallest, changed)
        rows[:, :, :3 * group_in] = colours.reshape(3, group_out, 3 * group_in, *conv.weight.shape[2:])
