"""How the log looks: one event per line on standard error, as logfmt or JSON.

What libraries log through the standard library comes out in the same form. The event name is constant and
the particulars are fields, so lines can be counted; text from DNS arrives here already escaped.

Whoever logs never waits for whoever reads: lines go through a bounded queue to a thread that writes them. A
pipe that nobody empties, a full disk or a reader that has gone cost lines, which are counted, and no more.
"""

import enum
import logging
import os
import queue
import select
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger


class LogFormat(enum.StrEnum):
    """The forms that a line can take."""

    LOGFMT = "logfmt"
    JSON = "json"


class LogLevel(enum.StrEnum):
    """The least important line that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"


_LEVELS = {
    LogLevel.DEBUG: logging.DEBUG,
    LogLevel.INFO: logging.INFO,
    LogLevel.WARN: logging.WARNING,
    LogLevel.ERROR: logging.ERROR,
}


_STANDARD_ERROR = 2
_ROOM_BYTES = 1024 * 1024
_LAST_WORDS_SECONDS = 2.0


class LineWriter(logging.Handler):
    """Writes lines to a file descriptor in a thread of its own, in the order in which they were logged.

    While lines of `room_bytes` or more wait, others are dropped, and so are those that cannot be written. A
    line tells how many, as soon as none waits any more.
    """

    def __init__(self, descriptor: int, *, room_bytes: int = _ROOM_BYTES) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._room_bytes = room_bytes
        self._refused = self._taken_bytes = 0  # counted under the lock of the handler
        self._unwritten = self._done_bytes = 0  # counted in the thread alone
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="log", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """How many lines were logged and never written."""
        return self._refused + self._unwritten

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line for the thread to write, if there is room for it."""
        is_full = self._taken_bytes - self._done_bytes >= self._room_bytes
        if is_full and threading.current_thread() is not self._thread:
            self._refused += 1
            return
        try:
            line = f"{self.format(record)}\n".encode(errors="backslashreplace")
            self._taken_bytes += len(line)
            self._lines.put(line)
        except Exception:  # noqa: BLE001 (what is logged must not be the end of whoever logs it)
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802 (the name is inherited)
        """Count a line that has no text; what the standard library does here may block."""
        self._refused += 1

    def close(self) -> None:
        """Write what is left, as far as that is possible within 2 s; at exit logging does this by itself."""
        self._lines.put(None)
        self._thread.join(_LAST_WORDS_SECONDS)
        super().close()

    def _work(self) -> None:
        import structlog  # noqa: PLC0415 (it is slow to import, and whoever has a writer has imported it)

        log, told = structlog.get_logger(__name__), 0
        closing, works = False, True
        while not (closing and self._lines.empty()):
            try:
                line = self._lines.get()
                if line is None:
                    closing = True
                else:
                    works = self._write(line)
                    self._done_bytes += len(line)
                missing = self.dropped - told
                if missing and works and self._lines.empty():
                    told += missing
                    log.warning("log lines dropped", lines=missing)
            except Exception:  # noqa: BLE001 (no memory, say; there is nowhere to tell, but lines will come)
                self._unwritten += 1

    def _write(self, line: bytes) -> bool:
        try:
            while line:
                try:
                    line = line[os.write(self._descriptor, line) :]
                except BlockingIOError:  # whoever has the other end may have made it so
                    writable = select.poll()
                    writable.register(self._descriptor, select.POLLOUT)
                    writable.poll()
        except OSError:
            self._unwritten += 1
            return False
        return True


def configure_logging(*, level: LogLevel, form: LogFormat) -> LineWriter:
    """Send every line of this process, ours and the libraries', to standard error in one form.

    Gives what writes them, which knows how many it had to drop.
    """
    import structlog  # noqa: PLC0415 (it is slow to import, and `--version` logs nothing)

    shared: list[Processor] = [
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        structlog.stdlib.add_log_level,
        structlog.processors.format_exc_info,
    ]
    writer = LineWriter(_standard_error())
    writer.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _without_empty_fields,
                _renderer(form),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [writer]
    root.setLevel(_LEVELS[level])
    # It logs a traceback for every malformed request; a bug of ours in a page is logged by the page.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    return writer


def _standard_error() -> int:
    """Find where to write; where standard error is closed, its number may soon be that of something else."""
    return os.open(os.devnull, os.O_WRONLY) if sys.stderr is None else _STANDARD_ERROR


def _renderer(form: LogFormat) -> "Processor":
    import structlog  # noqa: PLC0415 (as above)

    if form is LogFormat.JSON:
        return structlog.processors.JSONRenderer()
    render = structlog.processors.LogfmtRenderer(key_order=["ts", "level", "event"])
    return lambda logger, method, event: _printable(render(logger, method, event))


def _printable(line: str) -> str:
    """Escape what could break a line or fake another; the renderer does so only for a line feed."""
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in line)


def _without_empty_fields(_logger: "WrappedLogger", _method: str, event: "EventDict") -> "EventDict":
    return {key: value for key, value in event.items() if value is not None}
