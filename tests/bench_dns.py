"""The DNS half, against dns_exporter, which is in Python over dnspython too: CPU time of one SRV lookup.

dns_exporter (https://pypi.org/project/dns_exporter/) looks a name up when it is scraped for it, and shows
what it found in that answer. So that each side shows what it has looked up, the exporter is scraped once for
each round of its zones. Both ask the same BIND for the same names, which have no records.
"""

import http
import re
import time

import yaml

from tests.bench_lab import (
    PROMETHEUS_ACCEPT,
    Bench,
    configuration,
    cpu_seconds,
    scrape,
    spend,
    start_named,
    total,
    values,
    wait_for,
    zone_name,
)
from tests.bench_rows import CannotCompareError, Row
from tests.bench_watch import watching
from tests.services import LOOPBACK, ROOT, Process, free_port, http_request

GROUP = "dns"
MICROSECONDS = 1e6
_PROGRAM = ROOT / ".venv/bench/bin/dns_exporter"
_LOOKUPS = "kms_srv_lookups_total"
_SUCCESS = rb"^dnsexp_dns_query_success(?:\{.*\})? 1\.0$"


def measure(bench: Bench) -> list[Row]:
    """Measure both on the same names."""
    if not _PROGRAM.exists():
        raise CannotCompareError("dns_exporter is not installed: make .venv/.bench")
    with bench.lab() as lab:
        start_named(lab, ())
        peer, ours = _measure_peer(bench), _measure_exporter(bench)
    return [
        Row(
            group=GROUP,
            what="SRV lookup of a name without records",
            unit="us CPU",
            ours=ours,
            peer=peer,
            note="whole processes, each lookup shown once; the peer is dns_exporter",
        )
    ]


def _measure_peer(bench: Bench) -> float:
    """Ask dns_exporter for every name in turn, and give the CPU time of one in microseconds."""
    directory, web = bench.directory(), (LOOPBACK, free_port())
    file = directory / "dns_exporter.yml"
    module = {"query_type": "SRV", "family": "ipv4", "valid_rcodes": ["NXDOMAIN"]}
    file.write_text(yaml.safe_dump({"modules": {"kms": module}}))
    command = [str(_PROGRAM), "-q", "-c", str(file), "-L", web[0], "-p", str(web[1])]
    names = [f"_vlmcs._tcp.{zone_name(number)}" for number in range(bench.sizes.piece_zones)]
    with Process(command) as process:
        wait_for(lambda: _answers(web), "dns_exporter listens")
        for number, name in enumerate((names[0], *names)):
            if number == 1:  # the first one is to warm up
                before = cpu_seconds(process.pid)
            query = f"/query?module=kms&server={LOOPBACK}&query_name={name}"
            page = http_request(web, query, headers={"Accept": PROMETHEUS_ACCEPT}).body
            if not re.search(_SUCCESS, page, re.MULTILINE):
                raise CannotCompareError(f"dns_exporter had no success\n{page.decode()}")
        spent_seconds = cpu_seconds(process.pid) - before
    return spent_seconds / len(names) * MICROSECONDS


def _answers(web: tuple[str, int]) -> bool | None:
    try:
        return http_request(web, "/").status == http.HTTPStatus.OK or None
    except OSError:
        return None


def _measure_exporter(bench: Bench) -> float:
    """Let the exporter watch all names, and give the CPU time of one lookup in microseconds."""
    sizes = bench.sizes
    zones = list(map(zone_name, range(sizes.piece_zones)))
    with bench.lab() as lab:
        exporter = lab.exporter(
            configuration(zones, interval_seconds=sizes.piece_interval_seconds, rpc_bind=False)
        )
        wait_for(lambda: len(values(scrape(exporter), _LOOKUPS)) == len(zones) or None, "all are looked up")
        time.sleep(sizes.piece_interval_seconds)
        before = total(scrape(exporter), _LOOKUPS)
        with watching(exporter.web, sizes.piece_interval_seconds, health=False):
            (spent,) = spend([exporter], sizes.piece_window_seconds)
        lookups = total(scrape(exporter), _LOOKUPS) - before
    if lookups < len(zones):
        raise CannotCompareError("the exporter did not look at all zones")
    return spent.cpu_seconds / lookups * MICROSECONDS
