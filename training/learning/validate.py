"""Figures on the held-out LOL pairs during training; the shipped figures come from evaluate.py."""
import numpy as np
import torch
from skimage.color import rgb2lab
from skimage.metrics import structural_similarity

RATIOS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20)
SIDE = (192, 304)     # multiples of what `lite` takes


def chroma(image):
    lab = rgb2lab(image)
    return float(np.hypot(lab[..., 1], lab[..., 2]).mean())


@torch.no_grad()
def validate(model, held, curve=None):
    """Means over centre crops: best ratio and ratio 4. `curve` stands in for the adjustment if given."""
    model.eval()
    device = next(model.parameters()).device
    rows = []
    for low, high, _ in held:
        top, left = (low.shape[0] - SIDE[0]) // 2, (low.shape[1] - SIDE[1]) // 2
        low, high = (x[top:top + SIDE[0], left:left + SIDE[1]].astype(np.float32) / 255 for x in (low, high))
        found = model.stages(torch.from_numpy(low.transpose(2, 0, 1)[None].copy()).to(device))
        last = max(int(k[1:]) for k in found if k[0] == "r")
        r, l = found[f"r{last}"], found[f"l{last}"]
        outputs = {}
        for ratio in RATIOS:
            adjusted = (curve or model.adjustment)(l, torch.full((1, 1, 1, 1), float(ratio), device=device))
            outputs[ratio] = (adjusted * r).clamp(0, 1)[0].permute(1, 2, 0).cpu().numpy()
        psnr = {k: -10 * np.log10(((v - high) ** 2).mean()) for k, v in outputs.items()}
        best = max(psnr, key=psnr.get)
        ssim = {k: structural_similarity(outputs[k], high, channel_axis=2, data_range=1.0) for k in {best, 4}}
        rows.append((psnr[best], ssim[best], psnr[4], ssim[4], chroma(outputs[best]) / chroma(high), best,
                     -10 * np.log10(((outputs[1] - low) ** 2).mean()), outputs[4].mean() * 255))
    model.train()
    names = ("best_psnr", "best_ssim", "psnr_at_4", "ssim_at_4", "chroma", "best_ratio", "identity_psnr", "mean_at_4")
    return {name: round(float(value), 4) for name, value in zip(names, np.mean(rows, 0))}


@torch.no_grad()
def validate_sequences(model, sequences):
    """Held sequences at ratio 4, against the truth under the curve of the truth: PSNR, and of what came in."""
    from .sequences import gain
    model.eval()
    device = next(model.parameters()).device
    rows = []
    for dark, clean, mean in sequences:
        ratio = torch.full((len(dark), 1, 1, 1), 4.0, device=device)
        found = model.stages(torch.from_numpy(dark).to(device), ratio, seen=torch.from_numpy(mean).to(device))
        target = np.minimum(clean * gain(clean, mean, 4.0), 1)
        before = np.minimum(dark * gain(dark, mean, 4.0), 1)
        output = found["output"].clamp(0, 1).cpu().numpy()
        psnr = [-10 * np.log10(((x - target) ** 2).mean((1, 2, 3)) + 1e-7).mean() for x in (output, before)]
        rows.append(psnr)
    model.train()
    names = ("sequences_psnr", "sequences_psnr_in")
    return {name: round(float(value), 3) for name, value in zip(names, np.mean(rows, 0))}
