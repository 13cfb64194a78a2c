"""Kill -9 of the exporter, Prometheus or BIND at any moment: an outage pages once, and nothing else does.

All is real, and the examples are used as they are but for their times: what waits for minutes there waits for
a fifteenth of it here, and never less than WAIT_SECONDS, which is far more than a killed process takes to
answer again. The moments are random, from a seed that a failed test shows.
"""

import http
import random
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.services import (
    ALERTMANAGER_EXAMPLE,
    LOOPBACK,
    PROMETHEUS_EXAMPLE,
    RULES,
    UPTIME,
    Exporter,
    Lab,
    Named,
    Notification,
    Process,
    Prometheus,
    Webhook,
    config,
    srv,
    wait_until,
    zone,
    zone_file,
)

WAIT_SECONDS = 20
HURRY = 15
REBOOTS = 3
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
ZONES = ("contoso.test", "other.test")
RECORD = "_vlmcs._tcp.contoso.test. 60 SRV 0 0 1688 kms1.contoso.test."
ALERT = "KmsZoneSrvRecordsMissing"
FLAGS = ("--rules.alert.for-grace-period=5s", "--rules.alert.resend-delay=15s")
"""Shortened like the waits. Alertmanager gives up what it has not heard of for four times the second."""


def hurried(path: Path, directory: Path, *keys: str, least_seconds: int) -> Path:
    """Copy a file with the times of these keys shortened, and nothing else changed."""

    def shorten(found: re.Match[str]) -> str:
        seconds = int(found[2]) * UNITS[found[3]]
        return f"{found[1]} {max(least_seconds, seconds // HURRY)}s"

    copy = directory / path.name
    times = rf"(?m)^(\s*(?:{'|'.join(keys)}):) (\d+)([smhdw])$"
    copy.write_text(re.sub(times, shorten, path.read_text()))
    assert copy.read_text() != path.read_text()
    return copy


@dataclass(frozen=True, slots=True)
class Monitoring:
    """All that runs in the namespace; `victims` are those that get killed, by name."""

    named: Named
    exporter: Exporter
    prometheus: Prometheus
    receiver: Webhook
    dice: random.Random

    @property
    def victims(self) -> Mapping[str, tuple[Process, Callable[[], bool]]]:
        """Name the processes that get killed, each with how one sees that it answers again."""
        return {
            "named": (self.named, lambda: True),  # its restart waits for that itself
            "exporter": (self.exporter, lambda: _is_ready(lambda: self.exporter.get("/-/ready").status)),
            "prometheus": (
                self.prometheus,
                lambda: _is_ready(lambda: self.prometheus.request("/-/ready").status),
            ),
        }

    def kill(self, *names: str) -> None:
        """Kill these at a random moment, all at once, and start them again until they answer."""
        time.sleep(self.dice.uniform(0, 3))  # any moment will do: nothing is concluded from it
        sys.stderr.write(
            f"{time.strftime('%T')} kill -9 {' '.join(names)}\n"
        )  # pytest shows it for a failed test
        for name in names:
            self.victims[name][0].kill()
        for name in names:
            process, answers = self.victims[name]
            process.restart()
            process.wait_until(lambda answers=answers: answers() or None, f"{name} answers again")  # type: ignore[misc]

    def kill_each(self, names: Sequence[str]) -> None:
        """Kill one after the other, in random order."""
        for name in self.dice.sample(names, len(names)):
            self.kill(name)

    def pages(self) -> list[Notification]:
        """List the notifications that page somebody, so far."""
        return self.receiver.to("page")

    def told(self) -> list[tuple[str, str]]:
        """List what somebody was paged for so far, and what was taken back."""
        return [(page.body["groupLabels"]["alertname"], page.body["status"]) for page in self.pages()]

    def wait_for_page(self, status: str) -> None:
        """Wait until somebody is paged for the outage, or told that it is over."""
        wait_until(lambda: (ALERT, status) in self.told() or None, f"{ALERT} is {status}; {self.told()}")

    def wait_for_look(self) -> None:
        """Wait until Prometheus has seen that the exporter has looked since now, and found no record."""
        looked = f"kms_exporter_last_check_timestamp_seconds > {time.time()}"
        expression = f'kms_srv_records{{dns_zone="contoso.test"}} == 0 and on (dns_zone) {looked}'
        self.prometheus.wait_until(lambda: self.prometheus.query(expression) or None, "another look")

    def wait_for_alert(self) -> str:
        """Wait until the alert fires, and tell since when its cause is there."""

        def look() -> str | None:
            alerts = self.prometheus.get("/api/v1/alerts")["alerts"]
            firing = [each for each in alerts if each["state"] == "firing"]
            return next((each["activeAt"] for each in firing if each["labels"]["alertname"] == ALERT), None)

        return self.prometheus.wait_until(look, f"{ALERT} fires")

    def remembers_over_a_reboot(self) -> bool:
        """Kill exporter and Prometheus at once, as a reboot does; whether the alert then counts from before.

        Prometheus takes up only what its first scrape shows, which may come too late on a busy machine.
        """
        self.wait_for_look()
        since = self.wait_for_alert()
        self.kill("exporter", "prometheus")
        return self.wait_for_alert() == since

    def severe(self) -> list[str]:
        """List the alerts that would page, or do, with their states."""
        alerts = self.prometheus.get("/api/v1/alerts")["alerts"]
        return [
            f"{alert['labels']['alertname']} {alert['state']}"
            for alert in alerts
            if alert["labels"]["severity"] == "critical"
        ]


def _is_ready(ask: Callable[[], int]) -> bool:
    try:
        return ask() == http.HTTPStatus.OK
    except OSError:
        return False


@pytest.fixture
def monitoring(lab: Lab, tmp_path: Path) -> Monitoring:
    """Start everything, and wait until the records have been seen."""
    seed = time.time_ns() % 10**6
    sys.stderr.write(f"seed {seed}\n")
    namespace = lab.namespace()
    namespace.call(lambda: lab.listener(port=1688))
    zones = {name: zone_file(f"kms1 A {LOOPBACK}", srv("kms1", 1688)) for name in ZONES}
    named = lab.named(zones, namespace=namespace)
    receiver = lab.webhook(5001, namespace=namespace)
    waits = hurried(ALERTMANAGER_EXAMPLE, tmp_path, "group_wait", "group_interval", least_seconds=1)
    lab.alertmanager(config_file=waits, port=9093, namespace=namespace)
    labelled = [zone(name, LOOPBACK, labels={"team": "workplace"}) for name in ZONES]
    exporter = lab.exporter(config(*labelled), port=11688, namespace=namespace)
    rules = hurried(RULES, tmp_path, "for", "keep_firing_for", least_seconds=WAIT_SECONDS)
    # How long an exporter has to run is no wait to shorten: the kills here leave it 10 s as well as 30.
    rules.write_text(UPTIME.sub(r"\1 1", rules.read_text()))
    config_file = hurried(
        PROMETHEUS_EXAMPLE, tmp_path, "scrape_interval", "evaluation_interval", least_seconds=1
    )
    prometheus = lab.prometheus(config_file=config_file, arguments=FLAGS, port=9090, namespace=namespace)
    prometheus.wait_until(
        lambda: len(prometheus.query("kms_srv_records == 1")) == len(ZONES) or None, "the records are seen"
    )
    return Monitoring(named, exporter, prometheus, receiver, random.Random(seed))


def test_outage_among_kills_pages_once(monitoring: Monitoring) -> None:
    """Records that are gone page once, however often the watchers die meanwhile; their return resolves it.

    Whatever is killed before, during and after it, and comes back, pages nobody; and a Prometheus that is
    back has not forgotten since when the records are gone.
    """
    victims = list(monitoring.victims)
    monitoring.kill_each(victims)
    monitoring.named.update("contoso.test", f"delete {RECORD}")
    monitoring.kill_each(monitoring.dice.sample(victims, 2))
    monitoring.wait_for_page("firing")

    monitoring.kill_each(victims)
    assert any(monitoring.remembers_over_a_reboot() for _ in range(REBOOTS))
    assert monitoring.told() == [(ALERT, "firing")]

    monitoring.named.update("contoso.test", f"add {RECORD}")
    # Without Prometheus, which would forget the alert: the all-clear is then up to Alertmanager's own wait.
    monitoring.kill(monitoring.dice.choice(["exporter", "named"]))
    monitoring.wait_for_page("resolved")
    monitoring.prometheus.wait_until(
        lambda: monitoring.severe() == [] or None, f"nothing is left of it: {monitoring.severe()}"
    )
    assert monitoring.told() == [(ALERT, "firing"), (ALERT, "resolved")]
    [alert] = monitoring.pages()[0].alerts
    assert alert["labels"]["dns_zone"] == "contoso.test"
