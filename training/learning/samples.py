"""Training samples: a dark patch, a ratio, the picture that this ratio must give, and that of ratio 1.

The meaning of the ratio: a picture of illumination L is relit to L^(1/ratio). For a pair (dark D,
bright C) the ratio that fits grows with log L(D) / log L(C) over the whole image. At any other ratio the
target lies between (or beyond) the two on the logarithmic scale: T = C · (C/D)^(s-1), with the local
gain C/D smoothed, and s = (1 - 1/ratio) / (1 - 1/fit), which is 0 at ratio 1 and 1 at the fit.
"""
import pickle
from pathlib import Path

import cv2
import numpy as np

from netpack.lite import LEVELS, UNSHUFFLE

from .darken import (HIGHEST_GAIN, Darkening, beside_black, compress, compress_video, near_black, off_by_a_code, sensor_noise,
                     tint)

THUMBNAIL = (48, 32)

LOWEST_FIT, HIGHEST_FIT = 1.3, 14.0


def illumination_of(v):
    """L of a largest colour channel V; see [ratio] in settings.toml."""
    return v * (0.84 + 0.16 * v + 1.227 * v * v * (1 - v))


def fitting_ratio(dark, bright, scale, power):
    """The ratio at which `dark` must come out as `bright`; see [ratio] in settings.toml."""
    a = np.log(np.clip(illumination_of(dark.max(2)).mean(), 1e-4, 0.999))
    b = np.log(np.clip(illumination_of(bright.max(2)).mean(), 1e-4, 0.98))
    return float(np.clip(4 * (a / b / scale) ** power, 1.0, HIGHEST_FIT))


def look(image):
    """What a patch cannot show of its frame: the means that `lite` takes over it, and a thumbnail for `full`."""
    size = (image.shape[1] // UNSHUFFLE, image.shape[0] // UNSHUFFLE)
    v = cv2.resize(image.max(2), size, interpolation=cv2.INTER_AREA)
    means = np.maximum(v[None] - np.array(LEVELS, np.float32)[:, None, None], 0).mean((1, 2))
    return means, cv2.resize(image, THUMBNAIL, interpolation=cv2.INTER_AREA)


def recoloured(dark, bright):
    """The dark 8-bit picture with the bright one's white balance and saturation, its noise kept.

    LOL's dark pictures carry up to three times the colour of their twins, from casts and black level. A
    network that only sees those learns to bleach, and bleaches other cameras, which are not like that.
    """
    small, wanted = (cv2.resize(x, (38, 25), interpolation=cv2.INTER_AREA).astype(np.float32) for x in (dark, bright))
    balance = np.clip(wanted.mean((0, 1)) / np.maximum(small.mean((0, 1)), 0.05), 0.05, 50)
    # Brightness stays: balance is about 1, weighed by the channels' means.
    balance = np.clip(balance * small.mean((0, 1)).sum() / (balance @ small.mean((0, 1))), 0.4, 2.5)

    def saturation(image):
        return np.abs(image - image.mean(2, keepdims=True)).sum() / image.sum()
    factor = np.clip(saturation(wanted) / max(saturation(small * balance), 1e-3), 0.3, 1.6)
    image = dark * balance
    mean = image.mean(2, keepdims=True)
    return np.rint(np.clip(mean + factor * (image - mean), 0, 255)).astype(np.uint8)


def luma(image):
    """Brightness [h, w] of an RGB picture, with the weights of BT.601."""
    return image @ np.array((0.299, 0.587, 0.114), np.float32)


def with_luma(image, plane, share):
    """The 8-bit picture with so much of its luma replaced by that of `plane`, its colour differences kept."""
    change = share * (plane.astype(np.float32) - luma(image.astype(np.float32)))
    return np.rint(np.clip(image + change[..., None], 0, 255)).astype(np.uint8)


def smooth_edges(v, radius=10, epsilon=0.01):
    """Guided filter of a plane by itself: smooth inside surfaces, sharp at lamps."""
    size = (2 * radius + 1, 2 * radius + 1)
    mean = cv2.blur(v, size)
    a = cv2.blur(v * v, size) - mean * mean
    a = a / (a + epsilon)
    b = (1 - a) * mean
    return np.clip(cv2.blur(a, size) * v + cv2.blur(b, size), 0, 1)


def smoothed_gain(dark, bright):
    """Bright over dark per channel, from averages over 16 × 16 pixels."""
    height, width = dark.shape[:2]
    size = (max(width // 16, 1), max(height // 16, 1))
    a, b = (cv2.resize(x, size, interpolation=cv2.INTER_AREA) + 0.1 / 255 for x in (dark, bright))
    return np.clip(cv2.resize(b / a, (width, height), interpolation=cv2.INTER_LINEAR), 0.2, 400.0)


def target_at(dark, bright, fit, ratio):
    """The picture of a pair at a ratio; what is bright in the dark picture stays as it is."""
    target = bright
    if ratio != fit:
        s = (1 - 1 / ratio) / (1 - 1 / fit)
        target = np.clip(bright * smoothed_gain(dark, bright) ** (s - 1), 0, 1)
    lamp = np.clip((dark.max(2, keepdims=True) - 0.6) / 0.2, 0, 1)
    return target + lamp * (dark - target)


def relit(image, ratio):
    """A daylight picture at a ratio: the curve itself, highlights kept pixel by pixel."""
    v = image.max(2)
    l = np.maximum(illumination_of(np.maximum(smooth_edges(v), 1 / 255)), illumination_of(np.maximum(v, 1 / 255)))
    return np.clip(image * (l ** (1 / ratio - 1))[..., None], 0, 1)


def flip(rng, *arrays):
    if rng.random() < 0.5:
        arrays = [a[:, ::-1] for a in arrays]
    turns = int(rng.integers(0, 4))
    return [np.ascontiguousarray(np.rot90(a, turns)) for a in arrays]


def grey_target(dark, ratio, at_one):
    """What near-black is lifted to: grey, by less than the highest gain; by `at_one` at ratio 1."""
    grey = cv2.blur(dark.mean(2), (17, 17))[..., None] * np.ones(3, np.float32)
    factor = 0.5 + (at_one - 0.5) / ratio
    return factor * grey * HIGHEST_GAIN ** ((1 - 1 / ratio) / 0.75)


def half_in_the_dark(dark, target, rng):
    """A patch and its target (a function of the ratio) with one side of a soft edge near-black, as a video has it
    beside what is lit."""
    mask, black = beside_black(dark.shape[0], rng)
    mask, black = mask[..., None], black.astype(np.float32) / 255
    seen = np.rint((dark * (1 - mask) + black * mask) * 255) / 255

    def both(ratio):
        return (target(ratio) * (1 - mask) + grey_target(black, ratio, 1.0) * mask).astype(np.float32)
    return seen.astype(np.float32), both


class Samples:
    def __init__(self, runs, settings, seed):
        with open(runs / settings["data"]["cache"], "rb") as file:
            stored = pickle.load(file)
        self.ratio = settings["ratio"]
        mix = settings["data"]["mix"]
        self.kinds, shares = list(mix), np.array(list(mix.values()))
        self.shares = shares / shares.sum()
        self.rng = np.random.default_rng(seed)
        self.recolour, self.half_black = settings["data"]["recolour"], settings["data"]["half_black"]
        self.pairs = {name: self._loaded(stored[name]) for name in ("lol", "sice")}
        self.other_colours = self._loaded([(recoloured(low, high), high, name) for low, high, name in stored["lol"]])
        share = settings["data"]["taught"]
        if share:
            with open(Path(cache).with_name(settings["data"]["taught_by"]), "rb") as file:
                planes = pickle.load(file)
            for pairs, which in ((self.pairs["lol"], 0), (self.other_colours, 1)):
                pairs[:] = [(low, with_luma(high, planes[name][which], share), *rest, name)
                            for low, high, *rest, name in pairs]
        self.clean, self.night, self.held = stored["clean"], stored["night"], stored["held"]
        self.clean_small = [self._small(image) for image in self.clean]
        self.night_seen = [look(image.astype(np.float32) / 255) for image, _ in self.night]

    def _loaded(self, pairs):
        """(dark, bright, name) -> (dark, bright, fitting ratio, what a patch cannot show, name) where darker indeed."""
        found = [(low, high, self._fit(self._small(low), self._small(high)), look(low.astype(np.float32) / 255), name)
                 for low, high, name in pairs]
        return [pair for pair in found if pair[2] > LOWEST_FIT]

    def _fit(self, dark, bright):
        return fitting_ratio(dark, bright, self.ratio["fit_scale"], self.ratio["fit_power"])

    @staticmethod
    def _small(image):
        size = (image.shape[1] // 4, image.shape[0] // 4)
        return cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255

    def _crop(self, patch, *images):
        height, width = images[0].shape[:2]
        y, x = self.rng.integers(0, height - patch + 1), self.rng.integers(0, width - patch + 1)
        return [image[y:y + patch, x:x + patch] for image in images]

    def _ratio(self, fit):
        """The fitting ratio, 1, or any other; never so high that the target would be all white."""
        choice = self.rng.random()
        if choice < self.ratio["at_truth"]:
            return fit
        if choice < self.ratio["at_truth"] + self.ratio["at_one"]:
            return 1.0
        highest = min(self.ratio["highest"], 1 / max(1 - 1.3 * (1 - 1 / fit), 1e-3))
        return float(np.exp(self.rng.uniform(0, np.log(max(highest, 1.01)))))

    def _real(self, name, patch):
        pairs = self.other_colours if name == "lol" and self.rng.random() < self.recolour else self.pairs[name]
        low, high, fit, seen, _ = pairs[self.rng.integers(len(pairs))]
        dark, bright = flip(self.rng, *self._crop(patch, low, high))
        dark, bright = dark.astype(np.float32) / 255, bright.astype(np.float32) / 255
        return dark, self._ratio(fit), lambda ratio: target_at(dark, bright, fit, ratio), seen

    def _clean_patch(self, patch):
        index = self.rng.integers(len(self.clean))
        image = self.clean[index]
        shrink = self.rng.uniform(1.0, min(2.0, min(image.shape[:2]) / (patch + 1)))
        side = int(patch * shrink)
        crop = flip(self.rng, *self._crop(side, image))[0]
        crop = cv2.resize(crop, (patch, patch), interpolation=cv2.INTER_AREA)
        return crop.astype(np.float32) / 255, self.clean_small[index]

    def _synthetic(self, patch, grey=False):
        clean, small = self._clean_patch(patch)
        if grey:
            clean, small = (np.repeat(x.mean(2, keepdims=True), 3, 2) for x in (clean, small))
        camera = Darkening(self.rng)
        if grey:
            camera.balance[:] = 1
        dark_small = camera.without_noise(small)
        fit = max(self._fit(dark_small, small), LOWEST_FIT)
        dark, truth = camera.pair(clean, self.rng)
        if grey:
            dark, truth = (np.repeat(x[..., 1:2], 3, 2) for x in (dark, truth))
            if self.rng.random() < 0.7:
                # An encoder whose chroma is a code or two off: the whole frame is tinted alike.
                dark = np.clip(dark + tint(*self.rng.integers(-2, 3, 2)) / 255, 0, 1)
        seen = look(dark_small if self.rng.random() < 0.85 else dark)
        return dark, self._ratio(fit), lambda ratio: target_at(dark, truth, fit, ratio), seen

    def _daylight(self, patch):
        clean, small = self._clean_patch(patch)
        ratio = 1.0 if self.rng.random() < 0.5 else float(np.exp(self.rng.uniform(0, np.log(10))))
        seen = clean
        if self.rng.random() < 0.3:
            seen = compress(np.rint(np.clip(sensor_noise(clean ** 2.2, self.rng), 0, 1) ** (1 / 2.2) * 255)
                            .astype(np.uint8), self.rng).astype(np.float32) / 255
        return seen, ratio, lambda ratio: relit(clean, ratio), look(small)

    def _night(self, patch):
        """A real night picture, whose truth is known at ratio 1 alone: itself, less its noise."""
        index = self.rng.integers(len(self.night))
        dark, clean = flip(self.rng, *self._crop(patch, *self.night[index]))
        dark, clean = dark.astype(np.float32) / 255, clean.astype(np.float32) / 255
        return dark, 1.0, lambda ratio: clean, self.night_seen[index]

    def _black(self, patch):
        ratio = float(np.exp(self.rng.uniform(0, np.log(12))))
        if self.rng.random() < 0.3:
            dark = np.zeros((patch, patch, 3), np.float32)
            return dark, ratio, lambda ratio: dark, look(dark)
        dark = (near_black if self.rng.random() < 0.6 else off_by_a_code)(patch, self.rng)
        if self.rng.random() < 0.4:
            dark = compress_video([near_black(patch, self.rng), dark], self.rng)
        dark = dark.astype(np.float32) / 255
        return dark, ratio, lambda ratio: grey_target(dark, ratio, 0.5), look(dark)

    def one(self, patch):
        """-> dark patch, ratio, target, target of ratio 1, what a patch cannot show."""
        kind = self.rng.choice(self.kinds, p=self.shares)
        dark, ratio, target, seen = self._real(kind, patch) if kind in self.pairs else self._made(kind, patch)
        if kind not in ("black", "night") and self.rng.random() < self.half_black:
            dark, target = half_in_the_dark(dark, target, self.rng)
        at_ratio = target(ratio)
        return dark, ratio, at_ratio, at_ratio if ratio == 1 else target(1.0), seen

    def _made(self, kind, patch):
        return {"synthetic": self._synthetic, "daylight": self._daylight, "black": self._black, "night": self._night,
                "grey": lambda p: self._synthetic(p, grey=True)}[kind](patch)

    def batch(self, count, patch):
        """-> dark [n, 3, patch, patch], ratio [n, 1, 1, 1], target like dark, target of ratio 1, means [n, 16, 1, 1],
        thumbnail."""
        dark, ratio, target, itself, seen = zip(*(self.one(patch) for _ in range(count)))
        means, thumbnails = zip(*seen)
        planes = [np.ascontiguousarray(np.stack(x).transpose(0, 3, 1, 2), dtype=np.float32)
                  for x in (dark, target, itself, thumbnails)]
        return (planes[0], np.array(ratio, np.float32).reshape(-1, 1, 1, 1), *planes[1:3],
                np.array(means, np.float32).reshape(-1, len(LEVELS), 1, 1), planes[3])
