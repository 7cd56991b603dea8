"""What a picture is judged by. Images are [n, 3, h, w] in 0..1."""
import torch
from torch.nn import functional as F


def ssim(a, b, window=7, stride=2):
    """Mean structural similarity per image, uniform window as scikit-image has it, every second window."""
    def mean(x):
        return F.avg_pool2d(F.avg_pool2d(x, (window, 1), stride=(stride, 1)), (1, window), stride=(1, stride))
    c1, c2 = 0.01 ** 2, 0.03 ** 2
    n = window * window
    ma, mb = mean(a), mean(b)
    va, vb = (mean(a * a) - ma * ma) * n / (n - 1), (mean(b * b) - mb * mb) * n / (n - 1)
    cov = (mean(a * b) - ma * mb) * n / (n - 1)
    value = ((2 * ma * mb + c1) * (2 * cov + c2)) / ((ma * ma + mb * mb + c1) * (va + vb + c2))
    return value.mean((1, 2, 3))


def colour_differences(x):
    """Red and blue against green, low-passed: 4 × 4 averages."""
    x = F.avg_pool2d(x, 4)
    return torch.cat([x[:, :1] - x[:, 1:2], x[:, 2:] - x[:, 1:2]], 1)


def lamp(dark):
    """How much a pixel [n, 1, h, w] is a lamp: 0 up to a largest channel of 0.6, 1 from 0.8 on."""
    return ((dark.amax(1, keepdim=True) - 0.6) / 0.2).clamp(0, 1)


def dim_lamps(l, dark):
    """How far an illumination [n, 1, h, w] is out of 0.95..1 at the lamps of a batch, averaged over them alone.

    At 0.95 a lamp gains 4 % at ratio 4. Over all pixels a lamp of five would weigh nothing.
    """
    lamps = lamp(dark)
    return (lamps * ((0.95 * lamps - l).clamp_min(0) + (l - 1).clamp_min(0))).sum() / (lamps.sum() + 50)


def picture(output, target, dark, weights, structure=True, scale=1.0):
    """-> loss of a batch. A dark target weighs more, so that ratio 1 is learned as well as 4; `scale`, [n], weighs samples."""
    weight = 0.5 / (target.mean((1, 2, 3)) + 0.12)
    lamps = 1 + weights["lamps"] * lamp(dark)
    total = weights["l1"] * weight * ((output - target).abs() * lamps).mean((1, 2, 3))
    a, b = F.avg_pool2d(output, 16), F.avg_pool2d(target, 16)
    total = total + weights["level"] * ((a - b).abs() / (b + 0.01)).mean((1, 2, 3))
    if structure:
        total = total + weights["ssim"] * (1 - ssim(output.clamp(0, 1), target))
    a, b = colour_differences(output), colour_differences(target)
    total = total + weights["chroma"] * weight * (a - b).abs().mean((1, 2, 3))
    a, b = ((x * x).sum(1).add(1e-5).sqrt() for x in (a, b))
    total = total + weights["saturation"] * weight * (a - b).abs().mean((1, 2))
    total = total + weights["vivid"] * weight * (a.mean((1, 2)) - b.mean((1, 2))).abs()
    return (scale * total).mean()


def brightness(output, target):
    """By what share the mean of each picture is off. A uniform error of three percent is next to nothing to the other terms, but
    seen where it comes and goes with the noise."""
    a, b = (x.mean((1, 2, 3)) for x in (output, target))
    return ((a - b).abs() / (b + 0.02)).mean()


def order(output, dark, far=6 / 255, apart=8):
    """How far pairs of 5 × 5 means of luma, 8 pixels apart, are the other way round in the output, of those that differ in
    the input by more than 6 codes. Needs no truth: a picture is brighter afterwards, not otherwise lit."""
    def mean(x):
        return F.avg_pool2d(0.299 * x[:, :1] + 0.587 * x[:, 1:2] + 0.114 * x[:, 2:], 5, stride=1, padding=2, count_include_pad=False)
    a, b = mean(dark), mean(output)
    total, count = 0.0, 0.0
    for axis in (2, 3):
        n = a.shape[axis] - apart
        d, e = (x.narrow(axis, apart, n) - x.narrow(axis, 0, n) for x in (a, b))
        apart_far = (d.abs() > far).float()
        total = total + (apart_far * F.relu(-e * d.sign())).sum()
        count = count + apart_far.sum()
    return total / (count + 50)


def pattern(output, target, block=8):
    """What the error has in common at each place of a block: the grid that networks on unshuffled planes leave."""
    n, c, h, w = output.shape
    error = (output - target)[..., :h - h % block, :w - w % block]
    error = error.reshape(n, c, h // block, block, w // block, block).mean((2, 4))
    return (error - error.mean((2, 3), keepdim=True)).abs().mean()


def smoothness(l, image):
    """Total variation of log L, less where the image itself has an edge."""
    v = F.avg_pool2d(image.amax(1, keepdim=True), 3, stride=1, padding=1)
    log_l = torch.log(l.clamp_min(0.01))
    total = 0.0
    for axis in (2, 3):
        edge = torch.diff(v, dim=axis).abs() / (v.narrow(axis, 1, v.shape[axis] - 1) + 0.05)
        total = total + (torch.diff(log_l, dim=axis).abs() * torch.exp(-8 * edge)).mean()
    return total
