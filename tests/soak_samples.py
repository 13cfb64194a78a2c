"""What a soak looks at, and whether it grows: samples of a process, and a slope that no outlier bends.

The slope is Theil and Sen's, the median of the slopes between all pairs of samples, with Sen's confidence
interval (P. K. Sen, Journal of the American Statistical Association 63, 1968). Neighbouring samples
resemble each other, which makes the interval narrower than it should be: hence a growth counts only beyond a
bound of its own.
"""

import itertools
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.services import Exporter, Samples

KIB, MIB = 1024, 1024 * 1024
_Z = 1.96  # two-sided, 95 %
_SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The exporter at one moment; `at_seconds` since the begin of the run, sizes in bytes.

    `lookups` are those of the steady zones, one for each check of them, of which the one that was looked at
    longest ago gives `oldest_check_seconds`. `tasks` is None where none are told.
    """

    at_seconds: float
    descriptors: int
    tasks: int | None
    threads: int
    rss: int
    pss: int
    series: int
    lookups: int
    oldest_check_seconds: float
    overruns: int
    internal_errors: int
    log_lines: int


def take(exporter: Exporter, scraped: Samples, *, since: float, steady: Sequence[str]) -> Sample:
    """Take a sample, of the process by proc(5), and of what it said of itself; `since` by time.monotonic."""
    memory, tasks = _memory(exporter.pid), scraped.series("kms_exporter_tasks")
    return Sample(
        at_seconds=round(time.monotonic() - since, 1),
        descriptors=count_descriptors(exporter),
        tasks=int(sum(each.value for each in tasks)) if tasks else None,
        threads=count_threads(exporter),
        rss=memory["Rss"],
        pss=memory["Pss"],
        series=len(scraped.samples),
        lookups=int(sum(lookups_of(scraped, zone) for zone in steady)),
        oldest_check_seconds=round(time.time() - min(last_check_of(scraped, zone) for zone in steady), 1),
        overruns=int(scraped.value("kms_exporter_checks_overrun_total") or 0),
        internal_errors=int(scraped.value("kms_exporter_internal_errors_total") or 0),
        log_lines=len(exporter.lines),
    )


def count_descriptors(exporter: Exporter) -> int:
    """Count the open file descriptors of the process."""
    return len(list(Path(f"/proc/{exporter.pid}/fd").iterdir()))


def count_threads(exporter: Exporter) -> int:
    """Count the threads of the process."""
    return len(list(Path(f"/proc/{exporter.pid}/task").iterdir()))


def lookups_of(scraped: Samples, zone: str) -> float:
    """Count the SRV lookups of a zone so far."""
    return sum(each.value for each in scraped.series("kms_srv_lookups_total", dns_zone=zone))


def last_check_of(scraped: Samples, zone: str) -> float:
    """Tell when a zone was last checked, in Unix time."""
    return scraped.value("kms_exporter_last_check_timestamp_seconds", dns_zone=zone) or 0.0


def _memory(pid: int) -> dict[str, int]:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
    fields = (line.split() for line in lines)
    return {field[0].rstrip(":"): int(field[1]) * KIB for field in fields}


@dataclass(frozen=True, slots=True, kw_only=True)
class Slope:
    """How fast something grows, each hour: the median, and between what it lies with 95 % confidence."""

    median: float
    low: float
    high: float


def slope_per_hour(points: Sequence[tuple[float, float]]) -> Slope:
    """Estimate the slope of points (seconds, value); without two moments there is none."""
    slopes = sorted(
        (after - before) / (later - earlier) * _SECONDS_PER_HOUR
        for (earlier, before), (later, after) in itertools.combinations(points, 2)
        if later > earlier
    )
    if not slopes:
        return Slope(median=0.0, low=-math.inf, high=math.inf)
    count = len(points)
    spread = _Z * math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    low = math.floor((len(slopes) - spread) / 2)
    high = math.ceil((len(slopes) + spread) / 2)
    return Slope(
        median=statistics.median(slopes),
        low=slopes[low] if low >= 0 else -math.inf,
        high=slopes[high] if high < len(slopes) else math.inf,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How one quantity went, after the warm-up."""

    first: float
    last: float
    least: float
    most: float
    slope: Slope
    hours: float

    @property
    def growth(self) -> float:
        """What it has surely grown by in the time it was looked at, 0 when it may not have grown at all."""
        return max(0.0, self.slope.low * self.hours) if self.hours else 0.0


QUANTITIES = (
    "descriptors",
    "tasks",
    "threads",
    "rss",
    "pss",
    "series",
    "log_lines",
    "oldest_check_seconds",
)


def courses(samples: Sequence[Sample]) -> dict[str, Course]:
    """Follow each quantity through the samples; those that were not told at all are left out."""
    found = {}
    for name in QUANTITIES:
        values = [(sample.at_seconds, asdict(sample)[name]) for sample in samples]
        points = [(at, float(value)) for at, value in values if value is not None]
        if points:
            found[name] = _course(points)
    return found


def _course(points: Sequence[tuple[float, float]]) -> Course:
    values = [value for _, value in points]
    return Course(
        first=values[0],
        last=values[-1],
        least=min(values),
        most=max(values),
        slope=slope_per_hour(points),
        hours=(points[-1][0] - points[0][0]) / _SECONDS_PER_HOUR,
    )


def grown(found: Mapping[str, Course], bounds: Mapping[str, float]) -> list[str]:
    """Say what has grown beyond its bound, which is for the whole time that was looked at."""
    return [
        f"{name} grew by {found[name].growth:.0f} at least, and may by {bound:.0f}"
        for name, bound in bounds.items()
        if name in found and found[name].growth > bound
    ]
