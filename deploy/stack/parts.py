"""Which programs the stack is made of: their flags, their ports, and what there is to see. Starts nothing.

The configuration files of Prometheus and Alertmanager name the addresses of the others, so the ports are
given. The flags are those that Debian 12 has (Prometheus 2.42, Alertmanager 0.25), and later versions too.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.stack import receiver

LOOPBACK = "127.0.0.1"
"""Nothing listens anywhere else."""
ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS_CONFIG = ROOT / "deploy" / "prometheus" / "prometheus.yml"
ALERTMANAGER_CONFIG = ROOT / "deploy" / "alertmanager" / "alertmanager.yml"
EXPORTER_PORT, PROMETHEUS_PORT, ALERTMANAGER_PORT, RECEIVER_PORT = 11688, 9090, 9093, 5001


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One program of the stack.

    `page` is the path that a person looks at, to see what `about` says. A part that `prints` writes to the
    terminal, the others to a log. `service` is the system service that may hold its port.
    """

    name: str
    port: int
    command: Sequence[str]
    page: str
    about: str
    prints: bool = False
    service: str = ""

    @property
    def url(self) -> str:
        """Where a person looks at it."""
        return f"http://localhost:{self.port}{self.page}"

    @property
    def log(self) -> str:
        """The name of its log file."""
        return f"{self.name.lower()}.log"


def parts(*, prometheus: str, alertmanager: str, data: Path, config: Path | None) -> tuple[Part, ...]:
    """List the programs, in the order in which they start.

    `prometheus` and `alertmanager` are the programs' paths. Without `config` the exporter runs on its lab.
    """
    return (
        _exporter(config),
        Part(
            name="receiver",
            port=RECEIVER_PORT,
            command=(sys.executable, receiver.__file__, f"--listen-address={LOOPBACK}:{RECEIVER_PORT}"),
            page="/",
            about="prints below whatever Alertmanager sends",
            prints=True,
        ),
        _alertmanager(alertmanager, data / "alertmanager"),
        _prometheus(prometheus, data / "prometheus"),
    )


def _exporter(config: Path | None) -> Part:
    command = ("demo",) if config is None else ("run", f"--config.file={config.resolve()}")
    listen = f"--web.listen-address={LOOPBACK}:{EXPORTER_PORT}"
    return Part(
        name="kms-exporter",
        port=EXPORTER_PORT,
        command=(sys.executable, "-m", "exporter", *command, listen),
        page="/",
        about="what it found just now",
    )


def _alertmanager(program: str, data: Path) -> Part:
    return Part(
        name="Alertmanager",
        port=ALERTMANAGER_PORT,
        command=(
            program,
            f"--config.file={ALERTMANAGER_CONFIG}",
            f"--storage.path={data}",
            f"--web.listen-address={LOOPBACK}:{ALERTMANAGER_PORT}",
            f"--web.external-url=http://localhost:{ALERTMANAGER_PORT}/",
            "--cluster.listen-address=",  # alone
        ),
        page="/#/alerts",
        about="what it groups and holds back, and silences",
        service="prometheus-alertmanager",
    )


def _prometheus(program: str, data: Path) -> Part:
    return Part(
        name="Prometheus",
        port=PROMETHEUS_PORT,
        command=(
            program,
            f"--config.file={PROMETHEUS_CONFIG}",
            f"--storage.tsdb.path={data}",
            f"--web.listen-address={LOOPBACK}:{PROMETHEUS_PORT}",
            f"--web.external-url=http://localhost:{PROMETHEUS_PORT}/",
            "--rules.alert.for-grace-period=1m",
        ),
        page="/alerts",
        about="which alerts are pending, and which fire",
        service="prometheus",
    )
