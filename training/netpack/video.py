"""`video`: one round, for a stream that remembers. Tones cannot turn over, whatever the weights are.

* Illumination is a curve of the pixel itself, Q = (G⁴ + level⁴)^(1/4), where G is three parts largest channel and two parts
  luma, and the level is in proportion to the mean luma of the frame. So what is darker than the scene's level gets one
  gain, which keeps contrast and colour as they are; what is brighter is compressed, and L·L^(1/ratio - 1) rises everywhere.
  No weights, no neighbours: no halo, no rim.
* Grey in, grey out, as in `lite`: colour differences go through layers without bias and are multiplied, never added to.
* All weights are spent on noise: Restoration works on luma by 4 and colour at half the resolution, as cameras send it.
  Beside P it is told FLOOR/Q: P is light against the scene's level, and only with that P - c·FLOOR/Q tells how many codes
  of 8 bits, and so how much noise and rounding, a pixel stands on.
"""
import torch
from torch import nn
from torch.nn import functional as F

from .lite import DARKEST, LiteAdjustment, unshuffle
from .networks import Unfolding

LEVEL = 1.85         # of the mean luma, which noise hardly moves; the largest channel grows with it
FLOOR = 0.02         # smallest level: the gain at ratio 4 is at most 19
MIX = 0.4            # of the luma in the guide
CORED = 3 / 255      # difference of two channels, before the gain, that is taken for none where there is next to no light
CORED_TO = 14 / 255  # light from which on all of it is kept; it falls by a quarter of a code for each code of light


def _conv(inputs, outputs, k=3, bias=True):
    return nn.Conv2d(inputs, outputs, k, padding=k // 2, bias=bias)


def luma_of(image):
    """(R + 2G + B) / 4 of an array or tensor [n, 3, h, w]."""
    return 0.25 * (image[:, :1] + 2 * image[:, 1:2] + image[:, 2:])


def guide_of(image):
    """What of a pixel the illumination follows; an array or tensor [n, 3, h, w]."""
    largest = image.max(1, keepdims=True) if not isinstance(image, torch.Tensor) else image.amax(1, keepdim=True)
    return (1 - MIX) * largest + MIX * luma_of(image)


class VideoDecomposition(nn.Module):
    """P = I / Q; Q as above."""

    def forward(self, image, seen=None):
        guide = guide_of(image)
        mean = luma_of(image).mean((2, 3), keepdim=True) if seen is None else seen
        level = (LEVEL * mean).clamp(FLOOR, 1)
        q = (guide ** 4 + level ** 4).pow(1 / 4).clamp(max=1)
        return image / q, q


def doubtful(light):
    """How large a colour difference may be nothing at this light, both before the gain; an array or tensor.

    Chroma of 8 bits is kept in steps of two codes of colour, and encoders leave it off by one for whole areas.
    """
    return (0.25 * CORED_TO - 0.25 * light).clip(0, CORED)


def cored(difference, doubt):
    """A colour difference nearer to zero by what is doubtful of it."""
    return F.relu(difference - doubt) - F.relu(-difference - doubt)


def balance(layer):
    """Leaves the weights of a layer no sum per output. Its inputs are all positive and much alike: of random weights half
    the outputs would be off for every picture behind a ReLU, and stay so."""
    with torch.no_grad():
        layer.weight -= layer.weight.mean((1, 2, 3), keepdim=True)
        layer.bias.fill_(0.05)


class Block(nn.Module):
    """ReLU(x + a 3 × 3 convolution)."""

    def __init__(self, width):
        super().__init__()
        self.mix = _conv(width, width)
        with torch.no_grad():
            self.mix.weight.mul_(0.3)

    def forward(self, x):
        return F.relu(x + self.mix(x))


def _blocks(count, width):
    return nn.Sequential(*(Block(width) for _ in range(count)))


class VideoRestoration(nn.Module):
    """A trunk of `width` planes by 4, with stages by 8 and by 16 in it; colour beside it."""

    def __init__(self, width=32, joins=2, deep=32, before=2, deepest=2, chroma=16):
        super().__init__()
        self.enter = _conv(64, width - 16, 1)
        self.down8, self.down16 = _conv(4 * width, deep, 1), _conv(4 * deep, deep, 1)
        self.up16, self.up8 = _conv(deep, 4 * deep, 1), _conv(deep, 4 * width, 1)
        self.before, self.deepest, self.after = _blocks(before, deep), _blocks(deepest, deep), _blocks(1, deep)
        self.join = _blocks(joins, width)
        self.luma, self.gate_luma, self.gate = _conv(width, 16, 1), _conv(width, 16, 1), _conv(width, 32, 1)
        self.chroma_down8, self.chroma_up8 = _conv(128, chroma, 1, bias=False), _conv(chroma, 128, 1, bias=False)
        self.chroma_down16, self.chroma_up16 = _conv(4 * chroma, chroma, 1, bias=False), _conv(chroma, 4 * chroma, 1, bias=False)
        self.chroma = _conv(chroma, chroma, bias=False)
        self.gate8, self.gate16 = _conv(deep, chroma, 1), _conv(deep, chroma, 1)
        for layer in (self.enter, self.down8, self.down16):
            balance(layer)
        with torch.no_grad():
            for last in (self.luma, self.chroma_up8, self.gate, self.gate_luma):
                last.weight.mul_(0.1)
            for gate in (self.gate, self.gate_luma):
                gate.bias.fill_(1.0)

    def forward(self, p, q):
        red, green, blue = p[:, :1], p[:, 1:2], p[:, 2:]
        cr, cb = red - green, blue - green
        y, q = unshuffle(green + 0.25 * (cr + cb)), unshuffle(q)
        c = torch.cat([unshuffle(cr), unshuffle(cb)], 1)
        x = torch.cat([y, F.relu(self.enter(torch.cat([y, c, FLOOR / q], 1)))], 1)
        d = self.before(F.relu(self.down8(unshuffle(x, 2))))
        e = self.deepest(F.relu(self.down16(unshuffle(d, 2))))
        d = self.after(F.relu(d + F.pixel_shuffle(self.up16(e), 2)))
        x = self.join(F.relu(x + F.pixel_shuffle(self.up8(d), 2)))
        y = y * F.relu(self.gate_luma(x)) + self.luma(x)
        f = self.chroma_down8(unshuffle(c, 2)) * torch.sigmoid(self.gate8(d))
        g = self.chroma_down16(unshuffle(f, 2)) * torch.sigmoid(self.gate16(e))
        f = F.leaky_relu(self.chroma(f + F.pixel_shuffle(self.chroma_up16(g), 2)), 0.2)
        c = c * F.relu(self.gate(x)) + F.pixel_shuffle(self.chroma_up8(f), 2)
        doubt = doubtful(y * q) / q
        cr, cb = cored(c[:, :16], doubt), cored(c[:, 16:], doubt)
        green = y - 0.25 * (cr + cb)
        return F.pixel_shuffle(torch.cat([green + cr, green, green + cb], 1), 4)


class VideoIllumination(nn.Module):
    """L = Q."""

    def forward(self, q):
        return q.clamp(DARKEST, 1.0)


class Video(Unfolding):
    multiple = 16

    def __init__(self, rounds=1, gamma=0.001, gamma_step=0.0, lam=0.5, lam_step=0.0, **widths):
        super().__init__()
        self.rounds, self.gamma, self.gamma_step, self.lam, self.lam_step = rounds, gamma, gamma_step, lam, lam_step
        self.decomposition, self.restoration = VideoDecomposition(), VideoRestoration(**widths)
        self.illumination, self.adjustment = VideoIllumination(), LiteAdjustment()
