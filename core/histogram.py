"""A mergeable histogram of durations: fixed log-linear buckets, so that two devices' or two hours' histograms add up exactly.

Durations are whole nanoseconds. Below 64 every value has its own bucket; above, each power of two has 32 buckets, so that a percentile
is at most 1/64 (1.6 %) off. Buckets never depend on the data: merging is addition, and its order does not matter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise

import msgspec

from .errors import Rejected
from .statistics import min_samples, nearest_rank

_SUB_BITS = 5
_EXACT_BELOW = 1 << (_SUB_BITS + 1)
MAX_VALUE_NS = (1 << 53) - 1
MAX_COUNT = (1 << 53) - 1


def bucket_of(value_ns: int) -> int:
    """The bucket of a duration; longer than 104 days counts as that."""
    value = min(value_ns, MAX_VALUE_NS)
    if value < 0:
        raise ValueError(f"a duration of {value_ns} ns")
    shift = max(0, value.bit_length() - _SUB_BITS - 1)
    return (shift << _SUB_BITS) + (value >> shift)


def bucket_bounds(bucket: int) -> tuple[int, int]:
    """The smallest and the largest duration of a bucket, in ns."""
    if bucket < _EXACT_BELOW:
        return bucket, bucket
    shift = (bucket >> _SUB_BITS) - 1
    low = (bucket - (shift << _SUB_BITS)) << shift
    return low, low + (1 << shift) - 1


MAX_BUCKET = bucket_of(MAX_VALUE_NS)


class Histogram(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Durations by bucket. `buckets` holds (bucket, count), ascending, without empty ones. The extremes are exact; 0 when there are none."""

    buckets: tuple[tuple[int, int], ...] = ()
    min_ns: int = 0
    max_ns: int = 0

    @property
    def count(self) -> int:
        return sum(count for _, count in self.buckets)

    def percentile_ns(self, percent: float) -> int | None:
        """The middle of the bucket that holds the nearest-rank percentile, or None below that percentile's minimum sample count."""
        total = self.count
        if total < min_samples(percent):
            return None
        rank, seen = nearest_rank(total, percent), 0
        for bucket, count in self.buckets:
            seen += count
            if seen >= rank:
                low, high = bucket_bounds(bucket)
                return min(self.max_ns, max(self.min_ns, (low + high) // 2))
        return self.max_ns


def histogram_of(values_ns: Iterable[int]) -> Histogram:
    counts: Counter[int] = Counter()
    least, most = MAX_VALUE_NS, 0
    for value in values_ns:
        counts[bucket_of(value)] += 1
        bounded = min(value, MAX_VALUE_NS)
        least, most = min(least, bounded), max(most, bounded)
    return Histogram(buckets=tuple(sorted(counts.items())), min_ns=least, max_ns=most) if counts else Histogram()


def merge_histograms(histograms: Iterable[Histogram]) -> Histogram:
    """All samples of all `histograms`."""
    counts: Counter[int] = Counter()
    filled = [histogram for histogram in histograms if histogram.buckets]
    for histogram in filled:
        for bucket, count in histogram.buckets:
            counts[bucket] += count
    if not filled:
        return Histogram()
    least, most = min(one.min_ns for one in filled), max(one.max_ns for one in filled)
    return Histogram(buckets=tuple(sorted(counts.items())), min_ns=least, max_ns=most)


def check_histogram(histogram: Histogram) -> Histogram:
    """`histogram` itself when it is one that `histogram_of` could have made: for what comes from the wire.

    Raises:
        Rejected: ``histogram-malformed``.
    """
    fault = next(_faults(histogram), None)
    if fault is not None:
        raise Rejected("histogram-malformed", f"a histogram {fault}", "Send histograms of this version's buckets")
    return histogram


def _faults(histogram: Histogram) -> Iterator[str]:
    buckets = [bucket for bucket, _ in histogram.buckets]
    if any(low >= high for low, high in pairwise(buckets)):
        yield "has its buckets out of order"
    elif buckets and not 0 <= buckets[0] <= buckets[-1] <= MAX_BUCKET:
        yield "has a bucket that does not exist"
    elif any(count < 1 for _, count in histogram.buckets) or histogram.count > MAX_COUNT:
        yield "has a count out of range"
    elif not buckets:
        if (histogram.min_ns, histogram.max_ns) != (0, 0):
            yield "without samples has extremes"
    else:
        extremes = (histogram.min_ns, histogram.max_ns)
        within = all(0 <= value <= MAX_VALUE_NS for value in extremes) and extremes[0] <= extremes[1]
        if not within or (bucket_of(extremes[0]), bucket_of(extremes[1])) != (buckets[0], buckets[-1]):
            yield "has extremes outside its buckets"
