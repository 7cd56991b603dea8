"""A pack run with onnxruntime and numpy: the yardstick for exports and a quick look at a pack.

It is not the shipped path (that is the `uretinex` binary) but does the same, step by step.
"""
from pathlib import Path

import numpy as np
import onnxruntime as ort

from .manifest import SUBNETWORKS, files_of, read_manifest


class Pack:
    def __init__(self, folder, variant="fp32", threads=1):
        self.folder = Path(folder)
        settings = read_manifest(self.folder)
        self.name, self.rounds, self.multiple = settings["name"], settings["rounds"], settings["multiple"]
        self.gamma, self.gamma_step = settings["gamma"], settings["gamma_step"]
        self.lam, self.lam_step = settings["lambda"], settings["lambda_step"]
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        files = files_of(settings, variant)
        self.dtype = np.float32 if variant == "fp32" else np.float16
        self.sessions = {stage: ort.InferenceSession(str(self.folder / files[stage]), options,
                                                     providers=["CPUExecutionProvider"])
                         for stage in SUBNETWORKS}

    def run(self, stage, **inputs):
        """One subnetwork; arrays are [1, channels, height, width] in FP32 on this side."""
        found = self.sessions[stage].run(None, {k: v.astype(self.dtype) for k, v in inputs.items()})
        return [array.astype(np.float32) for array in found]

    def retinex(self, image):
        """R and L after all rounds, for an image [1, 3, h, w] whose sides are multiples of `multiple`."""
        for t in range(self.rounds):
            if t == 0:
                p, q = self.run("decomposition", image=image)
            else:
                gamma, lam = self.gamma + t * self.gamma_step, self.lam + t * self.lam_step
                p = (image * q + gamma * r) / (q * q + gamma)
                q = ((image * p).sum(1, keepdims=True) + lam * l) / ((p * p).sum(1, keepdims=True) + lam)
            r, l = self.run("restoration", p=p, q=q)[0], self.run("illumination", q=q)[0]
        return r, l

    def relight(self, r, l, ratio):
        adjusted = self.run("adjustment", l=l, ratio=np.full((1, 1, 1, 1), ratio, np.float32))[0]
        return np.clip(adjusted * r, 0.0, 1.0)

    def enhance(self, image, *ratios):
        """image [h, w, 3] in 0..1 -> one array of that shape per ratio."""
        height, width = image.shape[:2]
        pad = [(0, -height % self.multiple), (0, -width % self.multiple), (0, 0)]
        planes = np.pad(image.astype(np.float32), pad, mode="edge").transpose(2, 0, 1)[None]
        r, l = self.retinex(np.ascontiguousarray(planes))
        return [self.relight(r, l, ratio)[0, :, :height, :width].transpose(1, 2, 0) for ratio in ratios]
