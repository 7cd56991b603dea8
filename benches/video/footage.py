"""Footage as night cameras deliver it, of which the truth is known.

A well-lit clip is darkened in linear light, gets the noise of a sensor, is clipped at black, rounded to 8 bits and encoded
as cameras encode, or not. Everything is seeded: the same clip and condition give the same bytes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
import tempfile
from pathlib import Path

import numpy as np

GAMMA = 2.2
#: Frames of a clip, and the width that it is reduced to: the reduction takes the clip's own compression away.
FRAMES, WIDTH = 40, 480


@dataclasses.dataclass(frozen=True)
class Condition:
    """How a clip is spoilt. `noise` is the standard deviation at mid grey, in levels of 255."""

    name: str
    noise: float
    codec: str = ""
    #: kbit/s for 640×360; scaled with the number of pixels.
    kbits: int = 0
    gop: int = 50
    #: Noise comes from a colour mosaic, so that it is coloured and smooth over neighbours.
    mosaic: bool = False
    #: The sensor's gain goes to and fro by this share.
    wobble: float = 0.0


CONDITIONS = (
    Condition("none", 0.0),
    Condition("low", 1.2),
    Condition("medium", 3.0),
    Condition("high", 6.0),
    Condition("medium-mosaic", 3.0, mosaic=True),
    Condition("medium-wobble", 3.0, wobble=0.03),
    Condition("none-h264", 0.0, codec="x264", kbits=1000),
    Condition("medium-h264", 3.0, codec="x264", kbits=1000, mosaic=True),
    Condition("high-h264", 6.0, codec="x264", kbits=1000, mosaic=True),
    Condition("high-h264-gop12", 6.0, codec="x264", kbits=2500, gop=12),
    Condition("medium-h265", 3.0, codec="x265", kbits=500, gop=30, mosaic=True),
    Condition("high-h265", 6.0, codec="x265", kbits=500, gop=30, mosaic=True),
)


@dataclasses.dataclass(frozen=True)
class Clip:
    """A clip: a file, from which frame on, and how dark the night is (a factor in linear light)."""

    name: str
    file: str
    dark: float
    start: int = 0
    #: A single frame, shown again and again.
    still: bool = False
    #: Another clip that it cuts to in the middle.
    cut_to: str = ""


CLIPS = (
    Clip("juggle", "sam2_juggle_720p.mp4", 0.05),
    Clip("walker", "forest_walker_360p.mp4", 0.04),
    Clip("dog", "sam2_dog_720p.mp4", 0.05),
    Clip("paragliding", "cotracker_paragliding_480p.mp4", 0.04),
    Clip("cheetah", "cheetah_720p.mp4", 0.03),
    Clip("street", "street_pedestrians_720p.mp4", 0.04),
    Clip("motorway", "motorway_720p.mp4", 0.03),
    Clip("office", "office_two_people_1080p.mp4", 0.06),
    Clip("dashcam", "dashcam_day_a_360p.mp4", 0.04),
    Clip("cockatoo", "cockatoo_720p.mp4", 0.05),
    Clip("deer", "deer_pan_360p.mp4", 0.06),
    Clip("cut", "sam2_coffee_720p.mp4", 0.04, cut_to="railway_pedestrians_720p.mp4"),
    Clip("still-street", "street_pedestrians_720p.mp4", 0.03, still=True),
    Clip("still-dog", "sam2_dog_720p.mp4", 0.05, start=30, still=True),
    Clip("still-office", "office_two_people_1080p.mp4", 0.04, start=10, still=True),
)


def gst(*parts: str) -> None:
    """Runs a pipeline to its end."""
    done = subprocess.run(["gst-launch-1.0", "-q", *" ".join(parts).split()], capture_output=True, text=True)
    if done.returncode or "ERROR" in done.stderr:
        raise RuntimeError(f"{' '.join(parts)}\n{done.stderr.strip()}")


def size_of(path: Path) -> tuple[int, int]:
    """Width and height of a clip."""
    out = subprocess.run(["gst-discoverer-1.0", "-v", str(path)], capture_output=True, text=True).stdout
    values = {}
    for line in out.splitlines():
        key, _, value = line.strip().partition(": ")
        if key in ("Width", "Height"):
            values.setdefault(key, int(value))
    return values["Width"], values["Height"]


def read(path: Path, frames: int = 0, width: int = 0) -> np.ndarray:
    """A clip's first frames (0: all), reduced to `width` (0: as it is): frames × height × width × 3, 8 bits."""
    w, h = size_of(path)
    if width and w > width:
        w, h = width, round(h * width / w / 2) * 2
    w, h = w // 2 * 2, h // 2 * 2
    with tempfile.NamedTemporaryFile() as raw:
        limit = f"identity eos-after={frames + 1} !" if frames else ""
        gst(f"filesrc location={path} ! decodebin ! {limit} videoconvert ! videoscale method=lanczos add-borders=false",
            f"! video/x-raw,format=RGB,width={w},height={h} ! videoconvert ! video/x-raw,format=RGB",
            f"! filesink location={raw.name}")
        data = np.fromfile(raw.name, np.uint8)
    stride = -(-w * 3 // 4) * 4
    data = data[: len(data) // (stride * h) * stride * h].reshape(-1, h, stride)[:, :, : w * 3]
    clip = data.reshape(-1, h, w, 3)
    # One or two more come, of which the last may be a frame that was never decoded.
    return np.ascontiguousarray(clip[:frames] if frames else clip)


def truth(clip: Clip, folder: Path, frames: int = FRAMES, width: int = WIDTH) -> np.ndarray:
    """The well-lit clip: frames × height × width × 3, 8 bits."""
    if clip.still:
        one = read(folder / clip.file, clip.start + 1, width)[clip.start]
        return np.repeat(one[None], frames, axis=0)
    if clip.cut_to:
        a, b = (read(folder / f, frames, width) for f in (clip.file, clip.cut_to))
        h, w = min(a.shape[1], b.shape[1]), min(a.shape[2], b.shape[2])
        return np.concatenate([x[: frames // 2, :h, :w] for x in (a, b)])
    return read(folder / clip.file, clip.start + frames, width)[clip.start :]


def mosaic(linear: np.ndarray) -> np.ndarray:
    """Only one colour of each pixel of an RGGB mosaic is kept; the others are means of neighbours (bilinear)."""
    h, w = linear.shape[:2]
    y, x = np.mgrid[:h, :w]
    masks = [(y % 2 == 0) & (x % 2 == 0), (y + x) % 2 == 1, (y % 2 == 1) & (x % 2 == 1)]
    out = np.empty_like(linear)
    for c, mask in enumerate(masks):
        kept = np.pad(linear[..., c] * mask, 1, mode="reflect")
        weight = np.pad(mask.astype(np.float32), 1, mode="reflect")
        total = np.zeros((h, w), np.float32)
        count = np.zeros((h, w), np.float32)
        for dy, dx, k in ((dy, dx, (2 - abs(dy)) * (2 - abs(dx))) for dy in (-1, 0, 1) for dx in (-1, 0, 1)):
            total += k * kept[1 + dy : h + 1 + dy, 1 + dx : w + 1 + dx]
            count += k * weight[1 + dy : h + 1 + dy, 1 + dx : w + 1 + dx]
        out[..., c] = np.where(mask, linear[..., c], total / count)
    return out


def seed(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:8], "little")


def darken(clip: Clip, condition: Condition, bright: np.ndarray) -> np.ndarray:
    """The clip at night, before it is encoded: 8 bits, the noise Poisson–Gaussian in linear light."""
    rng = np.random.default_rng(seed("night", clip.name, condition.name))
    lut = ((np.arange(256) / 255.0) ** GAMMA).astype(np.float32)
    # The noise is given as a deviation at mid grey after gamma; the slope of gamma there carries it to linear light.
    grey = 0.5**GAMMA
    sigma = condition.noise / 255 * GAMMA * 0.5 ** (GAMMA - 1)
    shot = sigma * sigma / grey * 0.9
    read_noise = sigma * sigma * 0.1 * 0.02
    out = np.empty_like(bright)
    for t, frame in enumerate(bright):
        gain = 1 + condition.wobble * np.sin(t * 1.7) if condition.wobble else 1.0
        linear = lut[frame] * clip.dark * gain
        if condition.noise:
            deviation = np.sqrt(shot * linear + read_noise).astype(np.float32)
            linear = linear + deviation * rng.standard_normal(linear.shape, np.float32)
            if condition.mosaic:
                linear = mosaic(linear)
        code = np.clip(linear, 0, 1) ** (1 / GAMMA) * 255
        out[t] = np.clip(np.rint(code), 0, 255).astype(np.uint8)
    return out


def encode(frames: np.ndarray, condition: Condition) -> np.ndarray:
    """What a decoder gives back."""
    n, h, w, _ = frames.shape
    kbits = max(60, round(condition.kbits * w * h / (640 * 360)))
    settings = {
        "x264": f"x264enc speed-preset=veryfast bframes=0 threads=1 key-int-max={condition.gop} bitrate={kbits} ! h264parse ! avdec_h264",
        "x265": f"x265enc speed-preset=veryfast key-int-max={condition.gop} bitrate={kbits} option-string=pools=none:frame-threads=1:bframes=0 ! h265parse ! avdec_h265",
    }[condition.codec]
    with tempfile.TemporaryDirectory() as work:
        source, result = Path(work, "in.raw"), Path(work, "out.raw")
        frames.tofile(source)
        gst(f"filesrc location={source} ! rawvideoparse format=rgb width={w} height={h} framerate=25/1 ! videoconvert",
            f"! video/x-raw,format=I420 ! {settings} ! videoconvert ! video/x-raw,format=BGR ! videoconvert",
            f"! video/x-raw,format=RGB ! filesink location={result}")
        data = np.fromfile(result, np.uint8)
    stride = -(-w * 3 // 4) * 4
    data = data.reshape(-1, h, stride)[:, :, : w * 3].reshape(-1, h, w, 3)
    if len(data) != n:
        raise RuntimeError(f"{condition.name}: {n} frames went into the encoder, {len(data)} came out")
    return np.ascontiguousarray(data)


def night(clip: Clip, condition: Condition, bright: np.ndarray) -> np.ndarray:
    """The clip as it comes from a camera at night."""
    dark = darken(clip, condition, bright)
    return encode(dark, condition) if condition.codec else dark
