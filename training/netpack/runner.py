"""Pictures through a pack: by the shipped `uretinex` binary, or by onnxruntime where there is no binary.

Both take and give 8-bit RGB arrays [h, w, 3]; the binary sees PNG files in a temporary folder.
"""
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from .manifest import VARIANTS
from .runtime import Pack

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


def read(path):
    return np.asarray(Image.open(path).convert("RGB"))


def pictures(folder):
    """Stem -> path of the images in `folder`, sorted, numbers by value."""
    found = [p for p in Path(folder).iterdir() if p.suffix.lower() in SUFFIXES]
    return {p.stem: p for p in sorted(found, key=lambda p: (len(p.stem), p.stem))}


class BinaryRunner:
    def __init__(self, binary, model, extra=()):
        # A folder is given as a path: a bare name would mean a pack that is embedded in the binary.
        model = Path(model).resolve() if Path(model).is_dir() else model
        self.binary, self.model, self.extra = str(binary), str(model), list(extra)
        if not Path(self.binary).is_file():
            raise SystemExit(f"{binary} is missing. Build it with `cargo build --release`, or give its path "
                             "with --binary; --without-binary measures with onnxruntime instead.")

    def run(self, images, ratios):
        """images: name -> array; gives {ratio: {name: array}}."""
        outputs = {}
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "in"
            source.mkdir()
            for name, image in images.items():
                Image.fromarray(image).save(source / f"{name}.png")
            for ratio in tqdm(ratios, desc="uretinex", unit="ratio", leave=False):
                result = Path(folder) / f"out{ratio}"
                result.mkdir()
                command = [self.binary, "image", str(source), str(result), "--ratio", str(ratio),
                           "--model", self.model, *self.extra]
                done = subprocess.run(command, capture_output=True, text=True)
                if done.returncode != 0:
                    raise SystemExit(f"{' '.join(command)} failed ({done.returncode}):\n{done.stderr.strip()}")
                outputs[ratio] = {name: read(result / f"{name}.png") for name in images}
        return outputs


class OnnxRunner:
    """R and L are computed once per image, so many ratios cost little."""

    def __init__(self, model, variant="fp32", threads=1):
        self.pack = Pack(model, variant, threads)

    def run(self, images, ratios):
        outputs = {ratio: {} for ratio in ratios}
        for name, image in tqdm(images.items(), desc="onnxruntime", unit="image", leave=False):
            found = self.pack.enhance(image.astype(np.float32) / 255, *ratios)
            for ratio, output in zip(ratios, found):
                if not np.isfinite(output).all():
                    raise SystemExit(f"{name} at ratio {ratio}: the output is not finite")
                outputs[ratio][name] = np.rint(output * 255).astype(np.uint8)
        return outputs


def add_arguments(parser):
    parser.add_argument("--model", required=True, help="pack: a folder, or a name the binary knows")
    parser.add_argument("--binary", default="target/release/uretinex", help="default: %(default)s")
    parser.add_argument("--backend", help="passed on to the binary")
    parser.add_argument("--without-binary", action="store_true", help="measure with onnxruntime instead")
    parser.add_argument("--variant", default="fp32", choices=VARIANTS, help="files of the pack, only --without-binary")
    parser.add_argument("--threads", type=int, default=1, help="only --without-binary")


def from_arguments(arguments, model=None):
    model = model or arguments.model
    if arguments.without_binary:
        try:
            return OnnxRunner(model, arguments.variant, arguments.threads)
        except (OSError, ValueError) as error:
            raise SystemExit(f"{model} cannot be used: {error}") from error
    return BinaryRunner(arguments.binary, model, ["--backend", arguments.backend] if arguments.backend else [])
