"""Two minutes of `make soak`, and that its judge knows growth from noise.

How long a check takes decides nothing here: late and missed checks are reported by the run, and looked at by
whoever runs it for longer.
"""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import soak
from tests.soak_samples import Sample, courses, grown, slope_per_hour

SECONDS = 80.0
"""With what comes before and after, two minutes."""


def test_soak(tmp_path: Path) -> None:
    """Under everything at once, nothing leaks, steady zones stay right, and in the end all is as it was."""
    seed = random.SystemRandom().randrange(10**6)
    report = soak.run(tmp_path, seconds=SECONDS, seed=seed)
    print(report.table())  # noqa: T201 (pytest shows it for a failed test)
    assert report.problems == []
    assert min(report.acts.values()) > 0
    assert report.checks_made > 0


# --- The judge


def sampled(value: Callable[[float], float], *, count: int = 60) -> list[Sample]:
    """Build samples, 3 s apart, that have this many descriptors at a time, and nothing else that changes."""
    rest = dict.fromkeys(
        ("threads", "rss", "pss", "series", "lookups", "overruns", "internal_errors", "log_lines"), 0
    )
    times = [3.0 * number for number in range(count)]
    return [
        Sample(at_seconds=at, descriptors=int(value(at)), tasks=None, oldest_check_seconds=0.0, **rest)
        for at in times
    ]


def test_slope_is_that_of_a_line() -> None:
    """A straight line has its own slope, and no outlier bends it."""
    points = [(float(second), second / 10) for second in range(60)]
    points[30] = (30.0, 10_000.0)
    slope = slope_per_hour(points)
    assert slope.median == pytest.approx(360)
    assert slope.low == pytest.approx(360)
    assert slope.high == pytest.approx(360)


def test_two_samples_tell_nothing() -> None:
    """From two samples, nobody can be confident of a slope."""
    slope = slope_per_hour([(0.0, 1.0), (1.0, 2.0)])
    assert (slope.low, slope.high) == (float("-inf"), float("inf"))


@pytest.mark.parametrize(
    ("value", "leaks"),
    [
        (lambda at: 20, False),
        (lambda at: 20 + at / 9, True),
        (lambda at: 20 + at / 9 + 10 * (at % 2), True),
        (lambda at: 20 + 30 * (at % 7), False),
        (lambda at: 60 - at / 9, False),
        (lambda at: 500 if at == 90 else 20, False),
    ],
    ids=["level", "rising", "rising in noise", "noise", "falling", "one peak"],
)
def test_growth_is_told_from_noise(value: Callable[[float], float], leaks: bool) -> None:  # noqa: FBT001
    """What grows for certain is a problem; what swings, falls or has one peak is none."""
    found = courses(sampled(value))
    assert "tasks" not in found
    assert bool(grown(found, {"descriptors": 8.0, "tasks": 8.0})) == leaks
