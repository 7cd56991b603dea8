"""What a pack tells of the runs that made it. Needs nothing but Python."""
import pytest

from learning.provenance import provenance, told_by


@pytest.mark.parametrize("share", [0.0, 0.5])
@pytest.mark.parametrize("before", [0, 300])
def test_a_pack_tells_the_runs_that_made_it(share, before):
    settings = {"full": {"batch": 4, "patch": 64}, "data": {"taught": share}}
    stored = {"settings": settings, "pack": "full", "step": 700, "seconds": 180, "earlier": [[1000, 600], [300, 60]],
              "taught_before": before}
    taught = before + (700 if share else 0)
    assert told_by(provenance(stored, "2 cores and 1 GPU")) == (2000, 14 * 60, taught)
    assert told_by("weights from elsewhere") is None
