"""Against the pair that users run today: Prometheus with dns_sd_configs, and blackbox_exporter.

Both sides watch the same zones at the same BIND and connect to the same addresses at the same interval, for
the same time. That they did so is counted by the listener and by each side's own counters; if not, there is
no number. What counts is the CPU time of whole processes: the pair's two, and the exporter with the
Prometheus that scrapes it.
"""

import time
from collections.abc import Mapping
from typing import Any

from tests.bench_lab import (
    MIB,
    Bench,
    Blackbox,
    Sink,
    Spent,
    configuration,
    demand_work,
    loopback_address,
    records,
    scrape,
    spend,
    start_named,
    start_prometheus,
    start_sink,
    total,
    values,
    wait_for,
    wait_for_endpoints,
    zone_name,
)
from tests.bench_rows import CannotCompareError, Row
from tests.services import Process, Prometheus, free_port, http_request

GROUP = "pair"
HOSTS = 4
MOST = 0.1
MICROSECONDS = 1e6
_MOST_LOST = 0.2  # it looks all zones up in the same moment, and goes on with what it knew
_FAILED_LOOKUPS = "prometheus_sd_dns_lookup_failures_total"


def measure(bench: Bench) -> list[Row]:
    """Measure the pair, and the exporter without and with the RPC bind."""
    with bench.lab() as lab:
        sink = start_sink(lab)
        lines = records(
            bench.sizes.pair_zones, HOSTS, sink.port, lambda zone, host: loopback_address(zone * HOSTS + host)
        )
        start_named(lab, lines)
        pair, lost = _measure_pair(bench, sink)
        plain = _measure_exporter(bench, sink, rpc_bind=False)
        bound = _measure_exporter(bench, sink, rpc_bind=True)
    return [
        *_rows(bench, "handshake", plain, pair, lost=lost),
        *_rows(bench, "handshake and RPC bind", bound, pair, lost=lost),
    ]


def _rows(
    bench: Bench, what: str, ours: Mapping[str, Spent], pair: Mapping[str, Spent], *, lost: float
) -> list[Row]:
    def cost(spent: Mapping[str, Spent]) -> float:
        cycles = bench.sizes.pair_window_seconds / bench.sizes.pair_interval_seconds
        spent_seconds = sum(each.cpu_seconds for each in spent.values())
        return spent_seconds / cycles / bench.sizes.pair_zones * MICROSECONDS

    def size(spent: Mapping[str, Spent]) -> float:
        return sum(each.peak_bytes for each in spent.values()) / MIB

    def note(spent: Mapping[str, Spent]) -> str:
        return ", ".join(f"{name} {cost({name: each}):.0f}" for name, each in spent.items())

    return [
        Row(
            group=GROUP,
            what=f"zone of {HOSTS} hosts, {what}",
            unit="us CPU/cycle",
            ours=cost(ours),
            peer=cost(pair),
            most=MOST,
            note=f"{note(ours)}; {note(pair)}, with {lost:.0%} of its lookups lost",
        ),
        Row(
            group=GROUP,
            what=f"largest resident size, {what}",
            unit="MiB",
            ours=size(ours),
            peer=size(pair),
            note="exporter and Prometheus; both of the pair",
        ),
    ]


def _measure_pair(bench: Bench, sink: Sink) -> tuple[dict[str, Spent], float]:
    """Give what the pair spent, and the share of its lookups that failed: it sends all of them at once."""
    sizes, directory = bench.sizes, bench.directory()
    targets = sizes.pair_zones * HOSTS
    with bench.lab() as lab:
        blackbox = lab.enter_context(Blackbox(directory / "blackbox", free_port()))
        prometheus = start_prometheus(lab, directory, _discovery(bench, blackbox))
        wait_for(
            lambda: _succeeding(prometheus, "probe_success") == (targets, targets) or None,
            f"all {targets} probes of the pair succeed",
        )
        _await_refresh(prometheus)
        time.sleep(sizes.pair_interval_seconds / 3)  # so that no refresh is near the ends of the window
        failed = _prometheus_total(prometheus, _FAILED_LOOKUPS)
        lookups, accepted, start = _lookups(prometheus), sink.accepted, time.monotonic()
        spent = _spend_apart(bench, {"Prometheus": prometheus, "blackbox_exporter": blackbox})
        accepted, lookups = sink.accepted - accepted, _lookups(prometheus) - lookups
        longest = time.monotonic() - start
        failed = _prometheus_total(prometheus, _FAILED_LOOKUPS) - failed
        window = f"probe_success[{sizes.pair_window_seconds}s]"
        probed, succeeded = (_value(prometheus, f"sum({f}_over_time({window}))") for f in ("count", "sum"))
        demand_work("successful probes of the pair", succeeded, [probed])
    if failed > lookups * _MOST_LOST:
        raise CannotCompareError(f"{failed:,.0f} of {lookups:,.0f} lookups of the pair failed")
    _demand(bench, "the pair", longest, accepted=accepted, lookups=lookups)
    return spent, failed / lookups


def _measure_exporter(bench: Bench, sink: Sink, *, rpc_bind: bool) -> dict[str, Spent]:
    sizes = bench.sizes
    targets = sizes.pair_zones * HOSTS
    watched = configuration(
        map(zone_name, range(sizes.pair_zones)),
        interval_seconds=sizes.pair_interval_seconds,
        rpc_bind=rpc_bind,
    )
    with bench.lab() as lab:
        exporter = lab.exporter(watched)
        scraping = {
            "job_name": "kms",
            "static_configs": [{"targets": ["{}:{}".format(*exporter.web)]}],
            "scrape_interval": f"{sizes.pair_interval_seconds}s",
            "scrape_timeout": f"{sizes.pair_interval_seconds}s",
        }
        prometheus = start_prometheus(lab, bench.directory(), scraping)
        wait_for_endpoints(exporter, targets)
        wait_for(
            lambda: _succeeding(prometheus, "kms_endpoint_up") == (targets, targets) or None,
            "Prometheus has all endpoints",
        )
        time.sleep(sizes.pair_interval_seconds)
        start, before = time.monotonic(), scrape(exporter)
        accepted, scrapes = sink.accepted, _scrapes(prometheus)
        spent = _spend_apart(bench, {"exporter": exporter, "Prometheus": prometheus})
        accepted, scrapes = sink.accepted - accepted, _scrapes(prometheus) - scrapes
        after, longest = scrape(exporter), time.monotonic() - start
        if any(value != 1 for value in values(after, "kms_endpoint_up")):
            raise CannotCompareError("not all probes of the exporter succeeded")
        if abs(scrapes - sizes.pair_window_seconds / sizes.pair_interval_seconds) > 1:
            raise CannotCompareError(f"the exporter was scraped {scrapes:.0f} times")
    lookups = total(after, "kms_srv_lookups_total") - total(before, "kms_srv_lookups_total")
    _demand(bench, "the exporter", longest, accepted=accepted, lookups=lookups)
    return spent


def _discovery(bench: Bench, blackbox: Blackbox) -> dict[str, Any]:
    every = f"{bench.sizes.pair_interval_seconds}s"
    names = [f"_vlmcs._tcp.{zone_name(number)}" for number in range(bench.sizes.pair_zones)]
    return {
        "job_name": "kms",
        "metrics_path": "/probe",
        "params": {"module": ["tcp_connect"]},
        "scrape_interval": every,
        "scrape_timeout": every,
        "dns_sd_configs": [{"names": names, "type": "SRV", "refresh_interval": every}],
        "relabel_configs": [
            {"source_labels": ["__address__"], "target_label": "__param_target"},
            {"source_labels": ["__param_target"], "target_label": "instance"},
            {"target_label": "__address__", "replacement": "{}:{}".format(*blackbox.web)},
        ],
    }


def _spend_apart(bench: Bench, processes: Mapping[str, Process]) -> dict[str, Spent]:
    """Take stock of several processes over one window."""
    return dict(zip(processes, spend(list(processes.values()), bench.sizes.pair_window_seconds), strict=True))


def _demand(bench: Bench, whom: str, longest: float, *, accepted: float, lookups: float) -> None:
    """Refuse numbers of a side that did less than is due in the window, or more than in a little longer."""
    cycles = [
        seconds / bench.sizes.pair_interval_seconds for seconds in (bench.sizes.pair_window_seconds, longest)
    ]
    zones = [bench.sizes.pair_zones * cycle for cycle in cycles]
    demand_work(f"SRV lookups of {whom}", lookups, zones)
    demand_work(f"handshakes of {whom}", accepted, [HOSTS * due for due in zones])


def _succeeding(prometheus: Prometheus, metric: str) -> tuple[int, int]:
    """Count the series of a metric that is 0 or 1, and those that are 1."""
    return int(_value(prometheus, f"count({metric})")), int(_value(prometheus, f"sum({metric})"))


def _value(prometheus: Prometheus, expression: str) -> float:
    return prometheus.query(f"{expression} or vector(0)")[0][1]


def _await_refresh(prometheus: Prometheus) -> None:
    """Wait until names are looked up once more."""
    before = _lookups(prometheus)
    wait_for(lambda: _lookups(prometheus) > before or None, "names are looked up again")


def _lookups(prometheus: Prometheus) -> float:
    return _prometheus_total(prometheus, "prometheus_sd_dns_lookups_total")


def _scrapes(prometheus: Prometheus) -> float:
    return _prometheus_total(prometheus, "prometheus_target_interval_length_seconds_count")


def _prometheus_total(prometheus: Prometheus, metric: str) -> float:
    return total(http_request(prometheus.web, "/metrics").body, metric)
