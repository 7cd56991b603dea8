#!/usr/bin/env python3
"""Trains one pack and writes it: python engines/training/train.py lite|full [--runs DIR] [--pack DIR].

Run prepare.py first. A run resumes from its last checkpoint; --steps changes the length of the run
(the learning rate follows), --fresh starts over. Settings are in settings.toml, and any of them can be
replaced with --set, for example --set loss.ssim=0.5 --set lite.network.rounds=3.
"""
import argparse
import functools
import json
import os
import re
import sys
import time
import tomllib
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.nn import functional as F
from tqdm import tqdm

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import losses  # noqa: E402
from feed import batches  # noqa: E402
from grey import keep_grey  # noqa: E402
from netpack.lite import Lite, relit  # noqa: E402
from netpack.load import load  # noqa: E402
from netpack.networks import Full, update_p, update_q  # noqa: E402
from samples import Samples  # noqa: E402
from validate import validate  # noqa: E402


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
    if taught is not None:
        for plane in (l, q0):
            total = total + weights["taught"] * (torch.log(plane + 0.01) - torch.log(taught + 0.01)).abs().mean()
    total = total + weights["split"] * split_loss(p0, q0, dark)
    return total + adjustment_loss(model, l.detach(), ratio)


PACKS = {"lite": (make_lite, lite_loss), "full": (make_full, full_loss)}


def told_by(provenance):
    """What ship.py wrote of the runs: their steps and seconds, and the steps that had a teacher; None if it tells none."""
    told = re.search(r"(\d+) steps.*? (\d+) minutes", provenance)
    taught = re.search(r"a teacher in (?:the last )?(\d+) steps", provenance)
    return told and (int(told[1]), 60 * int(told[2]), int(taught[1]) if taught else 0)


def start_from(model, start):
    """Fills the model, on the CPU, with trained weights; gives the [steps, seconds] of the runs that made them, and
    how many of their steps had a teacher."""
    if start.is_dir():
        load(model, start)
        told = told_by(tomllib.loads((start / "model.toml").read_text())["provenance"])
        if told is None:
            sys.exit(f"train.py: the provenance of {start} tells no steps and minutes: it is no pack that ship.py wrote.")
        steps, seconds, taught = told
        return [[steps, seconds]], taught
    stored = torch.load(start, map_location="cpu", weights_only=False)
    model.load_state_dict(stored["average"], strict=False)
    taught = stored.get("taught_before", 0) + (stored["step"] if stored["settings"]["data"]["taught"] else 0)
    return stored.get("earlier", []) + [[stored["step"], stored["seconds"]]], taught


def replace(settings, change):
    path, _, text = change.partition("=")
    *folders, key = path.split(".")
    for folder in folders:
        settings = settings[folder]
    settings[key] = json.loads(text)


def learning_rate(step, options, progress):
    """Warm-up by steps, then half a cosine over `progress` 0..1."""
    if step < options["warmup"]:
        return options["rate"] * (step + 1) / options["warmup"]
    low, high = options["rate_end"], options["rate"]
    return low + (high - low) * 0.5 * (1 + np.cos(np.pi * progress))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", choices=PACKS)
    parser.add_argument("--runs", type=Path, default=HERE / "runs")
    parser.add_argument("--name", help="folder of this run under --runs; default is the pack's name")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--minutes", type=float, help="end after this time; the learning rate follows the clock")
    parser.add_argument("--start", type=Path, help="checkpoint.pt of another run, or a pack's folder, to start from")
    parser.add_argument("--fresh", action="store_true", help="forget the checkpoint of this run")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0, help="processes that make samples, for a GPU; 0: none beside this one")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    settings = tomllib.loads((HERE / "settings.toml").read_text())
    for change in arguments.set:
        replace(settings, change)
    options, weights = settings[arguments.pack], settings["loss"]
    if arguments.steps:
        options["steps"] = arguments.steps
    if arguments.threads:
        torch.set_num_threads(arguments.threads)

    run = arguments.runs / (arguments.name or arguments.pack)
    run.mkdir(parents=True, exist_ok=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(options["seed"])
    make, loss_of = PACKS[arguments.pack]
    model = make(settings)
    step, spent, earlier, taught_before = 0, 0.0, [], 0
    checkpoint = run / "checkpoint.pt"
    new = arguments.fresh or not checkpoint.exists()
    if arguments.start and new:
        earlier, taught_before = start_from(model, arguments.start)
    model.to(device, memory_format=torch.channels_last)
    average = make(settings).to(device)
    average.load_state_dict(model.state_dict())
    optimizer = torch.optim.Adam(model.parameters(), lr=options["rate"], betas=(0.9, 0.99))
    if not new:
        stored = torch.load(checkpoint, map_location=device, weights_only=False)
        model.load_state_dict(stored["model"])
        average.load_state_dict(stored["average"])
        optimizer.load_state_dict(stored["optimizer"])
        step, spent, earlier = stored["step"], stored["seconds"], stored.get("earlier", [])
        taught_before = stored.get("taught_before", 0)
    np.random.seed(options["seed"] + step)
    if arguments.workers:
        cv2.setNumThreads(0)    # a process that is forked has none of the threads that this one would have started
    samples = Samples(arguments.runs / settings["data"]["cache"], settings, options["seed"] + step)
    feed = batches(samples, options, arguments.workers, device, options["seed"] + step)
    arrived = iter(feed)

    def save():
        stored = {"model": model.state_dict(), "average": average.state_dict(), "optimizer": optimizer.state_dict(),
                  "step": step, "seconds": spent, "earlier": earlier, "taught_before": taught_before,
                  "settings": settings, "pack": arguments.pack}
        torch.save(stored, checkpoint.with_suffix(".new"))
        os.replace(checkpoint.with_suffix(".new"), checkpoint)

    def report():
        figures = validate(average, samples.held, curve if arguments.pack == "full" else None)
        line = {"step": step, "seconds": round(spent), "loss": round(mean_loss or 0.0, 4), **figures}
        tqdm.write(json.dumps(line))
        with open(run / "log.jsonl", "a") as file:
            file.write(json.dumps(line) + "\n")

    bar = tqdm(total=options["steps"], initial=step, desc=arguments.pack, unit="step", mininterval=10)
    mean_loss, recent, clock = None, [], time.monotonic()
    begun = clock
    while True:
        if arguments.minutes:
            progress = (time.monotonic() - begun) / 60 / arguments.minutes
        else:
            progress = (step - options["warmup"]) / max(1, options["steps"] - options["warmup"])
        done = progress >= 1 or (not arguments.minutes and step >= options["steps"])
        if done:
            break
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, options, min(max(progress, 0.0), 1.0))
        batch = next(arrived)
        with torch.autocast(device, dtype=torch.bfloat16, enabled=progress < options.get("bfloat16", 0)):
            loss = loss_of(model, batch, weights, step, settings)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        if not torch.isfinite(norm):
            tqdm.write(f"step {step}: gradient is not finite, step left out")
            step += 1
            continue
        optimizer.step()
        if arguments.pack == "full":
            keep_grey(model)
        with torch.no_grad():
            keep = min(0.999, (step + 1) / (step + 20))
            torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - keep)
        step += 1
        spent, clock = spent + time.monotonic() - clock, time.monotonic()
        bar.update()
        recent.append(loss.detach())
        if len(recent) == 20:
            # One reading for several steps: each makes a GPU wait.
            now, recent = torch.stack(recent).mean().item(), []
            mean_loss = now if mean_loss is None else 0.8 * mean_loss + 0.2 * now
            reuse = {"reuse": f"{feed.reuse:.1f}"} if arguments.workers else {}
            bar.set_postfix(loss=f"{mean_loss:.4f}", **reuse, refresh=False)
        if step % options["checkpoint_every"] == 0:
            save()
        if step % options["validate_every"] == 0:
            report()
            clock = time.monotonic()
    save()
    report()


if __name__ == "__main__":
    main()
