"""How the log looks: one event per line on standard error, as logfmt or JSON.

What libraries log through the standard library comes out in the same form. The event name is constant and
the particulars are fields, so lines can be counted; text from DNS arrives here already escaped.
"""

import enum
import logging
import sys
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


def configure_logging(*, level: LogLevel, form: LogFormat) -> None:
    """Send every line of this process, ours and the libraries', to standard error in one form."""
    import structlog  # noqa: PLC0415 (it is slow to import, and `--version` logs nothing)

    shared: list[Processor] = [
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        structlog.stdlib.add_log_level,
        structlog.processors.format_exc_info,
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
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
    root.handlers = [handler]
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
