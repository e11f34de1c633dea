"""2:4 is timed where zeros may count, and nowhere else."""

from __future__ import annotations

import onnx
import pytest
from edgewright.core.errors import Unfit
from edgewright.pipeline.sparse_race import race_sparse
from edgewright.pipeline.subject import open_subject


@pytest.fixture
def subject(wide_classifier):
    return open_subject(wide_classifier)


def race(subject, **settings):
    model = onnx.load(str(subject.path))
    return race_sparse(subject, model, model, 1, settings.get("cancel", lambda: False))


def test_one_is_built_dense_and_the_other_with_sparse_kernels_both_in_half_precision(subject, load_fake, monkeypatch):
    fake = load_fake("sparse_backend")
    backend = fake.install(monkeypatch, fake.SparseBackend())

    dense, sparse = race(subject)

    assert [(options.is_sparse, options.precision) for options in backend.built] == [(False, "fp16"), (True, "fp16")]
    assert dense.samples >= 100
    assert sparse.samples >= 100


def test_without_a_backend_that_skips_zeros_every_reason_is_given(subject):
    with pytest.raises(Unfit) as unfit:
        race(subject)

    assert unfit.value.code == "sparse-not-measured"
    assert "tensorrt: " in unfit.value.message
    assert "tensorrt_rtx: " in unfit.value.message


def test_a_build_that_fails_is_a_reason_too(subject, load_fake, monkeypatch):
    fake = load_fake("sparse_backend")
    fake.install(monkeypatch, fake.SparseBackend("the device ran out of memory"))

    with pytest.raises(Unfit) as unfit:
        race(subject)

    assert (unfit.value.code, "the device ran out of memory" in unfit.value.message) == ("sparse-not-measured", True)


def test_a_cancel_stops_the_race(subject, load_fake, monkeypatch):
    fake = load_fake("sparse_backend")
    fake.install(monkeypatch, fake.SparseBackend())

    with pytest.raises(Unfit) as stopped:
        race(subject, cancel=lambda: True)

    assert stopped.value.code == "cancelled"
