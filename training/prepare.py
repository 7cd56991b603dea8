#!/usr/bin/env python3
"""Decodes the training images once into one file: python training/prepare.py --data DIR [--runs DIR].

Keeps 8-bit RGB arrays: pairs as (low, high, name), clean images as one array each, night pictures as (picture, the same
with less noise). Two clips of video/normal are left out so that the noise figure can be measured on frames never trained
on.
"""
import argparse
import csv
import pickle
import tomllib
from pathlib import Path

import cv2
import imageio.v3 as iio
import numpy as np
from PIL import Image
from tqdm import tqdm

HELD_OUT_CLIPS = ("street_pedestrians_720p", "sam2_juggle_720p")
FRAMES_PER_CLIP = 12
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


def read(path):
    return np.asarray(Image.open(path).convert("RGB"))


def fit(image, longest=640):
    scale = longest / max(image.shape[:2])
    if scale >= 1:
        return image
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    return np.asarray(Image.fromarray(image).resize(size, Image.LANCZOS))


def by_stem(folder):
    return {p.stem: p for p in sorted(folder.iterdir()) if p.suffix.lower() in SUFFIXES}


def lol_pairs(root):
    low, high = by_stem(root / "low"), by_stem(root / "high")
    names = sorted(low.keys() & high.keys(), key=lambda n: (len(n), n))
    return [(read(low[n]), read(high[n]), n) for n in tqdm(names, desc="LOL", unit="pair")]


def other_pairs(data):
    found = []
    sice = data / "pairs_train/SICE_stack"
    with open(sice / "pairs.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if float(row["ncc"]) > 0.9 and float(row["mean_low"]) > 4
                and float(row["mean_high"]) > 1.3 * float(row["mean_low"])]
    for row in tqdm(rows, desc="SICE", unit="pair"):
        found.append((read(sice / "low" / row["low"]), read(sice / "high" / row["high"]), "sice-" + row["low"]))
    low, high = by_stem(data / "pairs_train/FiveK_dpe/low"), by_stem(data / "pairs_train/FiveK_dpe/high")
    for name in sorted(low.keys() & high.keys()):
        a, b = fit(read(low[name])), fit(read(high[name]))
        if a.shape == b.shape:
            found.append((a, b, "fivek-" + name))
    return found


def clean_images(data):
    files = [p for p in sorted((data / "clean").rglob("*")) if p.suffix.lower() in SUFFIXES]
    found = [fit(read(p)) for p in tqdm(files, desc="clean", unit="image")]
    normal = data / "video/normal"
    for clip in tqdm(sorted(normal.iterdir()), desc="clips", unit="clip"):
        if clip.stem in HELD_OUT_CLIPS or clip.suffix not in (".mp4", ".mkv", ".avi", ""):
            continue
        if clip.is_dir():
            frames = sorted(p for p in clip.iterdir() if p.is_file())
            found += [fit(read(p)) for p in frames[::max(1, len(frames) // FRAMES_PER_CLIP)]]
        else:
            frames = list(iio.imiter(clip, plugin="FFMPEG"))
            found += [fit(np.asarray(f)) for f in frames[::max(1, len(frames) // FRAMES_PER_CLIP)]]
    return [image for image in found if min(image.shape[:2]) >= 136]


def night_pictures(data):
    """Real night pictures and frames of night clips, each with a copy whose noise has been averaged away."""
    files = [p for p in sorted((data / "night_unpaired").rglob("*")) if p.suffix.lower() in SUFFIXES]
    found = [fit(read(p)) for p in files]
    for clip in sorted((data / "video/real_lowlight").iterdir()):
        if clip.is_file():
            frames = list(iio.imiter(clip, plugin="FFMPEG"))
            found += [fit(np.asarray(f)) for f in frames[::max(1, len(frames) // 4)]]
    return [(image, cv2.fastNlMeansDenoisingColored(image, None, 2, 4, 5, 11))
            for image in tqdm(found, desc="night", unit="image") if min(image.shape[:2]) >= 136]


def hold_out(pairs, count, likeness):
    """Every n-th pair for validation; pairs whose bright image looks like one of them are dropped."""
    small = []
    for _, high, _ in pairs:
        v = np.asarray(Image.fromarray(high).convert("L").resize((24, 16), Image.BOX), np.float32).ravel()
        small.append((v - v.mean()) / (v.std() + 1e-6))
    step = len(pairs) // count
    chosen = list(range(step // 2, len(pairs), step))[:count]
    near = {i for i in range(len(pairs)) if i not in chosen
            and max(float((small[i] * small[j]).mean()) for j in chosen) > likeness}
    return ([pairs[i] for i in range(len(pairs)) if i not in chosen and i not in near],
            [pairs[i] for i in chosen])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path(__file__).parent / "runs")
    arguments = parser.parse_args()
    settings = tomllib.loads((Path(__file__).parent / "settings.toml").read_text())["data"]
    pairs = lol_pairs(arguments.data / "pairs_train/LOL_our485")
    train, held = hold_out(pairs, settings["holdout"]["lol"], settings["holdout"]["likeness"])
    cache = {"lol": train, "held": held, "sice": other_pairs(arguments.data), "clean": clean_images(arguments.data),
             "night": night_pictures(arguments.data)}
    arguments.runs.mkdir(parents=True, exist_ok=True)
    with open(arguments.runs / settings["cache"], "wb") as file:
        pickle.dump(cache, file, protocol=pickle.HIGHEST_PROTOCOL)
    print({name: len(items) for name, items in cache.items()}, "held out:", [name for _, _, name in held])


if __name__ == "__main__":
    main()
