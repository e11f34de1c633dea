from __future__ import annotations

import pytest
from edgewright.calibration.keep import KeptSamples
from edgewright.calibration.written import proof


@pytest.fixture
def kept(models, tmp_path):
    with KeptSamples(tmp_path, 8) as samples:
        for position, sample in enumerate(models.samples(8)):
            samples.offer({"input": sample[None]}, position)
        yield samples


def test_the_same_network_needs_no_note(models, kept):
    model = models.classifier()

    found = proof(model, model.SerializeToString(), kept, 1, what="this", faithful_db=30)

    assert found.sqnr_db > 100
    assert found.notes == ()


def test_another_network_is_said_to_be_another(models, kept):
    found = proof(models.classifier(seed=1), models.classifier(seed=2).SerializeToString(), kept, 1, what="this", faithful_db=30)

    assert found.sqnr_db < 10
    assert found.notes == (f"this keeps only {found.sqnr_db:.1f} dB of this network",)
