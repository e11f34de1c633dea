"""A driver that fails and tears as real ones do, at random."""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path

from edgewright.profiling.survey import open_rails, survey_power
from edgewright.profiling.sysfs import Sysfs

FAULTS = [errno.EAGAIN, errno.ENODATA, errno.EIO, errno.ENODEV, errno.ETIMEDOUT, errno.EACCES]
TORN = [b"", b"-256000", b"12", b"\0" * 8, b"4984", b"-40", b"99999999999999999999", b"8 mV", b"\xff", b"1856\n1856"]


def fuzz_reads(root: Path, count: int, seed: int = 0) -> tuple[int, int, int]:
    """`count` reads of a board whose driver answers at random with errors and torn values; returns faults, gaps and reads."""
    chance = random.Random(seed)
    reads = [0]

    def read(descriptor: int, size: int, offset: int) -> bytes:
        reads[0] += 1
        kind = chance.random()
        if kind < 0.1:
            raise OSError(chance.choice(FAULTS), "fuzzed")
        return chance.choice(TORN) if kind < 0.2 else os.pread(descriptor, size, offset)

    survey = survey_power(root)
    gaps = 0
    fuzzed = Sysfs(root, read)
    with open_rails(survey_power(tree=Sysfs(root)), survey.rails) as reader:
        for readings, _ in reader.opened:
            readings.tree = fuzzed
            for attributes in readings._open:
                for attribute in attributes:
                    attribute.tree = fuzzed
        while reads[0] < count:
            row = reader.read()
            assert all(value is None or abs(value) < 1e8 for value in row)
            gaps += row.count(None)
        return reader.faults.total(), gaps, reads[0]
