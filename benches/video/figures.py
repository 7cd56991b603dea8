"""Figures of a method's output against the truth. Pictures are frames × height × width × 3, floats from 0 to 255."""

from __future__ import annotations

import cv2
import numpy as np


def block_means(x: np.ndarray, n: int = 8) -> np.ndarray:
    h, w = x.shape[-2] // n * n, x.shape[-1] // n * n
    x = x[..., :h, :w]
    return x.reshape(*x.shape[:-2], h // n, n, w // n, n).mean(axis=(-3, -1))


def monotone_cubic(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Coefficients (constant first) of the cubic that takes x (0 to 1) to y with the least squares and never falls on 0 to 1.

    If the free fit falls somewhere, it is mixed with the best straight line until it does not.
    """
    powers = np.stack([x**k for k in range(4)], axis=1)
    cubic = np.linalg.lstsq(powers, y, rcond=None)[0]
    line = np.zeros(4)
    line[:2] = np.linalg.lstsq(powers[:, :2], y, rcond=None)[0]
    line[1] = max(line[1], 0.0)
    grid = np.linspace(0, 1, 101)
    for share in np.linspace(0, 1, 21):
        c = (1 - share) * cubic + share * line
        if (c[1] + 2 * c[2] * grid + 3 * c[3] * grid**2 >= 0).all():
            return c
    return line


def to_truth(out: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The output under one monotone curve for each channel of the whole clip, so that brightness alone gains nothing."""
    fitted = np.empty_like(out)
    for c in range(3):
        x, y = (block_means(v[..., c]).ravel() / 255 for v in (out, truth))
        a = monotone_cubic(x, y)
        v = out[..., c] / 255
        fitted[..., c] = 255 * (a[0] + v * (a[1] + v * (a[2] + v * a[3])))
    return np.clip(fitted, 0, 255)


def psnr(mse: float) -> float:
    return float(10 * np.log10(255**2 / max(mse, 1e-9)))


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """SSIM (Wang 2004) of two pictures' luma, Gaussian window of 1.5 pixels."""
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    a, b = a @ weights, b @ weights
    blur = lambda v: cv2.GaussianBlur(v, (11, 11), 1.5)
    ma, mb = blur(a), blur(b)
    va, vb, vab = blur(a * a) - ma * ma, blur(b * b) - mb * mb, blur(a * b) - ma * mb
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    return float((((2 * ma * mb + c1) * (2 * vab + c2)) / ((ma**2 + mb**2 + c1) * (va + vb + c2))).mean())


def moving(truth: np.ndarray, level: float = 6.0) -> np.ndarray:
    """Pixels whose truth differs from the frame before by more than `level` in a 5×5 mean; none in the first frame."""
    grey = truth.mean(axis=-1)
    result = np.zeros(grey.shape, bool)
    for t in range(1, len(grey)):
        result[t] = cv2.blur(np.abs(grey[t] - grey[t - 1]), (5, 5)) > level
    return result


def ghost(out: np.ndarray, truth: np.ndarray, where: np.ndarray, back: int = 1) -> float:
    """Share of the frame `back` before that is left in moving pixels: the regression of the error on it, less that on the
    frame as far ahead, so that blur cancels. NaN where less than 1 % of the pixels move."""
    shares = []
    for t in range(back, len(out) - back):
        at = where[t]
        if at.mean() < 0.01:
            continue
        error = (out[t] - truth[t])[at].ravel()
        def share(other: np.ndarray) -> float:
            d = (other - truth[t])[at].ravel()
            return float((error @ d) / max(float(d @ d), 1e-9))
        shares.append(share(truth[t - back]) - share(truth[t + back]))
    return float(np.mean(shares)) if shares else float("nan")


def against_truth(out: np.ndarray, truth: np.ndarray, cut: int = 0) -> dict[str, float]:
    """All figures of a clip; `cut` is the first frame of its second scene, if it has one."""
    truth = truth.astype(np.float32)
    out = to_truth(out.astype(np.float32), truth)
    error = ((out - truth) ** 2).mean(axis=-1)
    where = moving(truth)
    if cut:
        where[cut] = False
    still = ~where
    still[0] = False
    delta = np.abs((out[1:] - out[:-1]) - (truth[1:] - truth[:-1])).mean(axis=(1, 2, 3))
    if cut:
        delta = np.delete(delta, cut - 1)
    luma = (out - truth).mean(axis=(1, 2, 3))
    result = {
        "psnr": float(np.mean([psnr(e.mean()) for e in error])),
        "ssim": float(np.mean([ssim(a, b) for a, b in zip(out[::3], truth[::3])])),
        "e_t": float(delta.mean()),
        "moving": psnr(error[where].mean()) if where.sum() > 2000 else float("nan"),
        "still": psnr(error[still].mean()) if still.sum() > 2000 else float("nan"),
        "ghost": ghost(out, truth, where),
        "ghost5": ghost(out, truth, where, 5),
        "flicker": float(np.std(luma[1:] - luma[:-1])),
        "luma_std": float(np.std(luma)),
        "first": psnr(error[0].mean()),
    }
    if cut:
        result |= {f"cut+{i}": psnr(error[cut + i].mean()) for i in (0, 1, 5)}
    return result


def like_histogram(source: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """The source under the one monotone curve that gives its luma the goal's distribution."""
    luma = lambda v: np.clip(v.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32), 0, 255)
    a, b = luma(source), luma(goal)
    share = np.cumsum(np.histogram(a, 256, (0, 256))[0]) / a.size
    levels = np.interp(share, np.linspace(0, 1, 256), np.quantile(b.ravel()[::7], np.linspace(0, 1, 256)))
    gain = np.interp(a, np.arange(256), levels) / np.maximum(a, 1)
    return np.clip(source * gain[..., None], 0, 255)


def grid(luma: np.ndarray) -> float:
    """Mean step at the edges of blocks of 8 pixels over that in their middle, both ways; 1 where there is no grid."""
    ratios = []
    for axis in (1, 2):
        steps = np.abs(np.diff(luma.astype(np.float32), axis=axis))
        steps = np.minimum(np.moveaxis(steps, axis, 0), 12).mean(axis=(1, 2))
        ratios.append(steps[7::8].mean() / max(float(steps[3::8].mean()), 1e-3))
    return float(np.mean(ratios))


def without_truth(source: np.ndarray, out: np.ndarray) -> dict[str, float]:
    """Figures of a real clip's output.

    flips: percent of pairs 8 pixels apart (5×5 means of the luma) that differ by more than 6 levels in the source and are
    in the opposite order in the output. clipped: percent of pixels at 250 or more in some channel that were below 200.
    boil: temporal standard deviation of still areas over that of the source under a curve that gives it the same
    brightness; NaN where nothing is still, or where that has none (less than a tenth of a level, as in black bars). chroma: length of the colour differences where the source is dark (luma below 24),
    over that reference's; NaN where less than 1 % is dark. grid: by how much steps at the edges of blocks of 8 are larger than
    others, over the reference's.
    """
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    flips = pairs = clipped = pixels = 0
    for a, b in zip(source[::4], out[::4]):
        x, y = (cv2.blur(v.astype(np.float32) @ weights, (5, 5)) for v in (a, b))
        for dx, dy in ((8, 0), (0, 8)):
            d = x[dy:, dx:] - x[: x.shape[0] - dy, : x.shape[1] - dx]
            e = y[dy:, dx:] - y[: y.shape[0] - dy, : y.shape[1] - dx]
            far = np.abs(d) > 6
            pairs += far.sum()
            flips += (far & (d * e < 0)).sum()
        clipped += ((b.max(axis=-1) >= 250) & (a.max(axis=-1) < 200)).sum()
        pixels += a.shape[0] * a.shape[1]
    reference = like_histogram(source, out)
    dark = (source.astype(np.float32) @ weights) < 24
    spread = lambda v: float(np.mean([np.abs(f.astype(np.float32) - f.mean(axis=-1, keepdims=True))[d].mean()
                                      for f, d in zip(v[::4], dark[::4]) if d.any()]))
    chroma = spread(out) / max(spread(reference), 0.1) if dark.mean() > 0.01 else float("nan")
    smooth = np.stack([cv2.blur(v.astype(np.float32) @ weights, (9, 9)) for v in source])
    still = (smooth.max(axis=0) - smooth.min(axis=0)) < 3
    deviation = lambda v: np.std((v.astype(np.float32) @ weights)[:, still], axis=0).mean()
    calm = deviation(reference) if still.mean() > 0.02 else 0.0
    boil = float(deviation(out) / calm) if calm >= 0.1 else float("nan")
    return {
        "flips": 100 * float(flips) / max(int(pairs), 1),
        "clipped": 100 * float(clipped) / pixels,
        "boil": boil,
        "chroma": chroma,
        "grid": grid(out[::4] @ weights) / max(grid(reference[::4] @ weights), 1e-3),
        "luma_in": float((source.astype(np.float32) @ weights).mean()),
        "luma_out": float((out.astype(np.float32) @ weights).mean()),
    }
