"""`video`: what holds whatever the weights are, and the sequences that it is trained on."""
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from learning.night import Camera, encode, mosaic, moved  # noqa: E402
from learning.sequences import faded, fitting_ratio, gain, settled  # noqa: E402
from netpack.export import mac_per_pixel, write_pack  # noqa: E402
from netpack.load import load  # noqa: E402
from netpack.runtime import Pack  # noqa: E402
from netpack.video import Video, luma_of  # noqa: E402


def wild(seed=3):
    """A network whose weights have been made larger than training would."""
    torch.manual_seed(seed)
    model = Video().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def neutral():
    """A network that gives out what it gets, but for what the graph itself does."""
    model = Video().eval()
    with torch.no_grad():
        for name in ("luma", "chroma_up8"):
            for parameter in getattr(model.restoration, name).parameters():
                parameter.zero_()
        for gate in (model.restoration.gate, model.restoration.gate_luma):
            gate.weight.zero_()
            gate.bias.fill_(1.0)
    return model


def run(model, image, ratio):
    with torch.no_grad():
        found = model.stages(torch.from_numpy(image[None]), torch.full((1, 1, 1, 1), ratio))
    return {name: plane[0].numpy() for name, plane in found.items()}


def test_grey_stays_grey_for_any_weights():
    rng = np.random.default_rng(1)
    grey = np.repeat(rng.random((1, 32, 48), np.float32), 3, 0)
    found = run(wild(), grey, 4.0)["output"]
    assert np.abs(found - found[:1]).max() < 1e-6


def test_colour_within_rounding_is_left_out_where_there_is_no_light():
    # A red and a blue patch of two codes of difference, and a lamp's red, in the dark; all but the lamp come out grey.
    image = np.full((3, 48, 48), 3 / 255, np.float32)
    image[0, :16] += 2 / 255
    image[2, 16:32] += 2 / 255
    image[0, 32:] += 40 / 255
    dark = run(neutral(), image, 4.0)["output"]
    spread = (dark.max(0) - dark.min(0))[:, 4:-4]
    assert spread[:30].max() < 1e-6 and spread[36:].min() > 0.2
    # In light they stay.
    image += 20 / 255
    bright = run(neutral(), image, 4.0)["output"]
    assert (bright[0, :16] > 1.02 * bright[1, :16]).all() and (bright[2, 16:32] > 1.02 * bright[1, 16:32]).all()
    # What the network is trained towards is without it as well.
    assert np.allclose(faded(image), image, atol=1e-6)
    assert np.ptp(faded(image - 20 / 255)[:, :32], axis=0).max() < 1e-6


@pytest.mark.parametrize("ratio", [2.0, 4.0, 20.0])
def test_tones_rise_with_the_pixel_and_with_the_ratio(ratio):
    # The same reflectance everywhere: what is left is what the illumination makes of a ramp.
    ramp = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (3, 16, 1))
    found, less = (run(Video().eval(), ramp, r) for r in (ratio, ratio - 0.5))
    bright = found["l_adjusted"][0] / found["q0"][0] * ramp[0]
    assert (np.diff(bright[0]) > 0).all()
    assert bright.max() <= 1 + 1e-6
    assert (found["l_adjusted"] >= less["l_adjusted"]).all()


def test_ratio_1_is_the_restored_picture_itself():
    image = np.random.default_rng(2).random((3, 32, 32), np.float32)
    found = run(wild(), image, 1.0)
    assert np.allclose(found["l_adjusted"], found["q0"], atol=1e-6)
    assert np.allclose(found["p0"] * found["q0"], image, atol=1e-6)


def test_the_graph_is_the_network_and_comes_back(tmp_path):
    model = wild()
    write_pack(model, tmp_path, name="video", version="1", description="", licence="", provenance="")
    image = np.random.default_rng(4).random((32, 48, 3)).astype(np.float32) * 0.3
    expected = run(model, np.ascontiguousarray(image.transpose(2, 0, 1)), 4.0)["output"].clip(0, 1).transpose(1, 2, 0)
    assert np.abs(Pack(tmp_path, "fp32").enhance(image, 4.0)[0] - expected).max() < 1e-5
    again = load(Video(), tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters()))
    assert mac_per_pixel(model, 1) <= 2500


def test_the_target_of_a_picture_without_noise_is_what_the_network_starts_from():
    image = (np.random.default_rng(5).random((1, 3, 32, 32)) * 0.2).astype(np.float32)
    mean = float(luma_of(image).mean())
    found = run(Video().eval(), image[0], 4.0)
    assert np.allclose(found["p0"] * found["l_adjusted"], (image * gain(image, mean, 4.0))[0], rtol=1e-4)
    ratio, factor = fitting_ratio(image, 0.9 * image * gain(image, mean, 5.0), mean)
    assert 3.5 < ratio < 5.0 and abs(factor - 1) < 0.1


def test_a_mosaic_keeps_what_it_knows():
    noise = np.random.default_rng(6).standard_normal((16, 16, 3)).astype(np.float32)
    found = mosaic(noise.copy())
    assert np.allclose(found[0::2, 0::2, 0], noise[0::2, 0::2, 0]) and np.allclose(found[1::2, 1::2, 2], noise[1::2, 1::2, 2])
    assert np.allclose(found[2, 4, 1], (noise[1, 4, 1] + noise[3, 4, 1] + noise[2, 3, 1] + noise[2, 5, 1]) / 4, atol=1e-6)


@pytest.mark.parametrize("codec", ["x264", "x265"])
def test_an_encoder_gives_every_frame_back(codec):
    frames = np.random.default_rng(7).integers(0, 60, (6, 64, 96, 3), np.uint8)
    found = encode(list(frames), codec, 500, 12)
    assert len(found) == 6 and np.abs(found[3].astype(float).mean() - frames[3].mean()) < 6


def test_sequences_come_of_their_seed():
    y, x = np.mgrid[0:300, 0:400]
    image = np.stack([127 + 100 * np.sin(x / 37), 127 + 100 * np.cos(y / 29), 127 + 60 * np.sin((x + y) / 53)], 2).astype(np.uint8)
    for seed in range(12):
        made = []
        for _ in range(2):
            rng = np.random.default_rng(seed)
            made.append(Camera(rng).film(moved(image, (96, 64), 4, rng), rng))
        (clean, noisy), (_, again) = made
        assert len(clean) == 4 and noisy.shape == (4, 64, 96, 3) and (noisy == again).all()
        assert np.abs(np.stack(clean) * 255 - noisy).mean() < 20


def test_a_target_has_the_tones_that_noise_leaves():
    rng = np.random.default_rng(8)
    clean = np.repeat((np.linspace(0.02, 0.5, 96, dtype=np.float32) ** 2)[None, None], 96, 1).repeat(3, 0).copy()
    noise = rng.standard_normal(clean.shape).astype(np.float32)
    assert np.abs(settled(clean, clean + 0.02 * noise) - clean).mean() < 6e-4, "noise that lifts nothing"
    lifted = np.maximum(clean, 0.02)
    found = settled(clean, lifted + 0.01 * noise)
    assert np.abs(found - lifted).mean() < 1.5e-3 < np.abs(clean - lifted).mean(), "the lift, without the noise"
