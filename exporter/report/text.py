"""The report for a person: every rung of the ladder, the records, the verdict, and what to do next.

Drawn with rich: in colour on a terminal unless NO_COLOR is set (https://no-color.org/), plain otherwise. What
came from DNS is shown as it is, never read as markup.
"""

import io
from collections.abc import Iterable, Iterator, Sequence
from typing import TextIO

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from exporter.diagnosis import (
    HostSight,
    LikelyError,
    Mark,
    NextStep,
    Rung,
    ServerDiagnosis,
    Verdict,
)
from exporter.model import ProbeResult, host_port
from exporter.report import ClientReport, Report, ServerReport, StaticReport, Status
from exporter.report.words import MARK_SYMBOLS, MEANINGS, show_chances, show_error, show_meaning
from exporter.trace import show_milliseconds

_WIDE = 1000  # for a pipe: who reads lines wants them whole
_STYLES = {
    Status.OK: "bold green",
    Status.DEGRADED: "bold yellow",
    Status.FAILED: "bold red",
    Status.UNKNOWN: "bold magenta",
}
_MARKS = {
    Mark.PASSED: ("+", "green"),
    Mark.PARTLY: ("!", "yellow"),
    Mark.FAILED: ("x", "red"),
    Mark.UNKNOWN: ("?", "magenta"),
    Mark.NOT_REACHED: ("-", "dim"),
}


def write_text(report: Report, stream: TextIO) -> None:
    """Print a report: as wide as the terminal, or with every line whole where there is none."""
    if stream.isatty():
        console = Console(file=stream, highlight=False, markup=False, emoji=False)
        _draw(report, console, console.encoding)
        return
    plain = io.StringIO()
    console = Console(
        file=plain,
        width=_WIDE,
        force_terminal=False,
        no_color=True,
        highlight=False,
        markup=False,
        emoji=False,
    )
    _draw(report, console, stream.encoding)
    stream.write("".join(f"{line.rstrip()}\n" for line in plain.getvalue().splitlines()))


def _draw(report: Report, console: Console, encoding: str | None) -> None:
    unicode = (encoding or "").lower().startswith("utf")
    for part in _parts(report, unicode=unicode):
        console.print(part, soft_wrap=isinstance(part, Text))  # a command is to be copied whole


def _parts(report: Report, *, unicode: bool) -> Iterator[RenderableType]:
    """Give what to print, in order."""
    for zone in report.zones:
        for server in zone.servers:
            title = f"{zone.diagnosis.view.zone} at {server.diagnosis.dns_server}"
            yield from _server(title, server.diagnosis, server, unicode=unicode)
        if zone.remarks:
            yield Text(f"{zone.diagnosis.view.zone} is not as it should be", style="bold")
            yield from _steps(zone.remarks)
            yield Text()
    for static in report.static_hosts:
        yield from _static(static, unicode=unicode)
    for client in report.clients:
        yield from _client(client, unicode=unicode)
    yield from _summary(report)


def _server(
    title: str,
    server: ServerDiagnosis,
    report: ServerReport | ClientReport,
    *,
    unicode: bool,
) -> Iterator[RenderableType]:
    yield Text(title, style="bold")
    yield _ladder(report.ladder, unicode=unicode)
    if server.lookup.records:
        yield Padding(_records(server), (1, 0, 0, 2))
    yield _verdict(server.verdict, report.status, MEANINGS[server.verdict])
    if server.as_expected:
        yield Padding("Nothing is expected to be published here, so this is as it should be.", (0, 0, 0, 2))
    else:
        yield from _error(server.error)
    yield from _chances(server)
    yield from _next(report.steps)
    yield Text()


def _static(static: StaticReport, *, unicode: bool) -> Iterator[RenderableType]:
    diagnosis = static.diagnosis
    host = diagnosis.sight.host
    place = f" at {diagnosis.dns_server}" if diagnosis.dns_server else ""
    yield Text(f"{host_port(host.target, host.port)}, assigned by hand{place}", style="bold")
    yield _ladder(static.ladder, unicode=unicode)
    endpoints = Table.grid(padding=(0, 2))
    for row in _endpoint_rows(diagnosis.sight):
        endpoints.add_row(*row)
    yield Padding(endpoints, (1, 0, 0, 2))
    meaning = show_meaning(diagnosis.verdict, of_one_host=True)
    yield _verdict(diagnosis.verdict, static.status, meaning)
    yield from _error(diagnosis.error)
    yield from _next(static.steps)
    yield Text()


def _ladder(rungs: Iterable[Rung], *, unicode: bool) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for rung in rungs:
        plain, style = _MARKS[rung.mark]
        symbol = MARK_SYMBOLS[rung.mark] if unicode else plain
        table.add_row(Text(symbol, style=style), rung.name, rung.detail)
    return Padding(table, (0, 0, 0, 2))


def _records(server: ServerDiagnosis) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("priority", "weight", "port", "target", "address", "TCP", "KMS"):
        table.add_column(heading, overflow="fold")
    sights = {sight.host: sight for sight in server.hosts}
    for record in server.lookup.records:
        named = (str(record.priority), str(record.weight), str(record.port), record.target)
        sight = sights.get(record.host)
        for row in _endpoint_rows(sight) if sight else [("", "", "")]:
            table.add_row(*named, *row)
            named = ("", "", "", "")
    return table


def _endpoint_rows(sight: HostSight) -> Sequence[tuple[str, str, str]]:
    if sight.lookup is None or not sight.lookup.addresses:
        return [(f"none ({sight.lookup.failure})" if sight.lookup else "unknown", "", "")]
    probes = {probe.endpoint.address: probe for probe in sight.probes}
    return [(address, *_outcome(probes.get(address))) for address in sight.lookup.addresses]


def _outcome(probe: ProbeResult | None) -> tuple[str, str]:
    """Show how far a probe got: the time of each step that it passed, and the reason at which it stopped."""
    if probe is None:
        return "", ""
    failure = probe.failure or ""
    if probe.connect_seconds is None:
        return failure, ""
    bind = show_milliseconds(probe.rpc_bind_seconds) if probe.rpc_bind_seconds is not None else failure
    return show_milliseconds(probe.connect_seconds), bind


def _verdict(verdict: Verdict, status: Status, meaning: str) -> RenderableType:
    return Padding(_verdict_text(verdict, status, meaning), (1, 0, 0, 2))


def _verdict_text(verdict: Verdict, status: Status, meaning: str) -> Text:
    return Text.assemble("Verdict: ", (verdict.value, _STYLES[status]), f", {meaning}")


def _error(error: LikelyError | None) -> Iterator[RenderableType]:
    if error:
        yield Padding(show_error(error), (0, 0, 0, 2))


def _chances(server: ServerDiagnosis) -> Iterator[RenderableType]:
    """Show the chances of a first attempt where they differ between hosts."""
    if chances := show_chances(server):
        yield Padding(chances, (0, 0, 0, 2))


def _next(steps: Sequence[NextStep]) -> Iterator[RenderableType]:
    if steps:
        yield Padding(Text("What to do next:", style="bold"), (1, 0, 0, 2))
        yield from _steps(steps)


def _steps(steps: Sequence[NextStep]) -> Iterator[RenderableType]:
    for step in steps:
        yield Padding(Text.assemble((f"[{step.place}] ", "dim"), step.text), (0, 0, 0, 4))
        for command in step.commands:
            yield Text(f"        {command}", style="cyan")


def _client(client: ClientReport, *, unicode: bool) -> Iterator[RenderableType]:
    """Show the suffix that decided, in full where the client is not served."""
    found = client.diagnosis
    where = found.dns_zone or f"no record, {found.zone.view.zone} decides"
    title = f"client {found.client} at {found.dns_server}: {where}"
    if client.status is not Status.OK:
        yield from _server(title, found.server, client, unicode=unicode)
        return
    yield Text(title, style="bold")
    yield Padding(_verdict_text(found.verdict, client.status, MEANINGS[found.verdict]), (0, 0, 0, 2))
    yield Text()


def _summary(report: Report) -> Iterator[RenderableType]:
    """Count, where there is more than one thing to count."""
    statuses = report.statuses
    if len(statuses) > 1:
        counts = (
            f"{statuses.count(status)} {status.name.lower()}" for status in Status if status in statuses
        )
        yield Text(f"{len(statuses)} checked: {', '.join(counts)}", style="bold")
