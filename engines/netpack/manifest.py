"""Writing a pack: eight ONNX files and model.toml with the SHA-256 of each."""
import hashlib
import json
from pathlib import Path

from . import export
from .networks import SUBNETWORKS

FILES = [stage + suffix for suffix in (".onnx", ".fp16.onnx") for stage in SUBNETWORKS]


def write_pack(model, folder, *, name, version, description, licence, provenance):
    """Exports `model` to `folder` and returns the paths of the ONNX files."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for stage in SUBNETWORKS:
        for precision, suffix in (("fp32", ".onnx"), ("fp16", ".fp16.onnx")):
            path = folder / (stage + suffix)
            path.write_bytes(export.subnetwork(model, stage, precision).SerializeToString())
            written.append(path)
    values = {
        "name": name, "version": version, "description": description,
        "rounds": model.rounds,
        "gamma": model.gamma, "gamma_step": model.gamma_step,
        "lambda": model.lam, "lambda_step": model.lam_step,
        "multiple": model.multiple,
        "mac_per_pixel": export.mac_per_pixel(model, model.rounds),
        "licence": licence, "provenance": provenance,
    }
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]
    lines += ["", "[sha256]"]
    lines += [f'"{file}" = "{hashlib.sha256((folder / file).read_bytes()).hexdigest()}"' for file in FILES]
    (folder / "model.toml").write_text("\n".join(lines) + "\n")
    return written
