"""A past that is written, not lived: a Prometheus with hours of history, the same in every run.

Times are minutes since the beginning. A series is there only in the spans that are said of it, and only while
its exporter could be scraped.
"""

import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.services import LOOPBACK, Prometheus, Server, free_port, need, which

BEGIN_SECONDS = 1_767_600_000
SCRAPE_SECONDS = 15
CHECK_SECONDS = 60
END = 480
AWAY, BACK = 360, 380
"""While the exporter of the branch was away."""
VANISHED, RETURNED = 331, 431
BROKEN, REMOVED, BORN, LOST = 400, 405, 420, 450
TROUBLE, RECOVERED = 350, 355
SERIAL_CHANGED = 391

FINE, SILENT, MENDED = "10.0.0.1:53", "10.0.0.9:53", "10.0.0.2:53"
"""DNS servers."""
PROBED = "probe"
"""A job that scrapes /probe, and so has nothing of an exporter's own."""
FOREIGN = "node"
"""A job that is no exporter."""

Value = float | Callable[[int], float]
Span = tuple[int, int, Value]
Labels = Mapping[str, str]


def seconds(minute: float) -> int:
    """Give the Unix time of a minute."""
    return BEGIN_SECONDS + int(60 * minute)


def per_check(seconds_: int) -> float:
    """Count the checks until then; they are not in step with what Grafana asks for, as they never are."""
    return (seconds_ - 35) // CHECK_SECONDS


@dataclass(frozen=True, slots=True)
class Target:
    """A target of Prometheus, with the spans in which it could be scraped; gathers lines of OpenMetrics."""

    job: str
    instance: str
    alive: tuple[tuple[int, int], ...] = ((0, END),)
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        whole = [(0, END, lambda second: float(self._is_alive(second)))]
        self._write("up", {}, whole, always=True)

    def _is_alive(self, second: int) -> bool:
        return any(seconds(begin) <= second < seconds(end) for begin, end in self.alive)

    def say(self, metric: str, value: Value = 1, **labels: str) -> None:
        """Say what was so all the time."""
        self._write(metric, labels, [(0, END, value)])

    def say_at(self, metric: str, *spans: Span, **labels: str) -> None:
        """Say what was so in these spans."""
        self._write(metric, labels, spans)

    def say_state(self, metric: str, kind: str, *spans: tuple[int, int, str], **labels: str) -> None:
        """Say which state was the current one: 1, with 0 for the others that there were, and for `ok`."""
        for state in sorted({"ok", *(word for _, _, word in spans)}):
            values = [(begin, end, float(word == state)) for begin, end, word in spans]
            self._write(metric, labels | {kind: state}, values)

    def _write(self, metric: str, labels: Labels, spans: Sequence[Span], *, always: bool = False) -> None:
        every = {"job": self.job, "instance": self.instance, **labels}
        name = metric + "{" + ",".join(f'{label}="{value}"' for label, value in every.items()) + "}"
        for begin, end, value in spans:
            for second in range(seconds(begin), seconds(end), SCRAPE_SECONDS):
                if always or self._is_alive(second):
                    number = value(second) if callable(value) else value
                    self.lines.append(f"{name} {number} {second}")


def program(target: Target) -> None:
    """Say what every program in Python has, and what Prometheus says of its scrapes."""
    for metric in ("process_open_fds", "process_max_fds", "process_resident_memory_bytes"):
        target.say(metric, 100)
    for metric in ("scrape_duration_seconds", "scrape_samples_scraped"):
        target.say(metric, 1)
    target.say("process_start_time_seconds", BEGIN_SECONDS)
    target.say("process_cpu_seconds_total", per_check)
    target.say("python_gc_collections_total", per_check, generation="0")


def exporter(target: Target, *reloads: Span) -> None:
    """Say what every exporter has."""
    program(target)
    target.say("kms_exporter_build_info", version="1", revision="r", python="3")
    target.say("kms_exporter_config_last_reload_success_timestamp_seconds", BEGIN_SECONDS)
    target.say_at("kms_exporter_config_last_reload_successful", *(reloads or ((0, END, 1),)))
    for metric in ("checks_overrun", "internal_errors"):
        target.say(f"kms_exporter_{metric}_total", 0)


CODES = {
    "dns_failed": ("0x8007232A", "DNS_ERROR_RCODE_SERVER_FAILURE"),
    "port_closed": ("0xC004F074", "SL_E_VL_KEY_MANAGEMENT_SERVICE_NOT_ACTIVATED"),
}


def zone(target: Target, name: str, *verdicts: tuple[int, int, str], server: str = FINE) -> None:
    """Say what an exporter sees of a zone; a verdict `dns_failed` is an answer that timed out."""
    labels = {"dns_zone": name, "dns_server": server}
    target.say_state("kms_client_verdict", "verdict", *verdicts, **labels)
    answers = [(begin, end, "timeout" if word == "dns_failed" else "ok") for begin, end, word in verdicts]
    target.say_state("kms_srv_lookup_status", "status", *answers, **labels)
    for begin, end, word in verdicts:
        if word in CODES:
            code, symbol = CODES[word]
            info = labels | {"code": code, "symbol": symbol, "certainty": "high"}
            target.say_at("kms_client_likely_error_info", (begin, end, 1), **info)
        if word != "dns_failed":
            target.say_at("kms_srv_records", (begin, end, 1), **labels)
        target.say_at(
            "kms_client_first_attempt_success_ratio", (begin, end, 1), selection="rfc2782", **labels
        )
        target.say_at("kms_srv_lookups_total", (begin, end, per_check), **labels)
        target.say_at("kms_srv_lookup_failures_total", (begin, end, 0), **labels)


def lookup_durations(target: Target) -> None:
    """Say how long lookups took: one in each interval of checks."""
    for limit in ("0.1", "1", "+Inf"):
        target.say("kms_srv_lookup_duration_seconds_bucket", per_check, dns_server=FINE, le=limit)


def record(target: Target, name: str, host: str, *spans: Span) -> None:
    """Say when a record was published."""
    target.say_at("kms_srv_record_published", *spans, dns_zone=name, target=host, port="1688")


def endpoint(target: Target, host: str, *failures: tuple[int, int]) -> None:
    """Say when a host was down: refused at its only address."""
    ups: list[Span] = [(0, END, lambda s: float(not any(seconds(a) <= s < seconds(b) for a, b in failures)))]
    labels = {"target": host, "port": "1688"}
    target.say_at("kms_host_up", *ups, **labels)
    labels |= {"address": "10.1.0.1"}
    target.say_at("kms_endpoint_up", *ups, **labels)
    refused: list[Span] = [(begin, end, 1) for begin, end in failures]
    target.say_at("kms_endpoint_failure", *refused, reason="connection_refused", **labels)
    target.say("kms_endpoint_probes_total", per_check, **labels)
    target.say("kms_endpoint_probe_failures_total", 0, **labels)


def agreement(target: Target, name: str, *apart: tuple[int, int]) -> None:
    """Say when the DNS servers of a zone did not agree."""
    together: Value = lambda s: float(not any(seconds(a) <= s < seconds(b) for a, b in apart))  # noqa: E731
    target.say("kms_dns_servers_agree", together, dns_zone=name)


def changing_records(branch: Target) -> None:
    """Play a zone whose records change, also while its exporter is away; zones that come and go."""
    name = "restart.contoso.com"
    zone(branch, name, (0, END, "ok"))
    record(branch, name, "stays", (0, END, 1))
    record(branch, name, "deleted-while-away", (0, AWAY, 1))
    record(branch, name, "added-while-away", (BACK, END, 1))
    record(branch, name, "of-yesterday", (0, 200, 1))
    record(branch, name, "back", (0, VANISHED, 1), (VANISHED, AWAY, 0), (RETURNED, END, 1))
    zone(branch, "removed.contoso.com", (0, TROUBLE, "ok"), (TROUBLE, REMOVED, "port_closed"))
    record(branch, "removed.contoso.com", "of-removed", (0, REMOVED, 1))
    zone(branch, "young.contoso.com", (BORN, END, "ok"))
    record(branch, "young.contoso.com", "of-young", (BORN, END, 1))


def troubles(target: Target, server: str) -> None:
    """Play what is fine, what recovered, and what is bad at the end."""
    spans = {
        "bad": ((0, 200, "ok"), (200, END, "port_closed")),
        "recovered": ((0, TROUBLE, "ok"), (TROUBLE, RECOVERED, "port_closed"), (RECOVERED, END, "ok")),
        "fine": ((0, END, "ok"), (END, END, "port_closed")),
    }
    for host, verdicts in spans.items():
        target.say_state(
            "kms_static_host_verdict", "verdict", *verdicts, target=host, port="1688", dns_server=server
        )
        target.say_state("kms_client_profile_verdict", "verdict", *verdicts, client=host, dns_server=server)


def shared_zone(target: Target) -> None:
    """Play a zone that two vantage points see, with a host that is down, and a DNS server that is silent."""
    zone(target, "shared.contoso.com", (0, END, "port_closed"))
    record(target, "shared.contoso.com", "down", (0, END, 1))
    endpoint(target, "down", (0, END))
    agreement(target, "shared.contoso.com", (200, END))
    zone(target, "silent.contoso.com", (0, END, "dns_failed"), server=SILENT)
    troubles(target, FINE)


def played() -> Iterator[Target]:
    """Play it all: four exporters of three jobs, a job that probes, and two that are neither."""
    branch = Target("branch", "10.0.1.3:11688", ((0, AWAY), (BACK, END)))
    exporter(branch)
    lookup_durations(branch)
    changing_records(branch)
    shared_zone(branch)
    answers = ((0, TROUBLE, "ok"), (TROUBLE, RECOVERED, "dns_failed"), (RECOVERED, END, "ok"))
    zone(branch, "recovered.contoso.com", *answers, server=MENDED)
    record(branch, "recovered.contoso.com", "mended", (0, END, 1))
    endpoint(branch, "mended", (TROUBLE, RECOVERED))
    agreement(branch, "recovered.contoso.com", (TROUBLE, RECOVERED))
    zone(branch, "steady.contoso.com", (0, END, "ok"))
    record(branch, "steady.contoso.com", "steady", (0, END, 1))
    endpoint(branch, "steady")
    agreement(branch, "steady.contoso.com")
    serials: list[Span] = [(0, SERIAL_CHANGED, 1), (SERIAL_CHANGED, END, 2)]
    branch.say_at("kms_dns_soa_serial", *serials, dns_zone="steady.contoso.com", dns_server=FINE)
    yield branch

    first = Target("kms", "10.0.1.1:11688")
    exporter(first, (0, 200, 1), (200, END, 0))
    shared_zone(first)
    second = Target("kms", "10.0.1.2:11688")
    exporter(second, (0, TROUBLE, 1), (TROUBLE, RECOVERED, 0), (RECOVERED, END, 1))
    for target, verdict in ((first, "port_closed"), (second, "dns_failed")):
        zone(target, "split.contoso.com", (0, BROKEN, "ok"), (BROKEN, END, verdict))
        yield target

    lost = Target("lost", "10.0.1.4:11688", ((0, LOST),))
    exporter(lost)
    zone(lost, "lost.contoso.com", (0, BROKEN, "ok"), (BROKEN, END, "port_closed"))
    yield lost
    probed = Target(PROBED, "steady.contoso.com")
    zone(probed, "steady.contoso.com", (0, END, "ok"))
    yield probed
    yield from foreign()


def foreign() -> Iterator[Target]:
    """Play targets that are no exporters."""
    for instance, alive in (("10.0.0.5:9100", ((0, END),)), ("10.0.0.6:9100", ())):
        target = Target(FOREIGN, instance, alive)
        program(target)
        yield target


class PastPrometheus(Prometheus):
    """A Prometheus that scrapes nothing, and knows what was played.

    A series ends soon after its last sample, as it does for Prometheus when a scrape does not have it.
    """

    def __init__(self, directory: Path) -> None:
        need("prometheus", "promtool")
        directory.mkdir(parents=True)
        text, config, data = directory / "past.txt", directory / "prometheus.yml", directory / "data"
        lines = [line for target in played() for line in target.lines]
        text.write_text("\n".join([*lines, "# EOF", ""]))
        command = [which("promtool") or "", "tsdb", "create-blocks-from", "openmetrics", str(text), str(data)]
        subprocess.run(command, check=True, capture_output=True)
        config.write_text("scrape_configs: []\n")
        web = (LOOPBACK, free_port())
        options = [
            f"--config.file={config}",
            f"--storage.tsdb.path={data}",
            "--storage.tsdb.retention.time=100y",
            f"--query.lookback-delta={SCRAPE_SECONDS - 1}s",
            "--web.listen-address={}:{}".format(*web),
            "--log.level=warn",
        ]
        Server.__init__(self, [which("prometheus") or "", *options], web)
