"""Clean photographs made dark: exposure, white balance, tone curve, lamps, sensor noise, compression.

Images are float32 [h, w, 3] in 0..1, display-referred unless a name says `linear`.
"""
import cv2
import numpy as np

from .codec import coded

HIGHEST_GAIN = 14.0     # at ratio 4, of what is nothing but noise; the curve of `lite` allows more where there is light


def add_lamps(linear, rng):
    """Lamps with a short glow, most of them clipping and some of a pixel or two, added to the light itself.

    Returns the added light.
    """
    height, width = linear.shape[:2]
    light = np.zeros((height, width, 1), np.float32)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    for _ in range(rng.integers(1, 6)):
        radius = np.exp(rng.uniform(np.log(0.6), np.log(10.0)))
        stretch = rng.uniform(0.6, 1.6)
        distance = np.hypot((x - rng.uniform(0, width)) * stretch, y - rng.uniform(0, height)) / radius
        light[..., 0] += rng.uniform(0.6, 1.8) / (1 + np.exp(np.minimum((distance - 1) * rng.uniform(4, 12), 30)))
        light[..., 0] += rng.uniform(0.0, 0.05) * np.exp(-distance / rng.uniform(1.5, 4.0))
    tint = 1 - rng.uniform(0, 0.35, 3).astype(np.float32) * rng.integers(0, 2)
    return light * tint


def spot_light(shape, rng):
    """A light that reaches only part of the frame, [h, w, 1], 1 where it is brightest."""
    height, width = shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    light = np.full((height, width), 10 ** rng.uniform(-4, -1.5), np.float32)
    for _ in range(rng.integers(1, 3)):
        reach = rng.uniform(0.15, 0.7) * width
        distance = np.hypot((x - rng.uniform(0, width)) * rng.uniform(0.5, 2), y - rng.uniform(0, height)) / reach
        light += np.exp(-distance ** rng.uniform(1.5, 6))
    return np.minimum(light, 1)[..., None]


def near_black(size, rng):
    """What a camera and its encoder leave where there is nothing to see: blocks of a few levels, 8 bit."""
    block = int(rng.choice([1, 4, 8, 16]))
    levels = rng.uniform(0, 1.2, 3) + rng.standard_normal((-(-size // block), -(-size // block), 3)) * rng.uniform(0.1, 1.0)
    frame = cv2.resize(levels.astype(np.float32), None, fx=block, fy=block, interpolation=cv2.INTER_NEAREST)
    return np.rint(np.clip(frame[:size, :size] + rng.standard_normal((size, size, 1)) * 0.3, 0, 5)).astype(np.uint8)


def tint(blue, red):
    """What so many codes of the two colour differences add to R, G and B, in codes of 8 bits."""
    return np.stack(np.broadcast_arrays(1.402 * red, -0.344 * blue - 0.714 * red, 1.772 * blue), -1).astype(np.float32)


def off_by_a_code(size, rng):
    """Near-black of a video: a luma of 1 to 10 levels in steps, colour off by a code or two in whole areas, 8 bit."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    luma = rng.uniform(1, 8) + rng.uniform(-2, 2) * x + rng.uniform(-2, 2) * y
    luma = luma + cv2.resize(rng.standard_normal((size // 8, size // 8)).astype(np.float32) * rng.uniform(0, 0.6), (size, size),
                             interpolation=cv2.INTER_NEAREST)
    block = int(rng.choice([8, 16, 32]))
    count = -(-size // block)
    colour = rng.integers(-2, 3, 2) + np.rint(rng.standard_normal((count, count, 2)) * rng.uniform(0, 0.6))
    colour = cv2.resize(colour.astype(np.float32), None, fx=block, fy=block, interpolation=cv2.INTER_NEAREST)[:size, :size]
    frame = np.rint(luma)[..., None] + tint(colour[..., 0], colour[..., 1])
    return np.rint(np.clip(frame, 0, 16)).astype(np.uint8)


def sensor_noise(linear, rng):
    """Poisson-Gaussian noise, partly correlated between neighbours as demosaicing leaves it."""
    shot, read = 10 ** rng.uniform(-4.6, -3.0), 10 ** rng.uniform(-8.5, -6.3)
    noise = rng.standard_normal(linear.shape).astype(np.float32)
    blurred = cv2.GaussianBlur(noise, (0, 0), rng.uniform(0.5, 1.3))
    blurred /= blurred.std() + 1e-6
    mix = rng.uniform(0, 1)
    noise = mix * blurred + (1 - mix) * noise
    noise /= noise.std() + 1e-6
    return linear + noise * np.sqrt(shot * np.maximum(linear, 0) + read)


def compress(image, rng):
    quality = int(rng.integers(45, 96))
    stored = cv2.imencode(".jpg", np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.ascontiguousarray(cv2.imdecode(stored, cv2.IMREAD_COLOR)[..., ::-1])


def compress_video(frames, rng):
    """The last of a few 8-bit frames after H.264 at a camera's rate; sides are even."""
    options = {"crf": str(rng.integers(20, 36)), "preset": "veryfast", "tune": "zerolatency"}
    return coded(frames, "libx264", options)[-1]


def beside_black(size, rng):
    """Near-black as a video has it beside what is lit -> where it is, [h, w] from 0 to 1 with a soft edge, and it, 8 bit."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size - 0.5
    angle = rng.uniform(0, 2 * np.pi)
    distance = np.cos(angle) * x + np.sin(angle) * y - rng.uniform(-0.3, 0.3)
    mask = 1 / (1 + np.exp(-np.clip(distance / rng.uniform(0.01, 0.1), -30, 30)))
    return mask.astype(np.float32), (off_by_a_code if rng.random() < 0.7 else near_black)(size, rng)


class Darkening:
    """One random camera and exposure; applied alike to a patch and to a thumbnail."""

    def __init__(self, rng):
        self.gamma = rng.uniform(2.0, 2.5)
        self.exposure = 2.0 ** -rng.uniform(1.5, 7.0)
        self.balance = (1 + rng.normal(0, 0.05, 3)).clip(0.85, 1.15).astype(np.float32)
        self.tone = rng.uniform(0.9, 1.15)

    def linear(self, clean):
        return clean ** self.gamma

    def display(self, linear):
        return np.clip(linear, 0, 1) ** (self.tone / self.gamma)

    def without_noise(self, clean):
        return self.display(self.linear(clean) * self.exposure * self.balance)

    def pair(self, clean, rng):
        """-> dark 8-bit frame as a camera would store it, and the bright truth with the same lamps."""
        linear, truth = self.linear(clean), clean
        dark = linear * self.exposure * self.balance
        if rng.random() < 0.35:
            light = spot_light(clean.shape, rng)
            dark = dark * light
            # What would need more than HIGHEST_GAIN stays dark.
            linear = linear * np.minimum(1, light * self.exposure * HIGHEST_GAIN ** self.gamma)
            truth = linear ** (1 / self.gamma)
        if rng.random() < 0.35:
            light = add_lamps(dark, rng)
            dark = dark + light
            truth = np.clip(linear + light, 0, 1) ** (1 / self.gamma)
        noisy, codec = rng.random() < 0.9, rng.random()

        def shot():
            return np.rint(self.display(sensor_noise(dark, rng) if noisy else dark) * 255).astype(np.uint8)
        if codec < 0.3:
            # The frames before it are where the camera's slow pan came from.
            dy, dx = rng.integers(-2, 3, 2)
            stored = compress_video([np.roll(shot(), (dy * k, dx * k), (0, 1)) for k in (2, 1, 0)], rng)
        else:
            stored = compress(shot(), rng) if codec < 0.6 else shot()
        return stored.astype(np.float32) / 255, truth
