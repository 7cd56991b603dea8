#!/usr/bin/env python3
"""Trains the network of one pack: python training/train.py lite|full|video [--runs DIR]; ship.py makes the pack of it.

Run prepare.py first. A run resumes from its last checkpoint; --steps changes the length of the run
(the learning rate follows), --fresh starts over. Settings are in settings.toml, and any of them can be
replaced with --set, for example --set loss.ssim=0.5 --set lite.network.rounds=3.
"""
import argparse
import json
import os
import sys
import time
import tomllib
from pathlib import Path

import cv2
import numpy as np
import torch
from tqdm import tqdm

from learning.feed import batches
from learning.grey import keep_grey
from learning.objectives import PACKS, curve
from learning.provenance import told_by
from learning.validate import validate, validate_sequences
from netpack.load import load
from netpack.manifest import read_manifest

HERE = Path(__file__).resolve().parent


def start_from(model, start):
    """Fills the model, on the CPU, with trained weights; gives the [steps, seconds] of the runs that made them, and
    how many of their steps had a teacher."""
    if start.is_dir():
        load(model, start)
        told = told_by(read_manifest(start)["provenance"])
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
    parser.add_argument("--compile", action="store_true", help="compile the loss (torch.compile): a third faster, needs a C++ compiler")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    make, loss_of, samples_of = PACKS[arguments.pack]
    if arguments.compile:
        loss_of = torch.compile(loss_of)
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
    samples = samples_of(arguments.runs, settings, options["seed"] + step)
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
        if arguments.pack == "video":
            figures |= validate_sequences(average, samples.validation())
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
