"""Tests of how the log looks, whatever is logged and whoever logs it."""

import contextlib
import fcntl
import json
import logging
import os
import re
import select
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.logs import LineWriter, LogFormat, LogLevel, configure_logging
from tests.services import wait_until

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
    """Leave logging as it was before the test, and no thread of it."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in root.handlers:
        if isinstance(handler, LineWriter):
            handler.close()
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
    capfd: pytest.CaptureFixture[str], form: LogFormat, event: str, **fields: Any
) -> tuple[str, list[str]]:
    """Log one warning, and give what was written, and its lines."""
    writer = configure_logging(level=LogLevel.INFO, form=form)
    structlog.get_logger("exporter").warning(event, **fields)
    writer.close()
    written = capfd.readouterr()
    assert written.out == ""
    return written.err, written.err.splitlines()


@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_value_in_logfmt(capfd: pytest.CaptureFixture[str], value: str) -> None:
    """A value of any kind is one field of one line of logfmt, and forges no other."""
    text, lines = logged(capfd, LogFormat.LOGFMT, "endpoint down", target=value, port=1688)
    assert len(lines) == 1
    assert text == f"{lines[0]}\n"
    fields = fields_of(lines[0])
    assert list(fields) == ["ts", "level", "event", "target", "port"]
    assert (fields["level"], fields["event"], fields["port"]) == ("warning", "endpoint down", "1688")


@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_value_in_json(capfd: pytest.CaptureFixture[str], value: str) -> None:
    """A value of any kind comes out of a line of JSON as it went in."""
    _, (line,) = logged(capfd, LogFormat.JSON, "endpoint down", target=value, port=1688)
    fields = json.loads(line)
    assert fields.pop("ts")
    assert fields == {"level": "warning", "event": "endpoint down", "target": value, "port": 1688}


@settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(event=st.text(min_size=1), value=st.text(), form=st.sampled_from(LogFormat))
def test_any_text(capfd: pytest.CaptureFixture[str], event: str, value: str, form: LogFormat) -> None:
    """Whatever text is logged, it is one printable line."""
    text, lines = logged(capfd, form, event, target=value)
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
def test_logfmt(capfd: pytest.CaptureFixture[str], value: object, shown: str) -> None:
    """Values in logfmt are quoted where they need it, and control characters are escaped."""
    text, _ = logged(capfd, LogFormat.LOGFMT, "event", value=value)
    assert text.endswith(f" level=warning event=event value={shown}\n")


@pytest.mark.parametrize("form", LogFormat)
def test_empty_field(capfd: pytest.CaptureFixture[str], form: LogFormat) -> None:
    """A field without a value is left out."""
    _, (line,) = logged(capfd, form, "event", reason=None, port=0)
    assert "reason" not in line
    assert "port" in line


@pytest.mark.parametrize("form", LogFormat)
def test_time(capfd: pytest.CaptureFixture[str], form: LogFormat) -> None:
    """Every line has its time, in UTC."""
    before = datetime.now(tz=UTC)
    _, (line,) = logged(capfd, form, "event")
    fields = json.loads(line) if form is LogFormat.JSON else fields_of(line)
    assert before <= datetime.fromisoformat(fields["ts"]) <= datetime.now(tz=UTC)


def _raise() -> None:
    message = 'a "bug"\nts=now event=forged'
    raise RuntimeError(message)


@pytest.mark.parametrize("form", LogFormat)
@pytest.mark.parametrize("ours", [True, False], ids=["ours", "a library's"])
def test_traceback(capfd: pytest.CaptureFixture[str], form: LogFormat, ours: bool) -> None:  # noqa: FBT001
    """A traceback is one field of one line, whoever logs it."""
    writer = configure_logging(level=LogLevel.INFO, form=form)
    logger = structlog.get_logger("exporter") if ours else logging.getLogger("asyncio")
    try:
        _raise()
    except RuntimeError:
        logger.exception("internal error")
    writer.close()
    (line,) = capfd.readouterr().err.splitlines()
    fields = json.loads(line) if form is LogFormat.JSON else fields_of(line)
    assert set(fields) == {"ts", "level", "event", "exception"}
    assert (fields["level"], fields["event"]) == ("error", "internal error")
    assert fields["exception"].startswith("Traceback (most recent call last):")
    assert "RuntimeError: a " in fields["exception"]


@pytest.mark.parametrize("form", LogFormat)
def test_library(capfd: pytest.CaptureFixture[str], form: LogFormat) -> None:
    """What a library logs comes out in the same form, its arguments put in."""
    writer = configure_logging(level=LogLevel.INFO, form=form)
    logging.getLogger("asyncio").warning("%s took %.1f s\n%s", "a task", 1.5, "too long", extra={"a b": 1})
    writer.close()
    (line,) = capfd.readouterr().err.splitlines()
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
def test_level(capfd: pytest.CaptureFixture[str], form: LogFormat, level: LogLevel, shown: list[str]) -> None:
    """Lines below the level are not written, be they ours or a library's."""
    writer = configure_logging(level=level, form=form)
    for logger in (structlog.get_logger("exporter"), logging.getLogger("asyncio")):
        for method in (logger.debug, logger.info, logger.warning, logger.error):
            method("event")
    writer.close()
    lines = capfd.readouterr().err.splitlines()
    parse = json.loads if form is LogFormat.JSON else fields_of
    assert [parse(line)["level"] for line in lines] == [*shown, *shown]


def test_configured_twice(capfd: pytest.CaptureFixture[str]) -> None:
    """To configure the log again replaces its form and doubles no line."""
    configure_logging(level=LogLevel.INFO, form=LogFormat.LOGFMT).close()
    _, (line,) = logged(capfd, LogFormat.JSON, "event")
    assert json.loads(line)["event"] == "event"


# --- Nobody waits for whoever reads


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Make a pipe that holds a page and no more, the ends for reading and for writing."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    yield reading, writing
    for end in (reading, writing):
        with contextlib.suppress(OSError):  # closed by the test
            os.close(end)


def use(writer: LineWriter) -> logging.Logger:
    """Log through a writer, every line as it is."""
    root = logging.getLogger()
    root.handlers = [writer]
    root.setLevel(logging.INFO)
    structlog.configure(
        processors=[structlog.stdlib.render_to_log_kwargs], logger_factory=structlog.stdlib.LoggerFactory()
    )
    writer.setFormatter(logging.Formatter("%(message)s %(lines)s", defaults={"lines": ""}))
    return logging.getLogger("exporter")


def drain(reading: int) -> list[str]:
    """Read all lines up to the end."""
    with os.fdopen(os.dup(reading)) as lines:
        return [line.strip() for line in lines]


def test_reader_that_does_not_read(pipe: tuple[int, int]) -> None:
    """Whoever logs goes on when nobody reads; what found no room is counted, and told when there is room."""
    reading, writing = pipe
    writer = LineWriter(writing, room_bytes=10_000)
    log = use(writer)
    for number in range(1000):
        log.info("%d %s", number, "x" * 1000)
    assert writer.dropped >= 1000 - 10 - 5  # ten lines wait, the pipe holds four, and the thread has one
    dropped = writer.dropped
    with ThreadPoolExecutor(1) as reader:
        lines = reader.submit(drain, reading)
        writer.close()
        os.close(writing)
        *written, told = lines.result()
    numbers = [int(line.split()[0]) for line in written]
    assert numbers == sorted(numbers)
    assert len(numbers) == 1000 - dropped
    assert told == f"log lines dropped {dropped}"


def test_end_without_a_reader(pipe: tuple[int, int]) -> None:
    """The end waits for lines to be written for a while only, and does not hang."""
    reading, writing = pipe
    others = set(threading.enumerate())
    writer = LineWriter(writing)
    log = use(writer)
    for _ in range(100):
        log.info("x" * 1000)
    writer.close()
    assert writer.dropped == 0, "they wait still"
    os.close(reading)  # else its thread would go on to write, to whatever has that number by then
    wait_until(lambda: set(threading.enumerate()) <= others or None, "the thread has ended")


@pytest.mark.parametrize("how", ["gone", "full"])
def test_lines_that_cannot_be_written(pipe: tuple[int, int], how: str) -> None:
    """A reader that has gone, or a full disk, costs the lines, and no more."""
    if how == "gone":
        os.close(pipe[0])
    writing = pipe[1] if how == "gone" else os.open("/dev/full", os.O_WRONLY)
    writer = LineWriter(writing)
    log = use(writer)
    for _ in range(3):
        log.info("event")
    writer.close()
    assert writer.dropped == 3


def test_pipe_that_does_not_block(pipe: tuple[int, int]) -> None:
    """A pipe that somebody else has set not to block loses no line either."""
    reading, writing = pipe
    os.set_blocking(writing, False)
    writer = LineWriter(writing)
    log = use(writer)
    for number in range(100):
        log.info("%d %s", number, "x" * 200)
    assert wait_until(lambda: select.select([reading], [], [], 0)[0] or None, "something is written")
    with ThreadPoolExecutor(1) as reader:
        lines = reader.submit(drain, reading)
        writer.close()
        os.close(writing)
        assert [int(line.split()[0]) for line in lines.result()] == list(range(100))
    assert writer.dropped == 0


def test_no_memory_to_write(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """What the writer itself meets costs a line, and not those that come after it."""
    reading, writing = pipe
    write, failures = os.write, [MemoryError()]

    def write_in_the_end(descriptor: int, data: bytes) -> int:
        if failures:
            raise failures.pop()
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", write_in_the_end)
    writer = LineWriter(writing)
    log = use(writer)
    for number in range(3):
        log.info("%d", number)
    writer.close()
    os.close(writing)
    assert drain(reading)[:2] == ["1", "2"]
    assert writer.dropped == 1


def test_line_that_has_no_text(pipe: tuple[int, int]) -> None:
    """A line that cannot be formatted is dropped, and the next is written."""
    reading, writing = pipe
    writer = LineWriter(writing)
    log = use(writer)
    log.info("%d", "no number")
    log.info("event")
    writer.close()
    os.close(writing)
    assert drain(reading) == ["event", "log lines dropped 1"]
    assert writer.dropped == 1


def test_closed_standard_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where standard error is closed, its number may be that of any file, and nothing is written there."""
    innocent = tmp_path / "innocent"
    with innocent.open("w") as file, monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", None)
        patched.setattr("exporter.logs._STANDARD_ERROR", file.fileno())
        writer = configure_logging(level=LogLevel.INFO, form=LogFormat.LOGFMT)
        structlog.get_logger("exporter").warning("event")
        writer.close()
    assert innocent.read_text() == ""
    assert writer.dropped == 0
