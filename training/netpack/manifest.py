"""`model.toml`: what a pack says of itself, and the files of each variant. Needs nothing but Python.

A variant is a set of ONNX files, one for each subnetwork, by the number format of weights, inputs and outputs. Every pack
has `fp32`.
"""
import hashlib
import json
import tomllib
from pathlib import Path

SUBNETWORKS = ("decomposition", "restoration", "illumination", "adjustment")
VARIANTS = ("fp32", "fp16")
FILE = "model.toml"


def file_name(subnetwork, variant):
    """The name of a file that is written here; a pack from elsewhere may name its files otherwise."""
    return f"{subnetwork}.onnx" if variant == "fp32" else f"{subnetwork}.{variant}.onnx"


def check_variants(variants):
    """ValueError unless `variants` are known and `fp32` is among them."""
    unknown = [variant for variant in variants if variant not in VARIANTS]
    if unknown:
        raise ValueError(f"there is no variant {', '.join(unknown)}; the variants are {', '.join(VARIANTS)}")
    if "fp32" not in variants:
        raise ValueError("every pack has the variant fp32; add it")


def _text(value):
    """A number or a string as TOML writes it."""
    # JSON escapes all that TOML wants escaped, but for one character.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def write_manifest(folder, values, variants):
    """Writes `model.toml` in `folder`: `values` (name to number or string), then a table for each of `variants` with the
    file and the SHA-256 of each subnetwork. The files are there already, under the names of `file_name`."""
    check_variants(variants)
    lines = [f"{key} = {_text(value)}" for key, value in values.items()]
    for variant in variants:
        lines += ["", f"[variants.{variant}]"]
        for subnetwork in SUBNETWORKS:
            file = file_name(subnetwork, variant)
            digest = hashlib.sha256((Path(folder) / file).read_bytes()).hexdigest()
            lines.append(f"{subnetwork} = {{ file = {_text(file)}, sha256 = {_text(digest)} }}")
    (Path(folder) / FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_manifest(folder):
    """The contents of `model.toml`. Digests are not checked; the program `uretinex` does that."""
    return tomllib.loads((Path(folder) / FILE).read_text(encoding="utf-8"))


def variants_of(manifest):
    """The variants that a pack has, of those that are known here."""
    if "variants" in manifest:
        return [variant for variant in VARIANTS if variant in manifest["variants"]]
    # The form without variants: a table of digests by file name.
    return [variant for variant in VARIANTS if file_name(SUBNETWORKS[0], variant) in manifest.get("sha256", {})]


def files_of(manifest, variant):
    """The file of each subnetwork: {subnetwork: name}. ValueError if the pack does not have the variant."""
    found = variants_of(manifest)
    if variant not in found:
        raise ValueError(f"model pack '{manifest['name']}' has no {variant} files, only {', '.join(found) or 'none'}")
    if "variants" in manifest:
        table = manifest["variants"][variant]
        missing = [subnetwork for subnetwork in SUBNETWORKS if "file" not in table.get(subnetwork, {})]
        if missing:
            raise ValueError(f"model pack '{manifest['name']}': variant {variant} lists no file for {', '.join(missing)}")
        return {subnetwork: table[subnetwork]["file"] for subnetwork in SUBNETWORKS}
    return {subnetwork: file_name(subnetwork, variant) for subnetwork in SUBNETWORKS}
