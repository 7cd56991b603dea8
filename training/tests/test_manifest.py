"""`model.toml` as it is written, and the packs that ship. Needs nothing but Python."""
import hashlib
import tomllib
from pathlib import Path

import pytest

from netpack.manifest import (SUBNETWORKS, VARIANTS, check_variants, file_name, files_of, read_manifest, variants_of,
                              write_manifest)

PACKS = Path(__file__).resolve().parents[2] / "engines"
VALUES = {"name": "x", "version": "1", "rounds": 3, "gamma": 0.1, "gamma_step": 0.0, "lambda": 1e-7, "multiple": 16}


def write_files(folder, variants):
    for variant in variants:
        for subnetwork in SUBNETWORKS:
            (folder / file_name(subnetwork, variant)).write_bytes(f"{subnetwork} {variant}".encode())


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("variants", [("fp32",), ("fp32", "fp16"), ("fp16", "fp32")])
def test_the_text_parses_and_lists_the_right_digests(tmp_path, variants):
    write_files(tmp_path, VARIANTS)
    write_manifest(tmp_path, VALUES, variants)
    found = tomllib.loads((tmp_path / "model.toml").read_text(encoding="utf-8"))
    tables = found.pop("variants")
    assert found == VALUES
    assert list(tables) == list(variants)
    for variant, table in tables.items():
        assert tuple(table) == SUBNETWORKS
        for subnetwork, entry in table.items():
            assert entry == {"file": file_name(subnetwork, variant), "sha256": digest(tmp_path / entry["file"])}
    assert len({entry["sha256"] for table in tables.values() for entry in table.values()}) == 4 * len(variants)


@pytest.mark.parametrize("text", ['"quoted" \\ back', "γ · 16 × 16 – Ä", "two\nlines\tand \x01 \x7f", ""])
def test_every_text_is_read_back(tmp_path, text):
    write_files(tmp_path, ("fp32",))
    write_manifest(tmp_path, {**VALUES, "description": text}, ("fp32",))
    assert read_manifest(tmp_path)["description"] == text


@pytest.mark.parametrize("variants, part", [((), "every pack has the variant fp32"), (("fp16",), "fp32"),
                                            (("fp32", "int3"), "no variant int3")])
def test_variants_that_cannot_be_are_refused(tmp_path, variants, part):
    write_files(tmp_path, VARIANTS)
    for refuses in (check_variants, lambda v: write_manifest(tmp_path, VALUES, v)):
        with pytest.raises(ValueError, match=part):
            refuses(variants)
    assert not (tmp_path / "model.toml").exists()


def test_a_file_that_is_missing_leaves_no_manifest(tmp_path):
    write_files(tmp_path, ("fp32",))
    with pytest.raises(FileNotFoundError, match="fp16.onnx"):
        write_manifest(tmp_path, VALUES, VARIANTS)
    assert not (tmp_path / "model.toml").exists()


def entries(variant):
    return {s: {"file": f"{s}-{variant}", "sha256": "00"} for s in SUBNETWORKS}


def test_both_forms_are_read():
    listed = {"name": "x", "variants": {"fp32": entries("a"), "int3": entries("b")}}
    assert variants_of(listed) == ["fp32"]
    assert files_of(listed, "fp32")["restoration"] == "restoration-a"
    before = {"name": "x", "sha256": {file_name(s, v): "00" for v in VARIANTS for s in SUBNETWORKS}}
    assert variants_of(before) == list(VARIANTS)
    assert files_of(before, "fp16")["restoration"] == "restoration.fp16.onnx"
    with pytest.raises(ValueError, match="no fp16 files, only fp32"):
        files_of(listed, "fp16")
    del listed["variants"]["fp32"]["illumination"]
    with pytest.raises(ValueError, match="lists no file for illumination"):
        files_of(listed, "fp32")


@pytest.mark.parametrize("name", ["full", "lite", "video"])
def test_packs_that_ship_hold_what_they_list_and_nothing_else(name):
    manifest = read_manifest(PACKS / name)
    assert manifest["name"] == name
    assert variants_of(manifest) == list(manifest["variants"]) == list(VARIANTS)
    listed = [entry for table in manifest["variants"].values() for entry in table.values()]
    for entry in listed:
        assert digest(PACKS / name / entry["file"]) == entry["sha256"], entry["file"]
    there = {path.name for path in (PACKS / name).iterdir()}
    assert there == {"model.toml", "MODEL_CARD.md", *(entry["file"] for entry in listed)}
