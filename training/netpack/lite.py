"""`lite`: the same four subnetworks and unfolding at about a hundredth of the cost.

All convolutions work on planes unshuffled by 4, 8 or 16, so sides are multiples of 16.

Three properties hold by construction, whatever the weights are:
* Grey in, grey out. Green is restored by a luma trunk; red - green and blue - green go through
  convolutions without bias and are only multiplied by what the trunk says, so zero stays zero.
* A higher ratio is never darker, and the gain is bounded: L lies in 0..1 and L' is an exact curve of it.
* P·Q = I after the decomposition: Q is estimated, P is the division.
"""
import torch
from torch import nn
from torch.nn import functional as F

from .networks import Unfolding

UNSHUFFLE = 4
FLOOR = 0.02        # smallest Q of the decomposition
DARKEST = 4e-3      # smallest L
KEEP, KEPT = 0.6, 12.0    # how far the logit of Q rises with the largest channel V: KEPT · max(V - KEEP, 0)
BOUND = 0.01        # L below which the gain grows no further: at most 32 at ratio 4


def _conv(inputs, outputs, k=3, bias=True):
    return nn.Conv2d(inputs, outputs, k, padding=k // 2, bias=bias)


def unshuffle(x, block=UNSHUFFLE):
    """SpaceToDepth in the order of ONNX: channel = (dy * block + dx) * channels + c."""
    n, c, h, w = x.shape
    x = x.view(n, c, h // block, block, w // block, block)
    return x.permute(0, 3, 5, 1, 2, 4).reshape(n, c * block * block, h // block, w // block)


def split_colours(p):
    """P -> R, G, B, each unshuffled to 16 planes."""
    return [unshuffle(p[:, c:c + 1]) for c in range(3)]


# How much of the frame is how bright: means of ReLU(V - level) over the frame, V averaged over 4 × 4 pixels.
LEVELS = (0.0, 0.01, 0.02, 0.03, 0.045, 0.065, 0.09, 0.12, 0.16, 0.21, 0.28, 0.36, 0.46, 0.58, 0.72, 0.86)


def look(image):
    """The means over the frame, [n, 16, 1, 1]; what the decomposition computes for itself."""
    v = F.avg_pool2d(image.amax(1, keepdim=True), UNSHUFFLE)
    levels = torch.tensor(LEVELS, device=image.device).view(1, -1, 1, 1)
    return F.relu(v - levels).mean((2, 3), keepdim=True)


class LiteDecomposition(nn.Module):
    """Q from the largest colour channel and from how bright the whole frame is; P = I / Q."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = _conv(16, 16), _conv(16, 16)
        self.frame1, self.frame2 = _conv(16, 32, 1), _conv(32, 32, 1)

    def forward(self, image, seen=None):
        red, green, blue = image[:, :1], image[:, 1:2], image[:, 2:]
        largest = red + F.relu(green - red)
        largest = largest + F.relu(blue - largest)
        seen = look(image) if seen is None else seen
        first, second = self.frame2(F.relu(self.frame1(seen * 10))).split(16, 1)
        x = self.conv2(F.relu(self.conv1(unshuffle(largest)) + first)) + second
        # A lamp is bright by itself: what the convolutions say of its neighbourhood need not follow its edge.
        lamp = KEPT * F.relu(largest - KEEP)
        q = FLOOR + (1 - FLOOR) * torch.sigmoid(F.pixel_shuffle(x, UNSHUFFLE) + lamp)
        return image / q, q


class Gated(nn.Module):
    """ReLU(x + a 3 × 3 convolution to half the channels, each passed as far as a gate from 0 to 1 says, spread again)."""

    def __init__(self, width):
        super().__init__()
        self.mix, self.gate = _conv(width, width // 2), _conv(width, width // 2, 1)
        self.spread = _conv(width // 2, width, 1)
        with torch.no_grad():
            self.gate.weight.mul_(0.5)
            self.gate.bias.fill_(0.5)

    def forward(self, x):
        return F.relu(x + self.spread(self.mix(x) * self.gate(x).clamp(0, 1)))


def _gated(count, width):
    return nn.Sequential(*(Gated(width) for _ in range(count)))


class LiteRestoration(nn.Module):
    """A trunk that carries all 64 planes of P and Q to the end, narrower stages by 8 and by 16 in it; colour beside it.

    A trunk narrower than its input loses what tells detail from noise.
    """

    def __init__(self, deep=32, deepest=2, chroma=32, joins=2):
        super().__init__()
        self.down8, self.down16 = _conv(256, deep, 1), _conv(4 * deep, deep, 1)
        self.up16, self.up8 = _conv(deep, 4 * deep, 1), _conv(deep, 256, 1)
        self.before, self.deepest, self.after = _gated(1, deep), _gated(deepest, deep), _gated(1, deep)
        self.join = _gated(joins, 64)
        self.luma, self.gate_luma, self.gate = _conv(64, 16, 1), _conv(64, 16, 1), _conv(64, 32, 1)
        self.chroma_down8, self.chroma_up8 = _conv(128, chroma, 1, bias=False), _conv(chroma, 128, 1, bias=False)
        self.chroma_down16 = _conv(4 * chroma, chroma, 1, bias=False)
        self.chroma_up16 = _conv(chroma, 4 * chroma, 1, bias=False)
        self.chroma = _conv(chroma, chroma, bias=False)
        self.gate8, self.gate16 = _conv(deep, chroma, 1), _conv(deep, chroma, 1)

    def forward(self, p, q):
        red, green, blue = split_colours(p)
        x = torch.cat([red, green, blue, unshuffle(q)], 1)
        y = self.before(F.relu(self.down8(unshuffle(x, 2))))
        z = self.deepest(F.relu(self.down16(unshuffle(y, 2))))
        y = self.after(F.relu(y + F.pixel_shuffle(self.up16(z), 2)))
        x = self.join(F.relu(x + F.pixel_shuffle(self.up8(y), 2)))
        # The gates say where the input is detail to keep, and where it is noise to replace.
        green_out = green * F.relu(self.gate_luma(x)) + self.luma(x)
        c = torch.cat([red - green, blue - green], 1)
        e = self.chroma_down8(unshuffle(c, 2)) * torch.sigmoid(self.gate8(y))
        f = self.chroma_down16(unshuffle(e, 2)) * torch.sigmoid(self.gate16(z))
        e = F.leaky_relu(self.chroma(e + F.pixel_shuffle(self.chroma_up16(f), 2)), 0.2)
        c = c * F.relu(self.gate(x)) + F.pixel_shuffle(self.chroma_up8(e), 2)
        planes = torch.cat([green_out + c[:, :16], green_out, green_out + c[:, 16:]], 1)
        return F.pixel_shuffle(planes, UNSHUFFLE)


class LiteIllumination(nn.Module):
    """L = Q and a smooth correction, kept in 0..1."""

    def __init__(self, deep=16):
        super().__init__()
        self.down, self.deep, self.up = _conv(64, deep, 1), _conv(deep, deep), _conv(deep, 64, 1)
        self.last = _conv(16, 16)

    def forward(self, q):
        x = unshuffle(q)
        y = F.relu(self.deep(F.relu(self.down(unshuffle(x, 2)))))
        x = self.last(F.relu(x + F.pixel_shuffle(self.up(y), 2)))
        return (q + F.pixel_shuffle(x, UNSHUFFLE)).clamp(DARKEST, 1.0)


def relit(l, ratio, bound=BOUND):
    """L' = L · max(L, bound)^(1/ratio - 1), which is L^(1/ratio) but for a bounded gain in the dark.

    The identity at ratio 1, strictly rising with the ratio, and an L of 1 stays 1.
    """
    bounded = torch.log(l.clamp(bound, 1.0))
    return l * torch.exp(bounded / ratio - bounded)


class LiteAdjustment(nn.Module):
    """`relit`, without weights."""

    def forward(self, l, ratio):
        return relit(l, ratio)


class Lite(Unfolding):
    multiple = 4 * UNSHUFFLE

    def __init__(self, rounds=2, deep=32, deepest=2, chroma=32, joins=2, gamma=0.001, gamma_step=0.0, lam=0.5,
                 lam_step=0.0):
        super().__init__()
        self.rounds, self.gamma, self.gamma_step, self.lam, self.lam_step = rounds, gamma, gamma_step, lam, lam_step
        self.decomposition = LiteDecomposition()
        self.restoration = LiteRestoration(deep, deepest, chroma, joins)
        self.illumination = LiteIllumination()
        self.adjustment = LiteAdjustment()
        with torch.no_grad():
            self.illumination.last.weight.mul_(0.1)
            self.illumination.last.bias.zero_()
            self.restoration.luma.weight.mul_(0.1)
            self.restoration.chroma_up8.weight.mul_(0.1)
            for gate in (self.restoration.gate, self.restoration.gate_luma):
                gate.weight.mul_(0.1)
                gate.bias.fill_(1.0)
