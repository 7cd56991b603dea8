"""What a training run promises. Needs no data."""
import time
from pathlib import Path

import pytest

np = pytest.importorskip("numpy")
torch = pytest.importorskip("torch")
for needed in ("cv2", "onnx", "onnxruntime", "tqdm"):
    pytest.importorskip(needed)

from learning import feed  # noqa: E402
from learning.grey import even_out, keep_grey  # noqa: E402
from learning.objectives import adjustment_loss  # noqa: E402
from netpack.load import load  # noqa: E402
from netpack.networks import Full  # noqa: E402
from ship import mix, round_weights  # noqa: E402

PACKS = Path(__file__).resolve().parents[2] / "engines"


def full(seed=3, noise=0.02):
    """The shipped weights, moved a little, and grey again."""
    torch.manual_seed(seed)
    model = load(Full(), PACKS / "full").eval()
    for weights in model.parameters():
        weights.data += noise * weights.data.std() * torch.randn_like(weights) if weights.numel() > 1 else 0
    keep_grey(model)
    return model


def spread(model):
    """The largest difference of the channels of what a grey picture becomes, in codes of 255."""
    grey = (torch.rand(1, 1, 48, 64, generator=torch.Generator().manual_seed(5)) ** 3).expand(-1, 3, -1, -1)
    with torch.no_grad():
        output = 255 * model(grey.contiguous(), torch.full((1, 1, 1, 1), 4.0))
    return float((output.amax(1) - output.amin(1)).max())


def test_grey_stays_grey_at_16_bits():
    model = full()
    assert spread(model) < 0.02, "before rounding"
    for weights in model.state_dict().values():
        weights.copy_(weights.half().float())
    rounded = spread(model)
    even_out(model)
    assert spread(model) < min(0.7 * rounded, 0.5)
    assert all((w.half().float() == w).all() for w in model.state_dict().values()), "still 16 bits"


def test_what_ships_is_rounded_and_grey():
    model = full(seed=4)
    round_weights(model)
    assert all((w.half().float() == w).all() for w in model.state_dict().values())
    assert spread(model) < 0.5


def test_a_mix_lies_between_two_states():
    a, b = full(seed=5), full(seed=6)
    wanted = [0.7 * x + 0.3 * y for x, y in zip(a.parameters(), b.parameters())]
    mix(a, b, 0.3)
    assert all(torch.allclose(x, y, atol=1e-6) for x, y in zip(a.parameters(), wanted))
    assert spread(a) < 0.02, "means keep grey grey"


class Numbered:
    """Samples that tell from which worker and in which order they came."""
    rng = None

    def batch(self, size, patch):
        picture = self.rng.random((size, 3, patch, patch), dtype=np.float32)
        ratio = self.rng.uniform(1, 12, (size, 1, 1, 1)).astype(np.float32)
        return [picture, ratio, picture + ratio, picture - ratio, ratio[:, 0, 0] * np.ones(4, np.float32)]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_pool_keeps_the_parts_of_a_sample_together(workers):
    samples = feed.batches(Numbered(), {"batch": 6, "patch": 8, "pool": 32}, workers, "cpu", 1)
    found = []
    for batch in samples:
        found.append(batch)
        if len({float(x) for _, ratio, *_ in found for x in ratio}) > 64:
            break
        assert len(found) < 2000, "workers replace what the pool holds"
        time.sleep(0.01)
    for dark, ratio, target, itself, seen in found:
        assert dark.shape == target.shape == itself.shape == (6, 3, 8, 8) and seen.shape == (6, 4)
        assert torch.allclose(target - dark, ratio.expand_as(dark), atol=0.02)
        assert torch.allclose(dark - itself, ratio.expand_as(dark), atol=0.02)
        assert torch.allclose(seen, ratio[:, :, 0, 0].expand_as(seen), atol=0.02)
    assert samples.reuse > 0


def test_a_pool_that_holds_no_batch_is_refused():
    with pytest.raises(ValueError, match="raise `pool`"):
        feed.batches(Numbered(), {"batch": 6, "patch": 8, "pool": 4}, 1, "cpu", 1)


def test_a_worker_that_fails_ends_the_run():
    class Broken(Numbered):
        def batch(self, size, patch):
            raise ValueError("no picture")
    with pytest.raises(RuntimeError, match="worker"):
        next(iter(feed.batches(Broken(), {"batch": 2, "patch": 8, "pool": 16}, 1, "cpu", 1)))


def test_the_adjustment_is_asked_for_1_beyond_1():
    """An L of 1.1, as lamps have, must come out as 1: a curve that goes on costs more, though not on planes up to 1."""
    class Curve(torch.nn.Module):
        def __init__(self, top):
            super().__init__()
            self.top = top

        def adjustment(self, l, ratio):
            return l.clamp(1e-4, self.top) ** (1 / ratio)

    def found(top, level):
        torch.manual_seed(1)
        np.random.seed(1)
        l = torch.full((3, 1, 32, 32), level)
        return float(adjustment_loss(Curve(top), l, torch.full((3, 1, 1, 1), 2.0)))
    assert found(2.0, 1.1) > found(1.0, 1.1) + 0.01
    assert found(1.0, 0.9) < 0.01


def test_order_sees_tones_that_turn_over_and_nothing_else():
    from learning.losses import order
    ramp = torch.linspace(0.02, 0.4, 64).expand(2, 3, 64, 64).contiguous()
    assert order(ramp ** 0.4, ramp) == 0, "a rising curve"
    assert order(torch.full_like(ramp, 0.5), ramp) == 0, "one tone turns over nothing"
    solarised = 0.5 - (ramp - 0.2).abs()
    found = order(solarised, ramp)
    assert 0.01 < found < 0.05, found
    assert order(1 - ramp, ramp + 0) > found, "all of them"
    assert order(torch.rand_like(ramp), torch.full_like(ramp, 0.1)) == 0, "a flat input has no order"
