"""Everything at once, for as long as one likes: what does the real exporter lose, leak or miss under it?

Run by `make soak`; CI runs two minutes of it, by test_end_to_end_soak.py. The exporter meets flapping
records, a DNS server that dies again and again, hostile DNS servers and hosts, reloads, scrapes, checks on
demand and bad requests (soak_enemies.py), while it watches zones that nothing happens to (soak_world.py).
Every few seconds a sample is taken (soak_samples.py).

Memory and the like may grow in the first quarter, in which histories fill; after that they are to stay. In
the end all enemies stop, and everything has to be as it was before they came.
"""

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest

from tests.services import PAUSE_SECONDS, Exporter, Lab, Samples, wait_until
from tests.soak_enemies import Enemies
from tests.soak_samples import (
    MIB,
    Course,
    Sample,
    count_descriptors,
    count_threads,
    courses,
    grown,
    lookups_of,
    take,
)
from tests.soak_world import AT_REST, INTERVAL_SECONDS, World

SAMPLE_SECONDS = 3.0
WARM_UP_SHARE = 0.25
LOOKS_AT_REST = 30
PEACE_SECONDS = 0.5  # between two looks, which cost more than what is looked at
MAX_RSS = 250 * MIB
BOUNDS = {
    "descriptors": 10.0,
    "tasks": 20.0,
    "threads": 1.0,
    "series": 100.0,
    "rss": 4.0 * MIB,
    "pss": 8.0 * MIB,
}
"""What may have been added in the end for certain, by the slope after the warm-up.

A process' share of memory (PSS) also grows when others that use the same libraries end.
"""
SLOPE_SECONDS = 600.0
"""Below this, the load of the machine and histories that fill tell more by a slope than a leak does."""
SLOW = {"timeout", "rpc_timeout"}
"""Reasons for which a steady zone may not be ok on a machine that is too busy: reported, not asserted."""


@dataclass(kw_only=True)
class Report:
    """What a run saw; `problems` is empty when all held."""

    seed: int
    seconds: float
    samples: list[Sample] = field(default_factory=list)
    courses: dict[str, Course] = field(default_factory=dict)
    acts: dict[str, int] = field(default_factory=dict)
    at_rest: dict[str, tuple[int, int]] = field(default_factory=dict)
    checks_expected: int = 0
    checks_made: int = 0
    slow_looks: int = 0
    problems: list[str] = field(default_factory=list)

    def table(self) -> str:
        """Show it to a person."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"{self.seconds:.0f} s, seed {self.seed}, {len(self.samples)} samples"
        yield f"{'':20}{'first':>9}{'last':>9}{'min':>9}{'max':>9}{'per hour':>12}   95 % confidence"
        for name, course in self.courses.items():
            unit = MIB if name in {"rss", "pss"} else 1
            values = (course.first, course.last, course.least, course.most)
            slope = (course.slope.median, course.slope.low, course.slope.high)
            shown = "".join(f"{value / unit:9.1f}" for value in values)
            median, low, high = (value / unit for value in slope)
            label = f"{name}, MiB" if unit == MIB else name
            yield f"{label:20}{shown}{median:12.1f}   {low:.1f} to {high:.1f}"
        for name, (before, after) in self.at_rest.items():
            yield f"{name} at rest: {before} before, {after} after"
        last = self.samples[-1] if self.samples else None
        yield (
            f"steady zones: {self.checks_made} checks, {self.checks_expected} due and more by reloads; "
            f"{self.slow_looks} times slow; overruns of all zones: {last.overruns if last else 0}; "
            f"internal errors: {last.internal_errors if last else 0}"
        )
        yield "acts: " + ", ".join(f"{name} {count}" for name, count in self.acts.items())
        yield from (f"PROBLEM {problem}" for problem in self.problems)


def run(directory: Path, *, seconds: float, seed: int) -> Report:
    """Let everything loose for so long, and look what came of it; some 30 seconds of peace come on top."""
    report = Report(seed=seed, seconds=seconds)
    dice = random.Random(seed)
    try:
        with Lab(directory / "lab") as lab:
            world = World(lab, directory, dice)
            before = _at_rest(world)
            world.load()
            with Enemies(world, dice) as enemies:
                _watch(world, report)
            report.acts = {enemy.name: enemy.acts for enemy in enemies.all}
            report.problems += enemies.problems
            _settle(world, report, before)
    except pytest.fail.Exception as failure:
        report.problems.append(str(failure))
    _judge(report)
    return report


def _watch(world: World, report: Report) -> None:
    """Take samples until the time is over, and see that the steady zones are steady."""
    began = time.monotonic()
    begun = world.exporter.metrics()
    scraped = begun
    waiting = threading.Event()
    while time.monotonic() - began < report.seconds:
        waiting.wait(SAMPLE_SECONDS)
        scraped = world.exporter.metrics()
        report.samples.append(take(world.exporter, scraped, since=began, steady=world.steady_zones))
        for zone in world.steady_zones:
            verdict = scraped.state("kms_client_verdict", "verdict", dns_zone=zone)
            if verdict == "ok":
                continue
            if _is_slow(scraped, zone):
                report.slow_looks += 1
            else:
                report.problems.append(f"{zone} is {verdict} after {time.monotonic() - began:.0f} s")
    lasted = time.monotonic() - began
    report.checks_expected = int(lasted / INTERVAL_SECONDS) * len(world.steady_zones)
    report.checks_made = int(
        sum(lookups_of(scraped, zone) - lookups_of(begun, zone) for zone in world.steady_zones)
    )


def _is_slow(scraped: Samples, zone: str) -> bool:
    """Whether all that a zone lacks is an answer in time."""
    targets = scraped.labels("kms_srv_record_info", "target", dns_zone=zone)
    reasons = {
        scraped.status(zone) or "",
        *(
            reason
            for target in targets
            for name in ("kms_endpoint_failure", "kms_host_lookup_failure")
            for reason in scraped.labels(name, "reason", target=target)
        ),
    }
    return bool(reasons & SLOW) and reasons <= SLOW | {"ok"}


LEAST: dict[str, Callable[[Exporter], int]] = {
    "descriptors": count_descriptors,
    "threads": count_threads,
    "tasks": lambda exporter: _tasks(exporter.metrics()),
}
"""What is open, or under way; at rest, only what a page takes comes on top of the least."""


def _at_rest(world: World) -> dict[str, int]:
    """Look many times, for the least of each."""
    least = dict.fromkeys(LEAST, sys.maxsize)
    for _ in range(LOOKS_AT_REST):
        for name, look in LEAST.items():
            least[name] = min(least[name], look(world.exporter))
        time.sleep(PAUSE_SECONDS)
    return least


def _tasks(scraped: Samples) -> int:
    return int(sum(each.value for each in scraped.series("kms_exporter_tasks")))


def _settle(world: World, report: Report, before: Mapping[str, int]) -> None:
    """Wait until all is right again, and at rest what was opened has been closed."""
    exporter = world.exporter
    world.calm()
    _wait_until_nothing(lambda: _wrong(exporter.metrics(), world))
    world.load(**AT_REST)
    for name, look in LEAST.items():
        report.at_rest[name] = (before[name], _wait_for_at_most(before[name], look, exporter, name))
    if errors := exporter.metrics().value("kms_exporter_internal_errors_total"):
        report.problems.append(f"{errors:.0f} internal errors\n{exporter.report()}")


def _wait_until_nothing(look: Callable[[], list[str]]) -> None:
    """Wait until nothing is found any more, or fail with what was found last."""
    found: list[str] = []

    def nothing() -> bool | None:
        time.sleep(PEACE_SECONDS)
        found[:] = look()
        return None if found else True

    try:
        wait_until(nothing, "peace")
    except pytest.fail.Exception:
        pytest.fail("not as it was: " + ", ".join(found))


def _wait_for_at_most(base: int, look: Callable[[Exporter], int], exporter: Exporter, name: str) -> int:
    """Wait until no more is there than before, and give what is there."""
    least = [look(exporter)]

    def more() -> list[str]:
        least[0] = min(least[0], look(exporter))
        return [f"{least[0]} {name} at least, {base} before"] if least[0] > base else []

    _wait_until_nothing(more)
    return least[0]


def _wrong(scraped: Samples, world: World) -> list[str]:
    """List what is not as it should be in a world at peace."""
    states = ("kms_client_verdict", "kms_static_host_verdict", "kms_client_profile_verdict")
    verdicts = [each for name in states for each in scraped.series(name, verdict="ok")]
    missed = {zone["name"] for zone in world.config()["zones"]} - scraped.labels("kms_zone_info", "dns_zone")
    loaded = scraped.value("kms_exporter_config_last_reload_successful") == 1
    return [
        *(f"{each.name}{each.labels} is {each.value}" for each in verdicts if not each.value),
        *(
            f"{each.labels} is not forgotten"
            for each in scraped.series("kms_srv_record_published")
            if not each.value
        ),
        *(f"{zone} is not watched" for zone in missed),
        *([] if loaded else ["the configuration is refused"]),
    ]


def _judge(report: Report) -> None:
    warm = [each for each in report.samples if each.at_seconds >= report.seconds * WARM_UP_SHARE]
    report.courses = courses(warm)
    if report.seconds >= SLOPE_SECONDS:
        report.problems += grown(report.courses, BOUNDS)
    if any(each.rss > MAX_RSS for each in report.samples):
        report.problems.append(f"it took more than {MAX_RSS / MIB:.0f} MiB of memory")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it and print what was seen; exit status 1 when something did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=1200.0, help="how long (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6, help="of all that is random")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write samples and findings there")
    options = parser.parse_args(arguments)
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        report = run(Path(directory), seconds=options.seconds, seed=options.seed)
    print(report.table())
    if options.json:
        options.json.write_text(json.dumps(asdict(report), indent=1, default=str))
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
