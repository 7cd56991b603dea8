"""What a user would chain instead of a network: a denoiser and a curve.

Each takes an 8-bit picture and a gamma, and gives a picture and the milliseconds for a frame. The gamma is that which
makes the picture as bright on the mean as the network does, so that what is left of the noise can be compared.
"""

import shutil
import subprocess
import time

import numpy as np


def gamma_for(picture, mean):
    """The exponent that brings the mean of 8-bit values to `mean`, by halving."""
    low, high = 0.05, 2.0
    histogram = np.bincount(picture.ravel(), minlength=256) / picture.size
    for _ in range(40):
        middle = (low + high) / 2
        found = (histogram * (np.arange(256) / 255) ** middle).sum() * 255
        low, high = (middle, high) if found > mean else (low, middle)
    return middle


class Hqdn3d:
    """FFmpeg's hqdn3d and a curve, on a stream: a frame's time is what more frames add, without the start of the program."""

    name = "FFmpeg hqdn3d, curve"
    few, many = 10, 50

    def __init__(self, threads):
        if not shutil.which("ffmpeg"):
            raise ImportError("no program ffmpeg")
        self.threads = threads

    def run(self, frames, gamma):
        height, width = frames[0].shape[:2]
        curve = f"255*pow(val/255\\,{gamma:.5f})"
        command = ["ffmpeg", "-v", "error", "-threads", str(self.threads), "-filter_threads", str(self.threads)]
        command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-i", "-"]
        # The filter works on planes of luma and chroma, as a decoder gives them.
        command += ["-vf", f"format=yuv444p,hqdn3d,format=rgb24,lutrgb=r='{curve}':g='{curve}':b='{curve}'"]
        command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
        start = time.perf_counter()
        done = subprocess.run(command, input=b"".join(f.tobytes() for f in frames), stdout=subprocess.PIPE, check=True)
        seconds = time.perf_counter() - start
        return np.frombuffer(done.stdout, np.uint8).reshape(len(frames), height, width, 3), seconds

    def __call__(self, frames, gamma):
        """The last picture of a stream of `frames` in turn."""
        streams = [[frames[i % len(frames)] for i in range(count)] for count in (self.few, self.many)]
        (_, short), (pictures, long) = (self.run(stream, gamma) for stream in streams)
        return pictures[-1], (long - short) / (self.many - self.few) * 1e3


class NlMeans:
    """OpenCV's non-local means and a curve, frame by frame."""

    name = "OpenCV NlMeans, curve"

    def __init__(self, threads):
        import cv2

        cv2.setNumThreads(threads)
        self.cv2 = cv2

    def __call__(self, frames, gamma):
        curve = ((np.arange(256) / 255) ** gamma * 255).round().astype(np.uint8)
        start = time.perf_counter()
        # Strengths for noise of three to five codes.
        smooth = self.cv2.fastNlMeansDenoisingColored(frames[-1], None, 5, 5, 7, 21)
        picture = self.cv2.LUT(smooth, curve)
        return picture, (time.perf_counter() - start) * 1e3


def noise_left(a, b):
    """What is left of the noise in two pictures of one scene, in percent of their brightness: half of the variance of
    their difference is that of one."""
    a, b = a.astype(np.float32), b.astype(np.float32)
    return 100 * (a - b).std() / np.sqrt(2) / ((a.mean() + b.mean()) / 2)
