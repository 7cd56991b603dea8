"""What training samples promise, on made pictures. Needs no data."""
import pytest

np = pytest.importorskip("numpy")
for needed in ("torch", "cv2", "av"):
    pytest.importorskip(needed)

from learning import samples  # noqa: E402


def scene(seed=1, size=(128, 192)):
    """A bright picture with soft surfaces and some texture, in 0..1."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size[0], 0:size[1]].astype(np.float32) / size[0]
    surface = np.stack([0.45 + 0.25 * np.sin(3 * x + c) * np.cos(2 * y - c) for c in range(3)], -1)
    return np.clip(surface + 0.03 * rng.standard_normal((*size, 3)), 0.02, 0.75).astype(np.float32)


def codes(image):
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


@pytest.mark.parametrize("cast", [(1, 1, 1), (1.6, 1, 0.7), (0.6, 1, 1.3)])
@pytest.mark.parametrize("exposure", [0.05, 0.1, 0.3])
def test_recoloured_keeps_brightness_and_takes_the_balance(cast, exposure):
    bright = codes(scene())
    dark = codes(bright / 255 * exposure * np.array(cast))
    found, wanted = samples.recoloured(dark, bright).astype(float), bright.astype(float)
    assert abs(found.mean() / dark.mean() - 1) < 0.04, "brightness"
    balance, truth = (x.mean((0, 1)) / x.mean() for x in (found, wanted))
    assert np.abs(balance - truth).max() < 0.06, "white balance"


@pytest.mark.parametrize("exposure", [0.01, 0.05, 0.3])
def test_ratio_1_is_the_dark_picture(exposure):
    bright = scene()
    dark = codes(bright * exposure) / np.float32(255)
    fit = samples.fitting_ratio(dark, bright, 5.8, 0.6)
    target = samples.target_at(dark, bright, fit, 1.0)
    a, b = (x[:128, :192].reshape(8, 16, 12, 16, 3).mean((1, 3)) for x in (target, dark))
    assert np.abs(a - b).max() < 0.1 * b.mean() + 0.3 / 255


def test_the_fit_is_the_bright_picture_but_for_lamps():
    bright = scene()
    dark = bright * 0.05
    dark[40:60, 50:80] = 1.0
    fit = samples.fitting_ratio(dark, bright, 5.8, 0.6)
    target = samples.target_at(dark, bright, fit, fit)
    lamp = np.zeros(dark.shape[:2], bool)
    lamp[40:60, 50:80] = True
    assert np.allclose(target[~lamp], bright[~lamp]) and np.allclose(target[lamp], dark[lamp])


def test_ratios_rise_with_darkness():
    bright = scene()
    fits = [samples.fitting_ratio(bright * e, bright, 5.8, 0.6) for e in (0.3, 0.1, 0.03, 0.01)]
    assert fits == sorted(fits) and fits[0] < fits[-1]
    assert samples.fitting_ratio(bright, bright, 5.8, 0.6) < samples.LOWEST_FIT + 1


@pytest.mark.parametrize("ratio", [1.0, 2.0, 4.0, 9.0])
def test_relit_keeps_highlights_and_rises(ratio):
    image = scene()
    image[10:20, 10:20] = 1.0
    found = samples.relit(image, ratio)
    assert np.allclose(found[12:18, 12:18], 1.0, atol=0.02)
    assert found.mean() >= image.mean() - 0.01
    assert ratio > 1 or np.abs(found - image).max() < 0.02


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_taught_luma_leaves_the_colours(share):
    bright, plane = codes(scene()), codes(scene(seed=2)[..., 1])
    found = samples.with_luma(bright, plane, share)
    wanted = (1 - share) * samples.luma(bright.astype(np.float32)) + share * plane
    assert np.abs(samples.luma(found.astype(np.float32)) - wanted).max() < 0.6
    # Differences of two channels: as they were, but for rounding.
    assert np.abs(np.diff(found.astype(int), axis=2) - np.diff(bright.astype(int), axis=2)).max() <= 1
