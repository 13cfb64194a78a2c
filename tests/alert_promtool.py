"""Cases of the alert rules, and promtool to tell what fires in them.

All cases of one resolution are one run of `promtool test rules`, for starting costs, in as few tests as its
limit of samples allows. They end together and stay apart as vantage points do, by `job`: a case that reached
into another would be a bug of the rules. promtool is told to expect no alert at all; it then prints those
that do fire, with their labels and annotations as rendered, which are compared here.
"""

import itertools
import json
import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import yaml

from tests.alert_worlds import Phase, Timeline, history
from tests.services import RULES

GROUPS: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"]
ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule
}
RECORDED: dict[str, str] = {
    rule["record"]: rule["expr"] for group in GROUPS for rule in group["rules"] if "record" in rule
}
READ = set(re.findall(r"\b(?:kms_\w+|process_\w+|up)\b", RULES.read_text()))
CASES_PER_TEST = 200
"""promtool evaluates no expression that reads more than 10,000 samples."""
BUDGET = {"KmsZoneErrorBudgetBurningFast", "KmsZoneErrorBudgetBurningSlowly"}


class Pace(Enum):
    """How far apart scrapes and evaluations are, in minutes, and how many there are in a test."""

    MINUTES = (1, 96)
    TENS = (10, 161)
    HOURS = (60, 175)

    @property
    def minutes(self) -> int:
        """The time from one scrape to the next."""
        return self.value[0]

    @property
    def scrapes(self) -> int:
        """The length of a test."""
        return self.value[1]


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert that fires: its name, the labels that tell it from others, and its description.

    `{job}` in the description stands for the vantage point. None where another case is about the description.
    """

    name: str
    labels: Mapping[str, str]
    description: str | None = None


def fires(name: str, description: str | None = None, **labels: str) -> Alert:
    """Expect an alert; `view` in the labels is that of one of the case's timelines."""
    return Alert(name, labels, description)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What exporters went through, and the alerts that fire in the end: these and no others.

    Of the alerts in `either` one fires, whichever. The alerts about error budgets are left aside, unless
    `budget` says that they are of interest too: an outage of minutes is much to a zone that is known for as
    long.
    """

    about: str
    timelines: tuple[Timeline, ...]
    alerts: tuple[Alert, ...] = ()
    either: tuple[Alert, ...] = ()
    pace: Pace = Pace.MINUTES
    budget: bool = False

    @property
    def job(self) -> str:
        """The name of the case, fit to be a label and a part of a URL."""
        return re.sub(r"[^a-z0-9]+", "-", self.about.lower()).strip("-")


def case(about: str, *phases: Phase | Timeline, alerts: Iterable[Alert] = (), **fields: Any) -> Case:
    """Build a case of one exporter from phases, or of several from timelines."""
    timelines = tuple(each for each in phases if isinstance(each, Timeline))
    own = tuple(each for each in phases if isinstance(each, Phase))
    return Case(about=about, timelines=timelines or (Timeline(own),), alerts=tuple(alerts), **fields)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The alerts that fire in a case, each with labels and annotations."""

    labels: frozenset[tuple[str, str]]
    annotations: Mapping[str, str] = field(compare=False)

    @property
    def name(self) -> str:
        """The name of the alert."""
        return dict(self.labels)["alertname"]


# --- promtool


@dataclass(frozen=True, slots=True)
class Run:
    """What promtool says: the alerts that fire, and the recorded series that name an instance or no job.

    `shown` are the metrics that it was given, with their labels.
    """

    alerts: list[Outcome]
    with_instance: list[str]
    shown: Mapping[str, set[str]]


NEITHER = 'count by (__name__) ({__name__=~".+:.+:.+", instance!=""} or {__name__=~".+:.+:.+", job=""})'


def evaluate(directory: Path, pace: Pace, cases: Iterable[Case]) -> Run:
    """Let promtool tell what there is at the end of the cases."""
    series = [_series(each, pace) for each in cases]
    batches = (series[first : first + CASES_PER_TEST] for first in range(0, len(series), CASES_PER_TEST))
    tests = [_test([*itertools.chain.from_iterable(batch)], pace) for batch in batches]
    printed = run_promtool(directory, pace.minutes, *tests)
    assert "err:" not in printed, printed
    unwanted = re.findall(r"^ *expr: .*(?:\n.*)*?got: *.*$", printed, re.MULTILINE)
    shown: dict[str, set[str]] = {}
    for each in itertools.chain.from_iterable(series):
        name, _, labels = each["series"].partition("{")
        shown.setdefault(name, set()).update(label for label, _ in _PAIR.findall(labels))
    return Run(list(_alerts(printed)), unwanted, shown)


def _series(case: Case, pace: Pace) -> list[dict[str, str]]:
    """Give the series of a case that rules read."""
    return [
        {"series": name, "values": values}
        for timeline in case.timelines
        for name, values in history(
            timeline, job=case.job + timeline.view, scrapes=pace.scrapes, seconds=pace.minutes * 60
        )
        if name.partition("{")[0] in READ
    ]


def _test(series: list[dict[str, str]], pace: Pace) -> dict[str, Any]:
    """Ask for all that there is at the end."""
    end = f"{(pace.scrapes - 1) * pace.minutes}m"
    return {
        "interval": f"{pace.minutes}m",
        "input_series": series,
        "alert_rule_test": [{"eval_time": end, "alertname": name, "exp_alerts": []} for name in ALERTS],
        "promql_expr_test": [{"eval_time": end, "expr": NEITHER, "exp_samples": []}],
    }


def run_promtool(directory: Path, minutes: int, *tests: Mapping[str, Any], rules: Path = RULES) -> str:
    """Run tests of the rules with promtool, evaluating every so many minutes, and give what it prints."""
    file = directory / "test.yml"
    groups = yaml.safe_load(rules.read_text())["groups"]
    content = {
        "rule_files": [str(rules)],
        "evaluation_interval": f"{minutes}m",
        "group_eval_order": [group["name"] for group in groups],
        "tests": [*tests],
    }
    file.write_text(yaml.dump(content, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper)))
    done = subprocess.run(
        ["promtool", "test", "rules", str(file)],
        env=os.environ | {"GOGC": "400"},  # memory for time: less garbage collection takes a third off
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    return done.stdout + done.stderr


_PAIR = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')


def _alerts(printed: str) -> Iterator[Outcome]:
    """Read the alerts out of what promtool prints of those that it got."""
    found = re.findall(r"^ *Labels:\{(.*)\}\n *Annotations:\{(.*)\},?$", printed, re.MULTILINE)
    assert len(found) == printed.count("Labels:{")
    for labels, annotations in found:
        yield Outcome(frozenset(_pairs(labels).items()), _pairs(annotations))


def _pairs(text: str) -> dict[str, str]:
    return {key: json.loads(f'"{value}"') for key, value in _PAIR.findall(text)}


# --- What is expected


def outcome(expected: Alert, job: str) -> Outcome:
    """Give an alert with all its labels, and with its annotations as they should be rendered."""
    rule = ALERTS[expected.name]
    own = dict(expected.labels)
    labels = {"alertname": expected.name, "job": job + own.pop("view", "")} | rule["labels"] | own
    annotations = {
        name: expand(text, labels) for name, text in rule["annotations"].items() if name != "description"
    }
    if expected.description is not None:
        annotations["description"] = expected.description.format(job=labels["job"])
    return Outcome(frozenset(labels.items()), annotations)


def expand(template: str, labels: Mapping[str, str]) -> str:
    """Expand `{{ $labels.name | urlquery }}`, the only template that is used outside descriptions."""
    return re.sub(
        r"\{\{ \$labels\.(\w+) \| urlquery \}\}", lambda match: quote_plus(labels.get(match[1], "")), template
    )
