from __future__ import annotations

import numpy as np
import pytest
from edgewright.calibration.spool import IN_MEMORY_BYTES, Spool


@pytest.mark.parametrize("size", [10, IN_MEMORY_BYTES // 4 // 4, IN_MEMORY_BYTES])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint8])
def test_batches_come_back_in_order_whatever_their_size(tmp_path, size, dtype):
    with Spool(tmp_path) as spool:
        batches = [(np.arange(size) % 199 + index).astype(dtype).reshape(1, size) for index in range(3)]
        for batch in batches:
            spool.add("x", batch)

        for index in (2, 0, 1):
            assert np.array_equal(spool.get("x", index), batches[index])
            assert spool.get("x", index).dtype == dtype


def test_a_small_batch_is_a_copy(tmp_path):
    with Spool(tmp_path) as spool:
        values = np.zeros(4, np.float32)
        spool.add("x", values)
        values[:] = 9

        assert spool.get("x", 0).tolist() == [0, 0, 0, 0]


def test_large_batches_leave_no_name_in_the_folder(tmp_path):
    """The file has no name from the start, so that not even a killed process leaves it."""
    with Spool(tmp_path) as spool:
        spool.add("x", np.zeros(IN_MEMORY_BYTES, np.float32))

        assert list(tmp_path.iterdir()) == []


def test_what_is_dropped_is_gone(tmp_path):
    with Spool(tmp_path) as spool:
        spool.add("x", np.zeros(4, np.float32))
        spool.drop("x")
        spool.drop("never there")

        with pytest.raises(KeyError):
            spool.get("x", 0)
