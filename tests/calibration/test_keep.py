"""Which samples are kept: by their content, never by their order."""

from __future__ import annotations

import numpy as np
import pytest
from edgewright.calibration.keep import KeptSamples, sample_checksum

SAMPLES = np.random.default_rng(4).normal(size=(50, 1, 6)).astype(np.float32)


def offered(folder, order, capacity=8):
    """The kept samples, and what was given back, in a set."""
    given = []
    with KeptSamples(folder, capacity) as kept:
        for position in order:
            back = kept.offer({"x": SAMPLES[position]}, position)
            if back is not None:
                given.append(back)
        return [kept.sample(position)["x"] for position in kept.positions], given


def test_the_kept_are_those_with_the_smallest_checksums(tmp_path):
    kept, _ = offered(tmp_path, range(50))

    expected = sorted(range(50), key=lambda position: sample_checksum({"x": SAMPLES[position]}))[:8]
    assert np.array_equal(kept, SAMPLES[expected])


def test_order_does_not_matter(tmp_path):
    one, _ = offered(tmp_path, range(50))
    other, _ = offered(tmp_path, np.random.default_rng(1).permutation(50).tolist())

    assert np.array_equal(one, other)


def test_every_sample_is_either_kept_or_given_back_once(tmp_path):
    kept, given = offered(tmp_path, range(50))

    assert len(kept) + len(given) == 50
    assert len({position for position, _ in given}) == len(given)
    for position, sample in given:
        assert np.array_equal(sample["x"], SAMPLES[position])


def test_fewer_than_the_capacity_are_all_kept(tmp_path):
    kept, given = offered(tmp_path, range(5))

    assert (len(kept), given) == (5, [])


@pytest.mark.parametrize("place", [0, 5])
def test_a_checksum_sees_every_value_of_a_small_sample(place):
    changed = SAMPLES[0].copy()
    changed[0, place] += 1

    assert sample_checksum({"x": SAMPLES[0]}) != sample_checksum({"x": changed})


def test_a_checksum_does_not_hang_on_the_order_of_the_inputs():
    assert sample_checksum({"a": SAMPLES[0], "b": SAMPLES[1]}) == sample_checksum({"b": SAMPLES[1], "a": SAMPLES[0]})
