"""PromQL for states as numbers, which are those of `words`, and for timelines with the worst rows first."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence

from exporter.diagnosis import Verdict
from exporter.model import LookupStatus
from grafana.source.queries import (
    END,
    RANGE,
    ZONE,
    ZONE_SERVER,
    Choice,
    Query,
    all_series,
    alternatives,
    largest,
    of_exporter,
    of_servers,
    of_zone_servers,
    on,
)
from grafana.source.selections import none_expected
from grafana.source.words import FAILED, FAILURES, STATUSES, TROUBLE, VERDICTS, Vocabulary, Word

State = Callable[[str], str]
"""Gives the expression of a state's number; the argument is a modifier for each selector in it."""

USABLE = alternatives("status", (status for status in LookupStatus if status.usable))
UNSERVED = alternatives("verdict", (verdict for verdict, word in VERDICTS.items() if word.number >= FAILED))
_MISSING = (Verdict.SRV_MISSING, Verdict.SRV_DECLINED)


def _numbers(label: str, words: Mapping[Vocabulary, Word]) -> str:
    """Give a vector with the number of every word, for a join by the label that has the word.

    Prometheus evaluates it once for a graph, so the cost is that of one join, however many words there are.
    """
    vectors = [
        f'label_replace(vector({word.number}), "{label}", "{state}", "", "")' for state, word in words.items()
    ]
    return f"{on((label,))} group_left () (\n  " + "\n  or ".join(vectors) + "\n)"


def zone_verdict(labels: Sequence[str]) -> State:
    """Give the verdict of a zone at a DNS server; with fewer labels, the worst of several.

    Where nothing is expected, that there is no record has the number 1, which is that of NONE_EXPECTED.
    """

    def state(at: str) -> str:
        missing = of_zone_servers("kms_client_verdict", alternatives("verdict", _MISSING)) + at
        as_expected = largest(ZONE_SERVER, f"{missing} == 1 and {on(ZONE)} {none_expected(at)}")
        numbers = largest(ZONE_SERVER, verdict_numbers(at))
        both = f"(\n{as_expected}\nor {numbers}\n)"
        return both if labels == ZONE_SERVER else largest(labels, both)

    return state


def verdict_numbers(at: str = "") -> str:
    """Give the number of what each exporter sees in a zone at a DNS server."""
    return f"({of_zone_servers('kms_client_verdict')}{at} == 1) * {_numbers('verdict', VERDICTS)}"


def zone_had_trouble() -> str:
    """Select the zones and DNS servers whose verdict was trouble at any time of the range.

    Says what the numbers of `zone_verdict` would say, from far fewer samples; where nothing is expected, by
    what is expected at the end of the range.
    """
    trouble = [verdict for verdict, word in VERDICTS.items() if word.number >= TROUBLE]
    missing = f"{_ever(_MISSING)} unless {on(ZONE)} {none_expected(END)}"
    return f"({_ever(verdict for verdict in trouble if verdict not in _MISSING)} or {missing})"


def _ever(verdicts: Iterable[Verdict]) -> str:
    selected = of_zone_servers("kms_client_verdict", alternatives("verdict", verdicts))
    return largest(ZONE_SERVER, f"max_over_time({selected}[$__range]{END}) == 1")


def other_verdict(metric: str, labels: Sequence[str]) -> State:
    """Give the verdict of a static host or of a kind of client."""
    return lambda at: largest(labels, f"({of_servers(metric)}{at} == 1) * {_numbers('verdict', VERDICTS)}")


def lookup_status(labels: Sequence[str]) -> State:
    """Give the outcome of the last lookup of a zone at a DNS server."""

    def state(at: str) -> str:
        current = f"({of_zone_servers('kms_srv_lookup_status')}{at} == 1)"
        return largest(labels, f"{current} * {_numbers('status', STATUSES)}")

    return state


def endpoint_state(labels: Sequence[str]) -> State:
    """Give why an endpoint is not up, 0 if it is."""

    def state(at: str) -> str:
        failed = f"{of_exporter('kms_endpoint_failure')}{at} * {_numbers('reason', FAILURES)}"
        return largest(labels, f"\n{failed}\nor 0 * {of_exporter('kms_endpoint_up')}{at}\n")

    return state


def worst_rows_first(
    state: State, legend: str, *thresholds: int, choice: Choice = all_series, ever: str = ""
) -> list[Query]:
    """Give one query for each part of a timeline, which shows them one below the other.

    First the rows whose number is at least the first threshold at the end of the range, then those at least
    at the next one, and so on; then those that were at least at the last one at any time of the range, which
    `ever` selects where there is a cheaper way; then all others.
    """
    rows = state("")
    now = state(END)
    ever = ever or f"max_over_time(({rows}){RANGE}{END}) >= {thresholds[-1]}"
    floors = [f"({now} >= {threshold})" for threshold in thresholds]
    chosen = choice(rows)
    parts = [
        *(f"{chosen}\nand {floor}" for floor in floors[:1]),
        *(f"{chosen}\nand {low}\nunless {high}" for high, low in itertools.pairwise(floors)),
        f"{chosen}\nand ({ever})\nunless {floors[-1]}",
        f"{chosen}\nunless ({ever})\nunless {floors[-1]}",
    ]
    return [Query(expr=part, legend=legend) for part in parts]
