#!/usr/bin/env python3
"""Makes the sequences that `video` is trained on: python training/prepare_video.py --data DIR [--runs DIR] [--count N].

Well-lit clips and moved photographs are darkened as night cameras see them (`learning/night.py`): exposure, lamps, text,
sensor noise, encoders. They go through the stream's memory itself (`cargo build --release --example fused`), and of some
frames of each the fused picture, the same without noise, and the mean luma of the whole frame are kept, as 16-bit
codes. Clips that the bench of camera footage measures are left out. Seeded: the same data give the same sequences.
"""
import argparse
import subprocess
import sys
import tomllib
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from learning.night import Camera, moved, sequence_of
from netpack.video import luma_of
from prepare import SUFFIXES, fit, read

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "benches/video"))
import footage  # noqa: E402

FUSED = HERE.parent / "target/release/examples/fused"
#: Clips of the bench of camera footage: never trained on.
BENCH = {Path(name).stem for clip in footage.CLIPS for name in (clip.file, clip.cut_to) if name}
WIDTH, HEIGHT, PATCH, FRAMES, KEPT = 256, 192, 160, 14, (0, 2, 5, 9, 13)


def clip_frames(path, most=48):
    if path.is_dir():
        return [fit(read(p)) for p in sorted(q for q in path.iterdir() if q.suffix.lower() in SUFFIXES)[:most]]
    capture, found = cv2.VideoCapture(str(path)), []
    while len(found) < most:
        there, frame = capture.read()
        if not there:
            break
        found.append(fit(np.ascontiguousarray(frame[..., ::-1])))
    return found


def sources(data):
    clips = [clip_frames(p) for p in sorted((data / "video/normal").iterdir()) if p.stem not in BENCH]
    clips = [c for c in clips if len(c) >= FRAMES and min(c[0].shape[:2]) >= HEIGHT]
    stills = [fit(read(p)) for p in sorted((data / "clean").rglob("*")) if p.suffix.lower() in SUFFIXES]
    return clips, [s for s in stills if min(s.shape[:2]) >= HEIGHT + 40 and s.shape[1] >= WIDTH + 40]


def fuse(frames):
    """frames [n, h, w, 3], 8 bits -> [n, 3, h, w], 16-bit codes, as the stream's memory hands them on."""
    n, h, w, _ = frames.shape
    done = subprocess.run([FUSED, str(w), str(h)], input=frames.tobytes(), capture_output=True, check=True)
    return np.frombuffer(done.stdout, "<u2").reshape(n, 3, h, w)


def make(seed):
    rng = np.random.default_rng(seed)
    if rng.random() < 0.55:
        bright = sequence_of(CLIPS[rng.integers(len(CLIPS))], (WIDTH, HEIGHT), FRAMES, rng)
    else:
        bright = moved(STILLS[rng.integers(len(STILLS))], (WIDTH, HEIGHT), FRAMES, rng)
    clean, noisy = Camera(rng).film(bright, rng)
    fused = fuse(noisy)
    y, x = rng.integers(0, HEIGHT - PATCH + 1) // 4 * 4, rng.integers(0, WIDTH - PATCH + 1) // 4 * 4
    kept = list(KEPT)
    at = (slice(y, y + PATCH), slice(x, x + PATCH))
    truth = np.stack([clean[t][at].transpose(2, 0, 1) for t in kept])
    luma = np.array([mean_luma(fused[t]) for t in kept], np.float32)
    return fused[kept][:, :, at[0], at[1]], np.rint(truth * 65535).astype(np.uint16), luma


def mean_luma(fused):
    """The mean luma of the whole frame, of which the decomposition makes the level."""
    return luma_of(fused.astype(np.float32)[None] / 65535).mean()


def start(data):
    global CLIPS, STILLS
    cv2.setNumThreads(1)
    CLIPS, STILLS = sources(data)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=HERE / "runs")
    parser.add_argument("--count", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    settings = tomllib.loads((HERE / "settings.toml").read_text())["video"]
    if not FUSED.is_file():
        parser.error(f"{FUSED} is missing: cargo build --release --example fused")
    arguments.runs.mkdir(parents=True, exist_ok=True)
    shape = (arguments.count, len(KEPT), 3, PATCH, PATCH)
    name = arguments.runs / settings["sequences"]
    fused, clean = (np.lib.format.open_memmap(f"{name}-{part}.npy", "w+", np.uint16, shape) for part in ("fused", "clean"))
    luma = np.zeros(shape[:2], np.float32)
    with ProcessPoolExecutor(arguments.processes, initializer=start, initargs=(arguments.data,)) as workers:
        seeds = [arguments.seed * 1_000_000 + i for i in range(arguments.count)]
        for i, made in enumerate(tqdm(workers.map(make, seeds), total=arguments.count, unit="sequence", mininterval=10)):
            fused[i], clean[i], luma[i] = made
    np.save(f"{name}-luma.npy", luma)


if __name__ == "__main__":
    main()
