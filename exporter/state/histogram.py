"""A histogram as a plain value: what Prometheus calls a classic one, without a registry around it.

The model is that of https://prometheus.io/docs/concepts/metric_types/#histogram.
"""

import bisect
import itertools
import math
from dataclasses import dataclass

DURATION_BOUNDS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of observations per bucket (the last bucket is the one above all bounds), and their sum."""

    counts: tuple[int, ...] = (0,) * (len(DURATION_BOUNDS_SECONDS) + 1)
    sum: float = 0.0

    def observe(self, seconds: float) -> "Histogram":
        """Give the histogram with one more observation."""
        bucket = bisect.bisect_left(DURATION_BOUNDS_SECONDS, seconds)
        counts = list(self.counts)
        counts[bucket] += 1
        return Histogram(tuple(counts), self.sum + seconds)

    def cumulative(self) -> tuple[tuple[float, int], ...]:
        """Give upper bounds, the last one infinite, with the number of observations at or below each."""
        bounds = (*DURATION_BOUNDS_SECONDS, math.inf)
        return tuple(zip(bounds, itertools.accumulate(self.counts), strict=True))
