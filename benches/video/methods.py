"""What is compared: the element, what people would chain with it, and what they would take instead."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Callable

import cv2
import numpy as np

from footage import gst

Method = Callable[[np.ndarray], np.ndarray]


def element(properties: str) -> Method:
    """The element on the processor, through GStreamer."""

    def run(frames: np.ndarray) -> np.ndarray:
        n, h, w, _ = frames.shape
        with tempfile.TemporaryDirectory() as work:
            source, result = Path(work, "in.raw"), Path(work, "out.raw")
            frames.tofile(source)
            gst(f"filesrc location={source} ! rawvideoparse format=rgb width={w} height={h} framerate=25/1",
                f"! uretinexenhance backend=cpu qos=false {properties} ! filesink location={result}")
            data = np.fromfile(result, np.uint8)
        stride = len(data) // (n * h)
        return np.ascontiguousarray(data.reshape(n, h, stride)[:, :, : w * 3].reshape(n, h, w, 3))

    return run


def ffmpeg(filters: str) -> Method:
    """A filter of FFmpeg."""

    def run(frames: np.ndarray) -> np.ndarray:
        n, h, w, _ = frames.shape
        raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{w}x{h}", "-r", "25"]
        command = ["ffmpeg", "-v", "error", *raw, "-i", "-", "-vf", filters, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
        out = subprocess.run(command, input=frames.tobytes(), capture_output=True, check=True).stdout
        return np.frombuffer(out, np.uint8).reshape(n, h, w, 3)

    return run


def chain(*methods: Method) -> Method:
    def run(frames: np.ndarray) -> np.ndarray:
        for method in methods:
            frames = method(frames)
        return frames

    return run


def curve(frames: np.ndarray) -> np.ndarray:
    """A plain tone curve: x to the power of 0.45."""
    table = np.rint(255 * (np.arange(256) / 255.0) ** 0.45).astype(np.uint8)
    return table[frames]


def clahe(frames: np.ndarray) -> np.ndarray:
    """Contrast limited adaptive histogram equalisation of the lightness, OpenCV's with clip limit 4."""
    out = np.empty_like(frames)
    equalise = cv2.createCLAHE(clipLimit=4.0, tileGridSize=(8, 8))
    for t, frame in enumerate(frames):
        lab = cv2.cvtColor(frame, cv2.COLOR_RGB2LAB)
        lab[..., 0] = equalise.apply(lab[..., 0])
        out[t] = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)
    return out


PER_FRAME = "frame by frame"
MEMORY = "with memory"
NOW = "video"


def methods(ratio: float, model: str) -> dict[str, Method]:
    """By name: `model` with the memory and without, the default, and what is chained with `model` frame by frame; those of FFmpeg
    where it is installed."""
    per_frame = element(f"model={model} ratio={ratio} temporal=0")
    found = {
        PER_FRAME: per_frame,
        MEMORY: element(f"model={model} ratio={ratio}"),
        NOW: element(f"ratio={ratio}"),
        "curve": curve,
        "CLAHE": clahe,
    }
    if shutil.which("ffmpeg"):
        found |= {
            "hqdn3d → frame by frame": chain(ffmpeg("hqdn3d"), per_frame),
            "atadenoise → frame by frame": chain(ffmpeg("atadenoise"), per_frame),
            "frame by frame → hqdn3d": chain(per_frame, ffmpeg("hqdn3d")),
            "frame by frame → atadenoise": chain(per_frame, ffmpeg("atadenoise")),
        }
    return found


def timed(method: Method, frames: np.ndarray) -> tuple[np.ndarray, float]:
    """The output, and the seconds that it took."""
    started = time.monotonic()
    out = method(frames)
    return out, time.monotonic() - started
