"""Prints what Alertmanager sends to its webhooks, for a person at a terminal: `python receiver.py`.

It stands in the place of a mail server, a chat or a pager while one tries things out. This file and the
standard library are all it needs. The format is that of
https://prometheus.io/docs/alerting/latest/configuration/#webhook_config. What comes over the network is not
trusted: a request is bounded in size and time, and only printable characters reach the terminal.
"""

import argparse
import contextlib
import http
import json
import os
import signal
import sys
import textwrap
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

DEFAULT_LISTEN_ADDRESS = "127.0.0.1:5001"
MAX_BYTES = 4 << 20
"""Some thousand alerts of one notification."""
REQUEST_SECONDS = 10
WIDTH = 110
_FIRST_LABELS = ("dns_zone", "dns_server", "target", "port", "address", "client", "reason", "team", "site")
_IN_HEADING = ("alertname", "severity")
_TIME = "%Y-%m-%d %H:%M:%S"


class RefusedError(Exception):
    """A request that cannot be printed; the text says why, in a sentence."""

    def __init__(self, reason: str, status: http.HTTPStatus = http.HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert of a notification, as Alertmanager tells of it."""

    status: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    starts_at: str
    ends_at: str


# --- From bytes to alerts


def parse(body: bytes) -> list[Alert]:
    """Read a notification; raises RefusedError where it is none."""
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RefusedError("The body is not JSON.") from error
    alerts = message.get("alerts") if isinstance(message, dict) else None
    if not isinstance(alerts, list) or not alerts:
        raise RefusedError("The body is not a notification of Alertmanager: it has no list of alerts.")
    return [_alert(number, entry) for number, entry in enumerate(alerts, start=1)]


def _alert(number: int, entry: object) -> Alert:
    if not isinstance(entry, dict):
        raise RefusedError(f"Alert {number} is not an object.")
    return Alert(
        status=_text(number, entry, "status"),
        labels=_texts(number, entry, "labels"),
        annotations=_texts(number, entry, "annotations"),
        starts_at=_text(number, entry, "startsAt"),
        ends_at=_text(number, entry, "endsAt"),
    )


def _text(number: int, entry: Mapping[str, Any], key: str) -> str:
    value = entry.get(key, "")
    if not isinstance(value, str):
        raise RefusedError(f"{key} of alert {number} is not a text.")
    return value


def _texts(number: int, entry: Mapping[str, Any], key: str) -> dict[str, str]:
    value = entry.get(key, {})
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise RefusedError(f"{key} of alert {number} is not an object of texts.")
    return value


# --- From alerts to what a person reads


def render(receiver: str, alerts: Iterable[Alert], now: datetime) -> str:
    """Lay out a notification; alerts that differ in little more than their labels share a heading."""
    groups: dict[tuple[str, ...], list[Alert]] = {}
    for alert in alerts:
        groups.setdefault(_shared(alert), []).append(alert)
    return "".join(f"{_block(receiver, group, now)}\n" for group in groups.values())


def _shared(alert: Alert) -> tuple[str, ...]:
    labels, annotations = alert.labels, alert.annotations
    return (
        alert.status.upper(),
        labels.get("severity", ""),
        labels.get("alertname", ""),
        annotations.get("summary", ""),
        annotations.get("runbook_url", ""),
    )


def _block(receiver: str, alerts: Sequence[Alert], now: datetime) -> str:
    *heading, summary, runbook = _shared(alerts[0])
    words = (f"{now:{_TIME}}", f"{receiver}:", *heading)
    return "".join(
        [
            *_lines(0, " ".join(word for word in words if word)),
            *_lines(4, summary),
            *(line for alert in alerts for line in _details(alert, now)),
            *_link(4, "Runbook", runbook),
        ]
    )


def _details(alert: Alert, now: datetime) -> Iterator[str]:
    labels = " ".join(f"{label}={alert.labels[label]}" for label in _order(alert.labels))
    yield from _lines(4, ", ".join(part for part in (labels, _span(alert, now)) if part))
    yield from _lines(8, alert.annotations.get("description", ""))
    yield from _link(8, "Dashboard", alert.annotations.get("dashboard_url", ""))


def _order(labels: Mapping[str, str]) -> list[str]:
    first = [label for label in _FIRST_LABELS if label in labels]
    return first + sorted(labels.keys() - {*first, *_IN_HEADING})


def _span(alert: Alert, now: datetime) -> str:
    start, end = (_clock(time, now) for time in (alert.starts_at, alert.ends_at))
    return f"from {start} to {end}" if alert.status == "resolved" else f"since {start}"


def _clock(timestamp: str, now: datetime) -> str:
    """Give a time in the time zone of `now`; what cannot be understood stays as it is."""
    try:
        return f"{datetime.fromisoformat(timestamp).astimezone(now.tzinfo):{_TIME}}"
    except (ValueError, OverflowError):
        return timestamp


def _lines(indent: int, text: str) -> Iterator[str]:
    """Wrap a text, by words only: a name stays in one piece, so that it can be copied."""
    words = textwrap.TextWrapper(WIDTH - indent, break_long_words=False, break_on_hyphens=False)
    return (f"{' ' * indent}{line}\n" for line in words.wrap(printable(text)))


def _link(indent: int, name: str, url: str) -> Iterator[str]:
    """Give an address on a line of its own, so that it can be clicked."""
    if url:
        yield f"{' ' * indent}{name}: {printable(url)}\n"


def printable(text: str) -> str:
    """Put escapes in the place of what a terminal might act on, and single spaces between words."""
    spaced = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in spaced)


# --- HTTP


class Receiver(ThreadingHTTPServer):
    """The HTTP server. The path of a request is the name of the receiver in Alertmanager's configuration."""

    def __init__(self, host: str, port: int) -> None:
        self._printing = threading.Lock()
        super().__init__((host, port), _Handler)

    def show(self, text: str) -> None:
        """Print a notification in one piece."""
        with self._printing:
            sys.stdout.write(text)
            sys.stdout.flush()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as inherited
        """Let go of a peer that hung up; tell of anything else."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    timeout: ClassVar[float] = REQUEST_SECONDS
    server: Receiver

    def do_GET(self) -> None:
        """Say what this is; also the answer to whoever asks if it is there."""
        self._answer(http.HTTPStatus.OK, "Alertmanager's notifications are to be POSTed here.")

    def do_POST(self) -> None:
        """Print a notification."""
        try:
            alerts = parse(self._body())
        except RefusedError as refused:
            self.log_error("%s", refused)
            self._answer(refused.status, str(refused))
            return
        self.server.show(render(self.path.strip("/") or "webhook", alerts, datetime.now().astimezone()))
        self._answer(http.HTTPStatus.OK, "Printed.")

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdecimal()):
            raise RefusedError("The request has no Content-Length.", http.HTTPStatus.LENGTH_REQUIRED)
        if len(length) > len(str(MAX_BYTES)) or int(length) > MAX_BYTES:
            raise RefusedError(
                f"The body is larger than {MAX_BYTES} bytes.", http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE
            )
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise RefusedError("The body ends too soon.")
        return body

    def _answer(self, status: http.HTTPStatus, text: str) -> None:
        body = f"{text}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """Leave out what went well: the terminal is for notifications."""


# --- The program


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(
        description="Print what Alertmanager sends to its webhooks.", allow_abbrev=False
    )
    parser.add_argument(
        "--listen-address", metavar="HOST:PORT", default=DEFAULT_LISTEN_ADDRESS, help="default %(default)s"
    )
    address: str = parser.parse_args(arguments).listen_address
    host, colon, port = address.rpartition(":")
    if not (colon and port.isascii() and port.isdecimal()):
        parser.error(f"not HOST:PORT: {address}")
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        receiver = Receiver(host, int(port))
    except (OSError, OverflowError, UnicodeError) as error:
        sys.exit(f"Cannot listen on {address}: {_reason(error)}.")
    with receiver, contextlib.suppress(KeyboardInterrupt):
        receiver.serve_forever()


def _reason(error: Exception) -> str:
    number = getattr(error, "errno", None) or 0  # below 0 for an error of name resolution
    return os.strerror(number) if number > 0 else str(error)


if __name__ == "__main__":
    main()
