"""What each pack is trained for: its network with random weights, and the loss of a batch."""
import functools

import numpy as np
import torch
from torch.nn import functional as F

from netpack.lite import Lite, relit
from netpack.networks import Full, update_p, update_q
from netpack.video import Video

from . import losses
from .grey import keep_grey
from .samples import Samples
from .sequences import Sequences


def curve(l, ratio):
    """The curve that `full` learns, the one that `lite` has; an L above 1, which it may give, counts as 1."""
    return relit(l.clamp(0.0, 1.0), ratio)


def make_lite(settings):
    return Lite(**settings["lite"]["network"])


def make_full(_settings):
    model = Full()
    with torch.no_grad():
        model.restoration.last.weight.mul_(0.1)
        model.restoration.last.bias.zero_()
        model.decomposition.conv4.bias.fill_(0.3)
        model.illumination.last.bias.fill_(0.3)
        model.adjustment.last.bias.fill_(0.5)
    keep_grey(model)
    return model


def lite_loss(model, batch, weights, _step, _settings):
    dark, ratio, target, itself, means, _ = batch
    found = model.stages(dark, seen=means)
    total = 0.0
    for t in range(model.rounds):
        last = t == model.rounds - 1
        weight, l = 1.0 if last else weights["rounds"], found[f"l{t}"]
        r, output = found[f"r{t}"], found[f"r{t}"] * relit(l, ratio)
        total = total + weight * losses.picture(output, target, dark, weights, structure=last)
        if last:
            total = total + weights["itself"] * losses.picture(r * l, itself, dark, weights, structure=False)
            total = total + weights["dim_lamps"] * losses.dim_lamps(l, dark)
            if weights["order"]:
                total = total + weights["order"] * losses.order(r * relit(l, ratio.clamp_min(4)), dark)
        total = total + weight * weights["pattern"] * losses.pattern(output, target)
        total = total + weight * weights["smooth"] * losses.smoothness(l, dark)
    return total


@functools.cache
def teacher(path, device):
    stored = torch.load(path, map_location=device, weights_only=False)
    model = make_lite(stored["settings"]).to(device).eval()
    model.load_state_dict(stored["average"])
    return model


@torch.no_grad()
def frame_means(model, frame, rounds):
    """The means that squeeze-and-excitation takes over a frame, one per round, from its thumbnail."""
    p, q = model.decomposition(frame)
    means = []
    for t in range(rounds):
        means.append(model.restoration.features(p, q).float().mean((2, 3), keepdim=True))
        if t + 1 < rounds:
            r, l = model.restoration(p, q), model.illumination(q)
            p = update_p(frame, q, r, model.gamma + (t + 1) * model.gamma_step)
            q = update_q(frame, p, l, model.lam + (t + 1) * model.lam_step)
    return means


def split_loss(p, q, dark):
    """How far P·Q is from I, for its brightness, and Q from a largest channel half smoothed, but 1 at lamps.

    In the dark P of the first round is all that Restoration sees of the frame: what is blurred or bleached in
    it stays so, as the later rounds weigh I by Q²/(Q² + γ). L is made from Q alone: a lamp of a few pixels keeps
    its brightness at every ratio only if Q tells it from its dark surroundings.
    """
    v = dark.amax(1, keepdim=True)
    smooth = F.avg_pool2d(v, 5, stride=1, padding=2, count_include_pad=False)
    wanted = 0.02 + 0.98 * 0.5 * (v + smooth)
    lamp = losses.lamp(dark)
    wanted = wanted + lamp * (1 - wanted).clamp_min(0)
    near = ((p * q - dark).abs() / (dark + 0.02)).mean() + (p - dark / wanted).abs().mean()
    return near + 0.5 * (torch.log(q + 0.002) - torch.log(wanted)).abs().mean() + losses.dim_lamps(q, dark)


def uniform(like, low, high):
    """One number for each image of a batch."""
    return torch.empty(like.shape[0], 1, 1, 1, device=like.device).uniform_(low, high)


def adjustment_loss(model, l, ratio):
    """How far the learned curve is from the exact one: on the L of a batch as it is, on planes of every level, and on
    planes with lamps of a few pixels, where the layers see more of what is around than of the lamp."""
    mixed = l.clamp(0, 1) ** uniform(l, 0.1, 1.2)
    mixed[::3] = (uniform(l, 0, 1) + 0.1 * (mixed - 0.5))[::3].clamp(0, 1)
    size = 2 * int(np.random.randint(3)) + 1
    dots = F.max_pool2d((torch.rand_like(l) < 0.01 / size ** 2).float(), size, stride=1, padding=size // 2)
    dots = torch.maximum(mixed, dots * uniform(l, 0.6, 1.1))
    other = torch.exp(uniform(l, 0, float(np.log(20))))
    other[uniform(l, 0, 1) < 0.15] = 1.0
    total = 0.0
    for plane, at in ((l, ratio), (mixed, other), (dots, other)):
        wanted = curve(plane, at)
        error = model.adjustment(plane, at) - wanted
        lamps = losses.lamp(plane)
        total = total + ((error.abs() + 4 * error * error) / (wanted + 0.1)).mean()
        total = total + (lamps * error.abs()).sum() / (lamps.sum() + 50)
    return total


def full_loss(model, batch, weights, step, settings):
    """One to three rounds, at random, and the loss on the last.

    The decomposition is trained alone first. The adjustment learns the curve itself, from the L of the batch and
    from planes of every level; the others are trained through the exact curve. A trained `lite`, where given,
    teaches L: it knows the whole frame from the start, `full` only through R.
    """
    dark, ratio, target, itself, means, frame = batch
    if step < settings["full"]["alone"]:
        with torch.autocast(dark.device.type, enabled=False):
            return split_loss(*model.decomposition(dark), dark)
    taught = None
    if settings["full"].get("teacher"):
        with torch.no_grad(), torch.autocast(dark.device.type, enabled=False):
            found = teacher(settings["full"]["teacher"], dark.device).stages(dark, seen=means)
            taught = found[max(k for k in found if k[0] == "l")]
    rounds = int(np.random.choice([1, 2, 3], p=settings["full"]["rounds"]))
    means = frame_means(model, frame, rounds)
    p, q = model.decomposition(dark)
    p0, q0 = p, q
    for t in range(rounds):
        if t > 0:
            p = update_p(dark, q, r, model.gamma + t * model.gamma_step)
            q = update_q(dark, p, l, model.lam + t * model.lam_step)
        r, l = model.restoration(p, q, means[t]), model.illumination(q)
    total = losses.picture(r * curve(l, ratio), target, dark, weights)
    if weights["itself"]:
        at_one = r * curve(l, torch.ones_like(ratio))
        total = total + weights["itself"] * losses.picture(at_one, itself, dark, weights, structure=False)
    total = total + weights["smooth"] * losses.smoothness(l, dark) + 0.1 * F.relu(l - 1).mean()
    total = total + weights["dim_lamps"] * losses.dim_lamps(l, dark)
    if weights["order"]:
        total = total + weights["order"] * losses.order(r * curve(l, ratio.clamp_min(4)), dark)
    if taught is not None:
        for plane in (l, q0):
            total = total + weights["taught"] * (torch.log(plane + 0.01) - torch.log(taught + 0.01)).abs().mean()
    total = total + weights["split"] * split_loss(p0, q0, dark)
    return total + adjustment_loss(model, l.detach(), ratio)


def make_video(settings):
    return Video(**settings["video"]["network"])


def video_loss(model, batch, _weights, _step, settings):
    """The picture alone: its illumination is a curve without weights, the target has the curve of the truth.

    A sample weighs the less, the more is wrong with it as it comes: a decibel is worth the same at every noise. By their
    errors alone the noisiest would decide, and what is nearly clean would be smoothed as they are.
    """
    dark, ratio, target, mean = batch
    weights = settings["video"]["loss"]
    found = model.stages(dark, seen=mean)
    output = found["r0"] * relit(found["l0"], ratio)
    with torch.no_grad():
        wrong = (found["p0"] * relit(found["l0"], ratio) - target).abs().mean((1, 2, 3))
        scale = 0.03 / (wrong + 0.006)
    total = losses.picture(output, target, dark, weights, scale=scale)
    total = total + weights["pattern"] * losses.pattern(output, target)
    if weights["order"]:
        total = total + weights["order"] * losses.order(found["r0"] * relit(found["l0"], ratio.clamp_min(4)), dark)
    return total + weights["brightness"] * losses.brightness(output, target)


PACKS = {"lite": (make_lite, lite_loss, Samples), "full": (make_full, full_loss, Samples),
         "video": (make_video, video_loss, Sequences)}
