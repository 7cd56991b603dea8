"""Sequences as night cameras deliver them: light, lamps, text, a sensor, an encoder. Truth is known for every frame.

Frames are [h, w, 3]; `linear` is light, everything else is after the gamma of 2.2 that cameras have.
"""
import cv2
import numpy as np

from .codec import coded
from .darken import tint

GAMMA = 2.2


def sequence_of(clip, size, count, rng):
    """`count` frames of a clip, the same window of each; some clips stand still, some run backwards. Floats, 0..1."""
    width, height = size
    start = rng.integers(0, len(clip) - count + 1)
    frames = [clip[start]] * count if rng.random() < 0.2 else clip[start:start + count]
    if rng.random() < 0.3:
        frames = frames[::-1]
    h, w = frames[0].shape[:2]
    shrink = rng.uniform(1.0, min(1.8, h / height, w / width))
    side = (min(int(height * shrink), h), min(int(width * shrink), w))
    y, x = rng.integers(0, h - side[0] + 1), rng.integers(0, w - side[1] + 1)
    turn = rng.random() < 0.5
    found = []
    for frame in frames:
        frame = cv2.resize(frame[y:y + side[0], x:x + side[1]], size, interpolation=cv2.INTER_AREA)
        found.append((frame[:, ::-1] if turn else frame).astype(np.float32) / 255)
    return found


def moved(image, size, count, rng):
    """A photograph under a camera that stands, pans, zooms and shakes, with a piece of it moving by itself."""
    width, height = size
    h, w = image.shape[:2]
    still = rng.random() < 0.4
    speed = np.zeros(2) if still else rng.normal(0, 1.5, 2)
    zoom = 0.0 if still or rng.random() < 0.5 else rng.normal(0, 0.006)
    shake = 0.0 if still or rng.random() < 0.5 else rng.uniform(0.2, 1.5)
    scale = min(rng.uniform(0.55, 1.0), 0.9 * min(w / width, h / height))
    centre, found = np.array([w / 2, h / 2]), []
    patch = rng.random() < 0.5
    if patch:
        side = rng.integers(16, 64, 2)
        py, px = rng.integers(0, h - side[1]), rng.integers(0, w - side[0])
        piece = image[py:py + side[1], px:px + side[0]].astype(np.float32) / 255 * rng.uniform(0.5, 1.5)
        at, velocity = rng.uniform(0, 1, 2) * (width - 70, height - 70), rng.normal(0, 3, 2)
    for t in range(count):
        s = scale * (1 + zoom * t)
        middle = centre + speed * t + rng.normal(0, shake, 2) if shake else centre + speed * t
        map_ = np.float32([[s, 0, middle[0] - s * width / 2], [0, s, middle[1] - s * height / 2]])
        frame = cv2.warpAffine(image, map_, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                               borderMode=cv2.BORDER_REFLECT).astype(np.float32) / 255
        if patch:
            x, y = (int(v) for v in np.clip(at + velocity * t, 0, (width - side[0], height - side[1])))
            frame[y:y + side[1], x:x + side[0]] = np.clip(piece, 0, 1)
        found.append(frame)
    return found


class Lamps:
    """A few lamps with a glow; most of them clip in the middle and have their colour around it. Some drift."""

    def __init__(self, size, rng):
        self.size = size
        self.each = []
        for _ in range(rng.integers(1, 6)):
            self.each.append((rng.uniform(0, 1, 2) * size, rng.normal(0, 2, 2) * (rng.random() < 0.4),
                              np.exp(rng.uniform(np.log(0.6), np.log(10.0))), rng.uniform(0.5, 3.0), rng.uniform(4, 12),
                              rng.uniform(0.0, 0.05), rng.uniform(1.5, 4.0),
                              1 - rng.uniform(0, 0.7, 3) * (rng.random() < 0.6)))

    def light(self, t):
        width, height = self.size
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        total = np.zeros((height, width, 3), np.float32)
        for at, velocity, radius, power, edge, glow, reach, colour in self.each:
            centre = at + velocity * t
            distance = np.hypot(x - centre[0], y - centre[1]) / radius
            light = power / (1 + np.exp(np.minimum((distance - 1) * edge, 30))) + glow * np.exp(-distance / reach)
            total += light[..., None] * colour.astype(np.float32)
        return total


def mosaic(noise):
    """Noise as a colour mosaic leaves it: each colour is known at some pixels and a mean of neighbours at the others."""
    kernels = [np.float32([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 4, np.float32([[0, 1, 0], [1, 4, 1], [0, 1, 0]]) / 4]
    h, w = noise.shape[:2]
    y, x = np.mgrid[:h, :w]
    masks = ((y % 2 == 0) & (x % 2 == 0), (y + x) % 2 == 1, (y % 2 == 1) & (x % 2 == 1))
    for c, mask in enumerate(masks):
        noise[..., c] = cv2.filter2D(noise[..., c] * mask, -1, kernels[c == 1], borderType=cv2.BORDER_REFLECT_101)
    return noise


def written(label, size, rng):
    """Where the strokes of a line of text are, [h, w, 1], 0..1."""
    width, height = size
    drawn = np.zeros((height, width), np.uint8)
    place = int(rng.integers(0, width - 90)), int(rng.integers(16, height - 4))
    if label:
        cv2.putText(drawn, label, place, cv2.FONT_HERSHEY_SIMPLEX, rng.uniform(0.3, 0.7), 255, 1, cv2.LINE_AA)
    return drawn[..., None].astype(np.float32) / 255


def encode(frames, codec, kbits, gop):
    """What a decoder gives back of 8-bit frames, encoded at so many kbit/s of 25 frames a second."""
    options = {"preset": "veryfast", "x265-params": "log-level=none:pools=none:frame-threads=1:bframes=0"}
    return coded(frames, f"lib{codec}", options, kbits, gop)


class Camera:
    """One random camera, scene light and encoder."""

    def __init__(self, rng):
        kind = rng.random()
        self.dark = np.exp(rng.uniform(np.log(0.01), np.log(0.12)))
        if kind < 0.06:
            self.dark *= 0.1          # next to nothing is seen
        elif kind < 0.16:
            self.dark = rng.uniform(0.2, 1.0)          # dusk, lit streets, daylight
        self.balance = (1 + rng.normal(0, 0.05, 3)).clip(0.85, 1.15).astype(np.float32)
        self.noise = 0.0 if rng.random() < 0.12 else np.exp(rng.uniform(np.log(0.6), np.log(9.0)))
        self.read = 10 ** rng.uniform(-3.2, -1.7)
        self.mosaic = rng.random() < 0.6
        self.codec = rng.choice(["", "x264", "x265"], p=[0.38, 0.42, 0.20])
        self.kbits = np.exp(rng.uniform(np.log(350), np.log(3000))) * (0.6 if self.codec == "x265" else 1.0)
        self.gop = int(rng.choice([12, 25, 50]))
        self.infrared = rng.random() < 0.1
        self.lamps = rng.random() < 0.3
        self.text = rng.random() < 0.1

    def film(self, bright, rng):
        """-> the dark frames without noise (floats), and as they come from the decoder (8 bits)."""
        height, width = bright[0].shape[:2]
        lamps = Lamps((width, height), rng) if self.lamps else None
        label = "".join(rng.choice(list("0123456789:-/ CAM"), 14)) if self.text else ""
        text, ink = written(label, (width, height), rng), np.float32(rng.uniform(0.6, 1))
        sigma = self.noise / 255 * GAMMA * 0.5 ** (GAMMA - 1)
        shot, read = sigma ** 2 / 0.5 ** GAMMA * 0.9, sigma ** 2 * self.read
        clean, noisy = [], []
        for t, frame in enumerate(bright):
            if self.infrared:
                frame = np.repeat(frame.mean(2, keepdims=True), 3, 2)
            linear = frame ** GAMMA * self.dark * (1 if self.infrared else self.balance)
            if lamps:
                light = lamps.light(t)
                linear = linear + (light.mean(2, keepdims=True) if self.infrared else light)
            linear = np.minimum(linear, 1)
            noise = rng.standard_normal(linear.shape, np.float32)
            if self.infrared:
                noise[:] = noise[..., 1:2]
            noise = noise * np.sqrt(shot * linear + read).astype(np.float32)
            if self.mosaic and not self.infrared:
                noise = mosaic(noise)
            seen = np.clip(linear + noise if self.noise else linear, 0, 1) ** (1 / GAMMA)
            truth = linear ** (1 / GAMMA)
            if label:
                seen, truth = ((1 - text) * image + text * ink for image in (seen, truth))
            clean.append(truth.astype(np.float32))
            noisy.append(np.rint(seen * 255).astype(np.uint8))
        if self.codec:
            noisy = encode(noisy, self.codec, max(40, round(self.kbits * width * height / (640 * 360))), self.gop)
        if self.infrared and rng.random() < 0.6:
            off = tint(*rng.integers(-2, 3, 2))
            noisy = [np.rint(np.clip(frame + off, 0, 255)).astype(np.uint8) for frame in noisy]
        return clean, np.stack(noisy)
