"""The networks in PyTorch: the unfolding, and the architecture of the paper (`full`).

Shapes are [batch, channels, height, width]; the image is RGB in 0..1.
"""
import torch
from torch import nn
from torch.nn import functional as F


def update_p(image, q, r, gamma):
    """argmin over P of |I - P·Q|² + γ|P - R|²."""
    return (image * q + gamma * r) / (q * q + gamma)


def update_q(image, p, l, lam):
    """argmin over Q of |I - P·Q|² + λ|Q - L|²; the colour channels are summed."""
    return ((image * p).sum(1, keepdim=True) + lam * l) / ((p * p).sum(1, keepdim=True) + lam)


def _conv(inputs, outputs, k):
    return nn.Conv2d(inputs, outputs, k, padding=k // 2)


def _precise(conv, x):
    """A layer whose result leaves the subnetwork: in FP32 even under autocast."""
    with torch.autocast(x.device.type, enabled=False):
        return conv(x.float())


class Decomposition(nn.Module):
    """Image -> P (3 channels), Q (1 channel)."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.conv3 = _conv(3, 32, 3), _conv(32, 32, 3), _conv(32, 32, 3)
        self.conv4 = _conv(32, 4, 3)

    def forward(self, image):
        x = image
        for conv in (self.conv1, self.conv2, self.conv3):
            x = F.leaky_relu(conv(x), 0.2)
        x = F.relu(_precise(self.conv4, x))
        return x[:, :3], x[:, 3:]


class Restoration(nn.Module):
    """P, Q -> R: a residual over P, steered by squeeze-and-excitation over the whole frame."""

    def __init__(self):
        super().__init__()
        self.conv_p, self.conv_q = _conv(3, 32, 3), _conv(1, 32, 3)
        self.squeeze = nn.Conv2d(64, 4, 1, bias=False)
        self.excite = nn.Conv2d(4, 64, 1, bias=False)
        self.body = nn.ModuleList(_conv(64, 64, 3) for _ in range(5))
        self.last = _conv(64, 3, 3)

    def features(self, p, q):
        return torch.cat([F.relu(self.conv_p(p)), F.relu(self.conv_q(q))], 1)

    def forward(self, p, q, mean=None):
        """`mean` [n, 64, 1, 1] stands in for the mean of the features over the frame: a patch is not a frame."""
        x = self.features(p, q)
        mean = x.mean((2, 3), keepdim=True) if mean is None else mean
        scale = torch.sigmoid(self.excite(F.relu(self.squeeze(mean))))
        x = x * scale
        for conv in self.body:
            x = F.relu(conv(x))
        return p + _precise(self.last, x)


class Illumination(nn.Module):
    """Q -> L."""

    def __init__(self):
        super().__init__()
        self.body = nn.ModuleList([_conv(1, 32, 5), _conv(32, 32, 5), _conv(32, 32, 5), _conv(32, 32, 5)])
        self.last = _conv(32, 1, 1)

    def forward(self, q):
        x = q
        for conv in self.body:
            x = F.leaky_relu(conv(x), 0.2)
        return F.relu(_precise(self.last, x))


class Adjustment(nn.Module):
    """L and a ratio [batch, 1, 1, 1] -> L'."""

    def __init__(self):
        super().__init__()
        self.body = nn.ModuleList([_conv(2, 32, 5), _conv(32, 32, 5), _conv(32, 32, 5)])
        self.last = _conv(32, 1, 5)

    def forward(self, l, ratio):
        x = torch.cat([l, ratio.expand_as(l)], 1)
        for conv in self.body:
            x = F.leaky_relu(conv(x), 0.2)
        return F.relu(_precise(self.last, x))


class Unfolding(nn.Module):
    """Four subnetworks and the rounds between them.

    Round t = 1, 2, … uses γ + t·γ_step and λ + t·λ_step, the new P entering the update of Q;
    round 0 is the decomposition alone and has no weights of its own.
    """

    rounds, gamma, gamma_step, lam, lam_step, multiple = 3, 0.1, 0.05, 0.5, 0.05, 1

    def stages(self, image, ratio=None, rounds=None, **known):
        """Every stage by name: p0, q0, r0, l0, p1, …; l_adjusted and output where a ratio is given.

        `known` goes to the decomposition: what training knows of the frame that a patch was cut from.
        """
        found = {}
        for t in range(rounds or self.rounds):
            if t == 0:
                p, q = self.decomposition(image, **known)
            else:
                p = update_p(image, q, r, self.gamma + t * self.gamma_step)
                q = update_q(image, p, l, self.lam + t * self.lam_step)
            r, l = self.restoration(p, q), self.illumination(q)
            found.update({f"p{t}": p, f"q{t}": q, f"r{t}": r, f"l{t}": l})
        if ratio is not None:
            found["l_adjusted"] = self.adjustment(l, ratio)
            found["output"] = found["l_adjusted"] * r
        return found

    def forward(self, image, ratio):
        return self.stages(image, ratio)["output"]


class Full(Unfolding):
    """The network of the paper; 340 105 parameters, 0.87 million MAC per pixel."""

    def __init__(self):
        super().__init__()
        self.decomposition, self.restoration = Decomposition(), Restoration()
        self.illumination, self.adjustment = Illumination(), Adjustment()
