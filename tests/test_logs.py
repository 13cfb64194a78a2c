"""Tests of how the log looks, whatever is logged and whoever logs it."""

import json
import logging
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.logs import LogFormat, LogLevel, configure_logging

HOSTILE = [
    "two words",
    "a=b",
    'say "hello"',
    "back\\slash and more",
    "\\",
    '"',
    "",
    "first\nts=now level=info event=forged",
    "carriage\rreturn",
    "crlf\r\n",
    "tab\tand\vmore\f",
    "nul\x00bell\x07",
    "\x1b[31mred\x1b[0m",
    "next\x85line",
    "line\u2028and\u2029paragraph",
    "no-break\xa0space",
    "überflüssig \N{SNOWMAN}",
    "\udcff",
    '{"event": "forged"}',
    "%s %d {0}",
]
PAIR = re.compile(r"""([a-z_]+)=("(?:[^"\\]|\\.)*"|[^\s"=]*)""")


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Leave logging as it was before the test."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    structlog.reset_defaults()
    root.handlers, root.level = handlers, level
    root.setLevel(level)


def fields_of(line: str) -> dict[str, str]:
    """Take a logfmt line apart; nothing may be left over."""
    pairs = [match.groups() for match in PAIR.finditer(line)]
    assert " ".join(f"{key}={value}" for key, value in pairs) == line
    assert len({key for key, _ in pairs}) == len(pairs)
    return {key: value.removeprefix('"').removesuffix('"') for key, value in pairs}


def logged(
    capsys: pytest.CaptureFixture[str], form: LogFormat, event: str, **fields: Any
) -> tuple[str, list[str]]:
    """Log one warning, and give what was written, and its lines."""
    configure_logging(level=LogLevel.INFO, form=form)
    structlog.get_logger("exporter").warning(event, **fields)
    written = capsys.readouterr()
    assert written.out == ""
    return written.err, written.err.splitlines()


@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_value_in_logfmt(capsys: pytest.CaptureFixture[str], value: str) -> None:
    """A value of any kind is one field of one line of logfmt, and forges no other."""
    text, lines = logged(capsys, LogFormat.LOGFMT, "endpoint down", target=value, port=1688)
    assert len(lines) == 1
    assert text == f"{lines[0]}\n"
    fields = fields_of(lines[0])
    assert list(fields) == ["ts", "level", "event", "target", "port"]
    assert (fields["level"], fields["event"], fields["port"]) == ("warning", "endpoint down", "1688")


@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_value_in_json(capsys: pytest.CaptureFixture[str], value: str) -> None:
    """A value of any kind comes out of a line of JSON as it went in."""
    _, (line,) = logged(capsys, LogFormat.JSON, "endpoint down", target=value, port=1688)
    fields = json.loads(line)
    assert fields.pop("ts")
    assert fields == {"level": "warning", "event": "endpoint down", "target": value, "port": 1688}


@settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(event=st.text(min_size=1), value=st.text(), form=st.sampled_from(LogFormat))
def test_any_text(capsys: pytest.CaptureFixture[str], event: str, value: str, form: LogFormat) -> None:
    """Whatever text is logged, it is one printable line."""
    text, lines = logged(capsys, form, event, target=value)
    assert len(lines) == 1
    assert text.removesuffix("\n").isprintable() or form is LogFormat.JSON
    (fields_of if form is LogFormat.LOGFMT else json.loads)(lines[0])


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("contoso.test", "contoso.test"),
        ("two words", '"two words"'),
        ('a "b"\nc', r'"a \"b\"\nc"'),
        ("a\rb c", r'"a\rb c"'),
        ("\x1b[31m", r"\x1b[31m"),
        (r"a\b c", r'"a\\b c"'),
        (1.5, "1.5"),
    ],
)
def test_logfmt(capsys: pytest.CaptureFixture[str], value: object, shown: str) -> None:
    """Values in logfmt are quoted where they need it, and control characters are escaped."""
    text, _ = logged(capsys, LogFormat.LOGFMT, "event", value=value)
    assert text.endswith(f" level=warning event=event value={shown}\n")


@pytest.mark.parametrize("form", LogFormat)
def test_empty_field(capsys: pytest.CaptureFixture[str], form: LogFormat) -> None:
    """A field without a value is left out."""
    _, (line,) = logged(capsys, form, "event", reason=None, port=0)
    assert "reason" not in line
    assert "port" in line


@pytest.mark.parametrize("form", LogFormat)
def test_time(capsys: pytest.CaptureFixture[str], form: LogFormat) -> None:
    """Every line has its time, in UTC."""
    before = datetime.now(tz=UTC)
    _, (line,) = logged(capsys, form, "event")
    fields = json.loads(line) if form is LogFormat.JSON else fields_of(line)
    assert before <= datetime.fromisoformat(fields["ts"]) <= datetime.now(tz=UTC)


def _raise() -> None:
    message = 'a "bug"\nts=now event=forged'
    raise RuntimeError(message)


@pytest.mark.parametrize("form", LogFormat)
@pytest.mark.parametrize("ours", [True, False], ids=["ours", "a library's"])
def test_traceback(capsys: pytest.CaptureFixture[str], form: LogFormat, ours: bool) -> None:  # noqa: FBT001
    """A traceback is one field of one line, whoever logs it."""
    configure_logging(level=LogLevel.INFO, form=form)
    logger = structlog.get_logger("exporter") if ours else logging.getLogger("asyncio")
    try:
        _raise()
    except RuntimeError:
        logger.exception("internal error")
    (line,) = capsys.readouterr().err.splitlines()
    fields = json.loads(line) if form is LogFormat.JSON else fields_of(line)
    assert set(fields) == {"ts", "level", "event", "exception"}
    assert (fields["level"], fields["event"]) == ("error", "internal error")
    assert fields["exception"].startswith("Traceback (most recent call last):")
    assert "RuntimeError: a " in fields["exception"]


@pytest.mark.parametrize("form", LogFormat)
def test_library(capsys: pytest.CaptureFixture[str], form: LogFormat) -> None:
    """What a library logs comes out in the same form, its arguments put in."""
    configure_logging(level=LogLevel.INFO, form=form)
    logging.getLogger("asyncio").warning("%s took %.1f s\n%s", "a task", 1.5, "too long", extra={"a b": 1})
    (line,) = capsys.readouterr().err.splitlines()
    fields = json.loads(line) if form is LogFormat.JSON else fields_of(line)
    assert set(fields) == {"ts", "level", "event"}
    assert fields["level"] == "warning"
    assert fields["event"].startswith("a task took 1.5 s")


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        (LogLevel.DEBUG, ["debug", "info", "warning", "error"]),
        (LogLevel.INFO, ["info", "warning", "error"]),
        (LogLevel.WARN, ["warning", "error"]),
        (LogLevel.ERROR, ["error"]),
    ],
)
@pytest.mark.parametrize("form", LogFormat)
def test_level(
    capsys: pytest.CaptureFixture[str], form: LogFormat, level: LogLevel, shown: list[str]
) -> None:
    """Lines below the level are not written, be they ours or a library's."""
    configure_logging(level=level, form=form)
    for logger in (structlog.get_logger("exporter"), logging.getLogger("asyncio")):
        for method in (logger.debug, logger.info, logger.warning, logger.error):
            method("event")
    lines = capsys.readouterr().err.splitlines()
    parse = json.loads if form is LogFormat.JSON else fields_of
    assert [parse(line)["level"] for line in lines] == [*shown, *shown]


def test_configured_twice(capsys: pytest.CaptureFixture[str]) -> None:
    """To configure the log again replaces its form and doubles no line."""
    configure_logging(level=LogLevel.INFO, form=LogFormat.LOGFMT)
    _, (line,) = logged(capsys, LogFormat.JSON, "event")
    assert json.loads(line)["event"] == "event"
