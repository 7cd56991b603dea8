"""A pack written, run and loaded again. Needs no data."""
import pytest

np = pytest.importorskip("numpy")
torch = pytest.importorskip("torch")
for needed in ("onnx", "onnxruntime"):
    pytest.importorskip(needed)

from netpack.export import write_pack  # noqa: E402
from netpack.lite import Lite  # noqa: E402
from netpack.load import load  # noqa: E402
from netpack.manifest import VARIANTS  # noqa: E402
from netpack.runtime import Pack  # noqa: E402


@pytest.mark.parametrize("variants", [("fp32",), VARIANTS])
def test_a_pack_has_the_variants_that_were_asked_for(tmp_path, variants):
    torch.manual_seed(1)
    model = Lite().eval()
    write_pack(model, tmp_path, name="x", version="1", description="", licence="", provenance="", variants=variants)
    assert len(list(tmp_path.glob("*.onnx"))) == 4 * len(variants)
    image = torch.rand(1, 3, 32, 48)
    with torch.no_grad():
        wanted = model(image, torch.full((1, 1, 1, 1), 4.0)).clamp(0, 1)[0].permute(1, 2, 0).numpy()
    picture = image[0].permute(1, 2, 0).numpy()
    for variant, tolerance in zip(variants, (1e-4, 0.05)):
        assert np.abs(Pack(tmp_path, variant).enhance(picture, 4.0)[0] - wanted).max() < tolerance, variant
    if "fp16" not in variants:
        with pytest.raises(ValueError, match="no fp16 files, only fp32"):
            Pack(tmp_path, "fp16")
    again = load(Lite(), tmp_path)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(again.parameters(), model.parameters(), strict=True))


def test_a_pack_without_fp32_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="fp32"):
        write_pack(Lite(), tmp_path / "new", name="x", version="1", description="", licence="", provenance="",
                   variants=("fp16",))
    assert not (tmp_path / "new").exists()
