#!/usr/bin/env python3
"""Runs one model pack on the CPU with ONNX Runtime, OpenVINO and PyTorch, in turn with `uretinex bench`.

Needs numpy, pillow and onnx, and each peer that is to be measured: onnxruntime, openvino, torch (all from PyPI).

    python benches/peers.py --model full --sizes 640x360 1280x720 --threads 2 --rounds 5

Every round takes one frame through each peer and a few through `uretinex bench`, so that all of them see the same
load from others on the machine. All work in FP32, and `uretinex` in bfp16 and bf16 too where the processor has them.
Peers start from planes of floats and do the P/Q updates in NumPy; `uretinex` starts from NV12 and ends there. Times
are milliseconds for each frame.

Below them stand chains that users build instead: hqdn3d and a curve in FFmpeg (the program `ffmpeg`), non-local means
and a curve in OpenCV (opencv-python-headless). They are made as bright as the network's picture. "noise" is what is left
of it, in percent of the brightness, by two pictures of a scene that stands still with other noise; hqdn3d has seen eight
frames before, all others one. What else the network does, as colours in the dark, is not in that figure.

With --memory: the most memory that a process held which took two frames through each, as `/usr/bin/time -v` has it.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import chains
import numpy as np
import onnx
from onnx import numpy_helper
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "training"))
from netpack.manifest import files_of, read_manifest  # noqa: E402

PRECISIONS = ("fp32", "bfp16", "bf16")


def files(folder):
    """The FP32 file of each subnetwork."""
    return {stage: folder / file for stage, file in files_of(read_manifest(folder), "fp32").items()}


class OnnxRuntime:
    name = "ONNX Runtime"

    def __init__(self, folder, threads):
        import onnxruntime

        self.version = onnxruntime.__version__
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self.sessions = {
            stage: onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
            for stage, file in files(folder).items()
        }

    def __call__(self, stage, **inputs):
        return self.sessions[stage].run(None, inputs)


class OpenVino:
    name, precision = "OpenVINO", "f32"

    def __init__(self, folder, threads):
        import openvino

        self.version = openvino.__version__.split("-")[0]
        self.core = openvino.Core()
        self.files = files(folder)
        # Without the hint it computes in bfloat16 where the processor has it.
        self.config = {
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": self.precision,
        }
        self.requests = {}

    def __call__(self, stage, **inputs):
        # Compiled for the shape at hand, as its documentation advises.
        key = (stage, next(iter(inputs.values())).shape)
        if key not in self.requests:
            model = self.core.read_model(self.files[stage])
            model.reshape({name: value.shape for name, value in inputs.items()})
            compiled = self.core.compile_model(model, "CPU", self.config)
            self.requests[key] = (compiled.create_infer_request(), compiled.outputs)
        request, outputs = self.requests[key]
        found = request.infer(inputs, share_inputs=True)
        return [found[o] for o in outputs]


class OpenVinoBf16(OpenVino):
    """What it takes by itself where the processor has it. Not among the peers unless asked for: other numbers."""

    name, precision = "OpenVINO bf16", "bf16"


class PyTorch:
    """The operators of the packs as calls of PyTorch."""

    name = "PyTorch"

    def __init__(self, folder, threads):
        import torch

        self.torch = torch
        self.version = torch.__version__.split("+")[0]
        torch.set_num_threads(threads)
        self.graphs = {}
        for stage, file in files(folder).items():
            graph = onnx.load(file).graph
            constants = {
                i.name: torch.from_numpy(numpy_helper.to_array(i).copy()) for i in graph.initializer
            }
            nodes = [
                (n.op_type, list(n.input), list(n.output), {a.name: onnx.helper.get_attribute_value(a) for a in n.attribute})
                for n in graph.node
            ]
            self.graphs[stage] = (constants, nodes, [o.name for o in graph.output])

    def __call__(self, stage, **inputs):
        torch, functional = self.torch, self.torch.nn.functional
        constants, nodes, outputs = self.graphs[stage]
        values = dict(constants)
        values.update({name: torch.from_numpy(value) for name, value in inputs.items()})

        def unshuffle(x, block):
            n, c, h, w = x.shape
            x = x.reshape(n, c, h // block, block, w // block, block).permute(0, 3, 5, 1, 2, 4)
            return x.reshape(n, c * block * block, h // block, w // block)

        def shuffle(x, block, mode):
            if mode == b"CRD":
                return functional.pixel_shuffle(x, block)
            n, c, h, w = x.shape
            x = x.reshape(n, block, block, c // block**2, h, w).permute(0, 3, 4, 1, 5, 2)
            return x.reshape(n, c // block**2, h * block, w * block)

        with torch.inference_mode():
            for op, names, results, a in nodes:
                x = [values[n] for n in names]
                if op == "Conv":
                    y = functional.conv2d(*x, padding=x[1].shape[-1] // 2)
                elif op == "Split":
                    y = torch.split(x[0], x[1].tolist(), 1)
                elif op == "Concat":
                    y = torch.cat(x, 1)
                elif op == "LeakyRelu":
                    y = functional.leaky_relu(x[0], a["alpha"])
                elif op == "GlobalAveragePool":
                    y = x[0].mean((2, 3), keepdim=True)
                elif op == "SpaceToDepth":
                    y = unshuffle(x[0], a["blocksize"])
                elif op == "DepthToSpace":
                    y = shuffle(x[0], a["blocksize"], a.get("mode", b"DCR"))
                elif op == "Clip":
                    y = torch.clamp(x[0], *(float(limit) for limit in x[1:]))
                else:
                    call = {
                        "Relu": torch.relu, "Sigmoid": torch.sigmoid, "Exp": torch.exp, "Log": torch.log,
                        "Add": torch.add, "Sub": torch.sub, "Mul": torch.mul, "Div": torch.div, "Pow": torch.pow,
                    }[op]  # fmt: skip
                    y = call(*x)
                values.update(zip(results, y if isinstance(y, tuple) else (y,)))
        return [values[o].numpy() for o in outputs]


def enhance(peer, manifest, image, ratio):
    """The round loop of the design, with a peer's networks."""
    p, q = peer("decomposition", image=image)
    for t in range(manifest["rounds"]):
        if t > 0:
            g = np.float32(manifest["gamma"] + t * manifest["gamma_step"])
            k = np.float32(manifest["lambda"] + t * manifest["lambda_step"])
            p = (image * q + g * r) / (q * q + g)
            q = ((image * p).sum(1, keepdims=True) + k * l) / ((p * p).sum(1, keepdims=True) + k)
        (r,) = peer("restoration", p=p, q=q)
        (l,) = peer("illumination", q=q)
    (adjusted,) = peer("adjustment", l=l, ratio=np.full((1, 1, 1, 1), ratio, np.float32))
    return np.clip(adjusted * r, 0, 1)


def night(width, height, seed):
    """A dark, noisy picture."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    light = 0.03 + 0.15 * np.exp(-30 * ((x - 0.3) ** 2 + (y - 0.2) ** 2))
    pattern = np.stack([1 + 0.5 * np.sin(40 * x + 3 * c) * np.cos(31 * y + c) for c in range(3)], 2)
    picture = light[:, :, None] * pattern + random.normal(0, 0.012, (height, width, 3))
    return (np.clip(picture, 0, 1) * 255).round().astype(np.uint8)


def ours(binary, model, size, threads, frames, precision):
    """The median of a frame's time; none if the processor does not have the precision."""
    command = [binary, "bench", "--model", model, "--backend", "cpu", "--size", size, "--precision", precision]
    command += ["--threads", str(threads), "--frames", str(frames), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0 and precision != "fp32" and f"precision={precision}" in done.stderr:
        return None
    done.check_returncode()
    return json.loads(done.stdout)["milliseconds"]["total"]


def enhanced(binary, folder, picture, ratio):
    """The picture that `uretinex image` makes in FP32."""
    with tempfile.TemporaryDirectory() as work:
        dark, bright = pathlib.Path(work, "dark.png"), pathlib.Path(work, "bright.png")
        Image.fromarray(picture).save(dark)
        command = [binary, "image", str(dark), str(bright), "--model", str(folder), "--backend", "cpu"]
        command += ["--precision", "fp32", "--ratio", str(ratio)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return np.asarray(Image.open(bright).convert("RGB"))


def planes(picture, multiple):
    """`[1, 3, height, width]`, padded to multiples as `uretinex` does it."""
    height, width = picture.shape[:2]
    image = np.ascontiguousarray(picture.transpose(2, 0, 1)[None].astype(np.float32) / 255)
    return np.pad(image, ((0, 0), (0, 0), (0, -height % multiple), (0, -width % multiple)), mode="edge")


def memory(args, folder, size):
    """Prints the most memory that each held, process by process."""
    print(f"\n{folder.name} at {size}, {args.threads} threads, MiB")
    common = ["--size", size, "--threads", str(args.threads)]
    bench = [args.binary, "bench", "--model", str(folder), "--backend", "cpu", "--frames", "1", *common]
    own = [sys.executable, __file__, "--model", str(folder), "--threads", str(args.threads), "--sizes", size]
    commands = {f"uretinex {p}": [*bench, "--precision", p] for p in PRECISIONS}
    commands |= {name: [*own, "--alone", name] for name in ["None", *args.peers]}
    for name, command in commands.items():
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        name = "Python, NumPy, the frame" if name == "None" else name
        print(f"{name:24}{usage.ru_maxrss / 1024:>10.0f}" if status == 0 else f"{name:24}{'failed':>10}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="full", help="a pack of this repository or a pack's folder")
    parser.add_argument("--sizes", nargs="+", default=["640x360", "1280x720"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=3, help="frames of uretinex for each round")
    parser.add_argument("--ratio", type=float, default=4.0)
    parser.add_argument("--binary", default=str(ROOT / "target/release/uretinex"))
    parser.add_argument("--peers", nargs="+", default=["OnnxRuntime", "OpenVino", "PyTorch"])
    parser.add_argument("--chains", nargs="*", default=["Hqdn3d", "NlMeans"])
    parser.add_argument("--memory", action="store_true", help="measure memory instead of time")
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    args = parser.parse_args()

    folder = pathlib.Path(args.model)
    if not folder.is_dir():
        folder = ROOT / "engines" / args.model
    manifest = read_manifest(folder)
    if args.memory:
        for size in args.sizes:
            memory(args, folder, size)
        return
    if args.alone:
        width, height = map(int, args.sizes[0].split("x"))
        image = planes(night(width, height, 1), manifest["multiple"])
        if args.alone != "None":
            peer = globals()[args.alone](folder, args.threads)
            for _ in range(2):
                enhance(peer, manifest, image, args.ratio)
        return
    peers = []
    for name in args.peers:
        try:
            peers.append(globals()[name](folder, args.threads))
        except ImportError as e:
            print(f"without {name}: {e}", file=sys.stderr)
    instead = []
    for name in args.chains:
        try:
            instead.append(getattr(chains, name)(args.threads))
        except ImportError as e:
            print(f"without {name}: {e}", file=sys.stderr)

    for size in args.sizes:
        width, height = map(int, size.split("x"))
        picture = night(width, height, 1)
        image = planes(picture, manifest["multiple"])
        times = {peer.name: [] for peer in peers} | {precision: [] for precision in PRECISIONS}
        results = {peer.name: enhance(peer, manifest, image, args.ratio)[..., :height, :width] for peer in peers}
        for _ in range(args.rounds):
            for peer in peers:
                start = time.perf_counter()
                enhance(peer, manifest, image, args.ratio)
                times[peer.name].append((time.perf_counter() - start) * 1e3)
            # Threads of the peers look out for work for a while.
            time.sleep(0.3)
            for precision in PRECISIONS:
                ms = ours(args.binary, str(folder), size, args.threads, args.frames, precision)
                times[precision] += [ms] if ms else []

        bright = enhanced(args.binary, folder, picture, args.ratio)
        found = bright.astype(np.float32).transpose(2, 0, 1)[None] / 255
        # Two streams of one scene with other noise; the first ends with the picture above.
        streams = [[night(width, height, seed) for seed in range(first, first - 8, -1)] for first in (8, 16)] if instead else []
        if instead:
            noise = chains.noise_left(bright, enhanced(args.binary, folder, streams[1][-1], args.ratio))
            gamma = chains.gamma_for(picture, bright.mean())
        noises = {"uretinex fp32": noise} if instead else {}
        for chain in instead:
            times[chain.name], pictures = [], []
            for stream in streams:
                made, ms = chain(stream, gamma)
                pictures.append(made)
                times[chain.name].append(ms)
            noises[chain.name] = chains.noise_left(*pictures)

        print(f"\n{manifest['name']} at {size}, {args.threads} threads, {args.rounds} rounds; ratios of medians, of minima")
        to = "".join(f"{f'to {precision}':>14}" for precision in PRECISIONS)
        print(f"{'':24}{'median':>10}{'minimum':>10}{to}{'difference':>12}{'noise':>8}")

        def row(name, t, difference=""):
            ratios = "".join(
                f"{statistics.median(t) / statistics.median(o):>8.2f}{min(t) / min(o):>6.2f}" if o else f"{'':14}"
                for o in (times[precision] for precision in PRECISIONS)
            )
            noise = f"{noises[name]:>7.1f}%" if name in noises else ""
            print(f"{name:24}{statistics.median(t):>8.1f}ms{min(t):>8.1f}ms{ratios}{difference:>12}{noise}")

        for precision in PRECISIONS:
            if times[precision]:
                row(f"uretinex {precision}", times[precision])
        for peer in peers:
            # Half a code value of it is the PNG's rounding.
            difference = np.abs(results[peer.name] - found).max() * 255
            row(f"{peer.name} {peer.version}", times[peer.name], f"{difference:.2f}/255")
        for chain in instead:
            row(chain.name, times[chain.name])


if __name__ == "__main__":
    main()
