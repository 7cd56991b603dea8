"""Samples for `video`: what the stream's memory hands on, at the beginning of a scene and later, and LOL pairs."""
import pickle

import cv2
import numpy as np

from netpack.video import FLOOR, LEVEL, doubtful, guide_of, luma_of

from .darken import beside_black
from .samples import recoloured

HELD = 40     # sequences, the last ones, for choosing between runs


def gain(image, mean, ratio):
    """What the illumination of a picture without noise makes of each pixel: L^(1/ratio - 1). [n, 3, h, w] -> [n, 1, h, w]."""
    level = np.clip(LEVEL * mean, FLOOR, 1)
    l = np.minimum((guide_of(image) ** 4 + level ** 4) ** (1 / 4), 1)
    return l ** (1 / ratio - 1)


def fitting_ratio(dark, bright, mean):
    """The ratio, up to 20, at which the mean of a dark picture comes next to that of the bright one."""
    ratios = np.exp(np.linspace(0, np.log(20), 24))
    means = [np.minimum(dark * gain(dark, mean, r), 1).mean() for r in ratios]
    best = int(np.argmin(np.abs(np.array(means) - bright.mean())))
    return float(ratios[best]), means[best] / bright.mean()


def faded(clean):
    """A dark picture [3, h, w] without the doubtful colour, which the network leaves out whatever its weights."""
    image = clean[None]
    y = luma_of(image)
    doubt = doubtful(y)
    cr, cb = (d - np.clip(d, -doubt, doubt) for d in (image[:, :1] - image[:, 1:2], image[:, 2:] - image[:, 1:2]))
    green = y - 0.25 * (cr + cb)
    return np.concatenate([green + cr, green, green + cb], 1)[0].clip(0, 1)


def settled(clean, fused, bins=24):
    """The clean picture [3, h, w] with the tones that the sensor's noise and the encoder leave on average.

    Noise that is clipped at black lifts the dark, by how much no single picture tells: fused over time, its noise is gone
    and the lift is not. A network that is asked to take it back guesses, and brightness follows the noise, which falls while
    the memory fills. So the lift stays: for each channel the mean difference as a function of the clean luma.
    """
    at = np.sqrt(clean.mean(0)).clip(0, 1) * (bins - 1)
    low = np.minimum(at.astype(np.int64), bins - 2).ravel()
    part = at.ravel() - low
    count = np.bincount(low, 1 - part, bins) + np.bincount(low + 1, part, bins)
    found = np.empty_like(clean)
    for c in range(3):
        difference = (fused[c] - clean[c]).ravel()
        total = np.bincount(low, difference * (1 - part), bins) + np.bincount(low + 1, difference * part, bins)
        curve = total / (count + 100)       # of few pixels nothing is learned
        found[c] = clean[c] + np.interp(at, np.arange(bins), curve)
    return found.clip(0, 1)


class Sequences:
    def __init__(self, runs, settings, seed):
        self.options, self.rng = settings["video"], np.random.default_rng(seed)
        parts = [np.load(runs / f"{self.options['sequences']}-{part}.npy", mmap_mode="r") for part in ("fused", "clean", "luma")]
        self.fused, self.clean, self.luma = parts
        self.count = len(self.fused) - HELD
        with open(runs / settings["data"]["cache"], "rb") as file:
            stored = pickle.load(file)
        self.held = stored["held"]
        self.recolour = settings["data"]["recolour"]
        self.lol = []
        for low, high, _ in stored["lol"]:
            for dark in (recoloured(low, high), low):
                small = cv2.resize(dark, (150, 100), interpolation=cv2.INTER_AREA).transpose(2, 0, 1)[None].astype(np.float32) / 255
                bright = cv2.resize(high, (150, 100), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
                mean = float(luma_of(dark.transpose(2, 0, 1)[None].astype(np.float32) / 255).mean())
                self.lol.append((dark, high, mean, *fitting_ratio(small, bright, mean)))

    def _turned(self, *arrays):
        """Turned and mirrored alike; [3, h, w] each."""
        turn, mirror = int(self.rng.integers(0, 4)), self.rng.random() < 0.5
        return [np.ascontiguousarray(np.rot90(a[..., ::-1] if mirror else a, turn, (1, 2))) for a in arrays]

    def _ratio(self):
        choice = self.rng.random()
        if choice < self.options["at_one"]:
            return 1.0
        if choice < self.options["at_one"] + self.options["at_four"]:
            return 4.0
        return float(np.exp(self.rng.uniform(np.log(2), np.log(10))))

    def _sequence(self, patch):
        i, t = self.rng.integers(self.count), self.rng.integers(self.fused.shape[1])
        side = self.fused.shape[-1]
        y, x = self.rng.integers(0, side - patch + 1, 2)
        dark, clean = (a[i, t, :, y:y + patch, x:x + patch].astype(np.float32) / 65535 for a in (self.fused, self.clean))
        dark, clean = self._turned(dark, clean)
        clean = faded(settled(clean, dark))
        if self.rng.random() < self.options["half_black"]:
            dark, clean = self._beside_black(dark, clean)
        mean, ratio = float(self.luma[i, t]), self._ratio()
        return dark, ratio, (clean * gain(clean[None], mean, ratio)[0]).astype(np.float32), mean

    def _beside_black(self, dark, clean):
        """One side of a soft edge is near-black as encoders leave it, which is to come out grey and smooth."""
        mask, black = beside_black(dark.shape[-1], self.rng)
        black = black.astype(np.float32) / 255
        grey = cv2.blur(black.mean(2), (17, 17))
        return ((dark * (1 - mask) + black.transpose(2, 0, 1) * mask).astype(np.float32),
                (clean * (1 - mask) + 0.8 * grey * mask).astype(np.float32))

    def _pair(self, patch):
        own = 2 * self.rng.integers(len(self.lol) // 2) + (self.rng.random() >= self.recolour)
        dark, high, mean, fit, factor = self.lol[own]
        y, x = (self.rng.integers(0, n - patch + 1) for n in dark.shape[:2])
        dark, high = (a[y:y + patch, x:x + patch].transpose(2, 0, 1).astype(np.float32) / 255 for a in (dark, high))
        dark, high = self._turned(dark, high)
        return dark, fit, high * min(factor, 1.0), mean

    def batch(self, count, patch):
        """-> dark [n, 3, patch, patch], ratio [n, 1, 1, 1], target like dark, mean luma of the frame [n, 1, 1, 1]."""
        made = (self._pair(patch) if self.rng.random() < self.options["lol"] else self._sequence(patch) for _ in range(count))
        dark, ratio, target, mean = zip(*made)
        column = lambda values: np.array(values, np.float32).reshape(-1, 1, 1, 1)
        return np.stack(dark), column(ratio), np.stack(target), column(mean)

    def validation(self):
        """-> (dark, clean, mean) of the held sequences, in batches of one sequence."""
        for i in range(self.count, self.count + HELD):
            yield (self.fused[i].astype(np.float32) / 65535, self.clean[i].astype(np.float32) / 65535,
                   self.luma[i].reshape(-1, 1, 1, 1))
