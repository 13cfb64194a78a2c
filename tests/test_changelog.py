"""Tests of how much of what changes gets into the log."""

import pytest
from structlog.testing import capture_logs

from exporter.changelog import LINES_EARNED, LINES_PER_CHECK, LINES_SAVED, ChangeLog
from exporter.state import Change


def changes(count: int, *, good: bool = False) -> list[Change]:
    """Build some changes."""
    return [Change(event="changed", good=good, fields={"number": number}) for number in range(count)]


def written(log: ChangeLog, *checks: list[Change]) -> list[list[str]]:
    """Tell the lines of each check: the level, with the count where it is the one for the rest."""
    found = []
    for check in checks:
        with capture_logs() as lines:
            log.write(check)
        assert all(line["check"] == "contoso.test" for line in lines if line["event"] == "more changes")
        found.append([f"{line['log_level']}{line.get('count', '')}" for line in lines])
    return found


@pytest.mark.parametrize("count", [0, 1, LINES_PER_CHECK])
def test_everything_is_written(count: int) -> None:
    """A usual number of changes is logged whole, a warning for each one for the worse."""
    assert written(ChangeLog("contoso.test"), changes(count)) == [["warning"] * count]


def test_the_rest_is_counted() -> None:
    """Of many changes at once those for the worse are logged first, and the rest is one line with a count."""
    mixed = changes(30, good=True) + changes(10)
    [lines] = written(ChangeLog("contoso.test"), mixed)
    assert lines == ["warning"] * 10 + ["info"] * 10 + ["info20"]


def test_the_count_is_a_warning_where_it_hides_one() -> None:
    """Where what is only counted has a change for the worse in it, the count is a warning too."""
    [lines] = written(ChangeLog("contoso.test"), changes(25))
    assert lines[-1] == "warning5"


def test_what_changes_all_the_time_gets_quiet() -> None:
    """A zone that changes at every check has few lines for it in the end, and more again after some peace."""
    log = ChangeLog("contoso.test")
    lines = written(log, *[changes(128)] * 20)
    assert [len(each) for each in lines[:3]] == [LINES_PER_CHECK + 1] * 3
    assert {len(each) for each in lines[5:]} == {LINES_EARNED + 1}
    assert lines[-1][-1] == f"warning{128 - LINES_EARNED}"
    written(log, *[[]] * (LINES_SAVED // LINES_EARNED))
    assert len(written(log, changes(128))[0]) == LINES_PER_CHECK + 1


def test_a_host_that_flaps_is_seen() -> None:
    """A few changes at every check are logged for ever."""
    lines = written(ChangeLog("contoso.test"), *[changes(LINES_EARNED)] * 500)
    assert lines == [["warning"] * LINES_EARNED] * 500
