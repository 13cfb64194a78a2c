"""The embedded lab of `kms-exporter demo`: a DNS server and TCP endpoints that play every situation.

Everything is on loopback and lives on the event loop that starts it: no root, no network, no files, no
threads. What is played is listed in `zones`. It only gives the exporter something to look at; it does not
speak KMS.
"""

import asyncio
import contextlib
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from exporter.demo.authority import load
from exporter.demo.endpoints import endpoints
from exporter.demo.nameserver import nameserver
from exporter.demo.zones import (
    DNS_ADDRESS,
    ENDPOINTS,
    STATIC_ADDRESS,
    STATIC_NAME,
    Schedule,
    Situation,
    situations,
)
from exporter.model import KMS_PORT, host_port

_CONFIG = """\
# The lab of `kms-exporter demo`
interval: 10s
timeout: 2s
dns:
  servers: ["{dns_server}"]
probe:
  networks: [127.0.0.0/8]
zones:
{zones}
hosts:
{hosts}
"""


class Lab:
    """The running lab, as an async context manager; `config_text` is the configuration that watches it.

    `present_seconds` and `absent_seconds` time the zone whose records vanish and come back.
    """

    def __init__(self, *, present_seconds: float = 180.0, absent_seconds: float = 120.0) -> None:
        self.config_text = b""
        self._schedule = Schedule(present_seconds=present_seconds, absent_seconds=absent_seconds)
        self._running = contextlib.AsyncExitStack()

    def describe(self) -> Iterable[tuple[str, str]]:
        """List every zone with the situation that it plays, in a line."""
        return [(situation.zone, situation.summary) for situation in self._situations(KMS_PORT)]

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        started = loop.time()
        async with contextlib.AsyncExitStack() as stack:
            port = await stack.enter_async_context(endpoints(ENDPOINTS))
            zones = load(self._situations(port))
            dns_port = await stack.enter_async_context(nameserver(zones, lambda: loop.time() - started))
            self._running = stack.pop_all()
        self.config_text = self._config(port, dns_port).encode()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._running.aclose()

    def _situations(self, port: int) -> tuple[Situation, ...]:
        return situations(port=port, schedule=self._schedule)

    def _config(self, port: int, dns_port: int) -> str:
        return _CONFIG.format(
            dns_server=host_port(DNS_ADDRESS, dns_port),
            zones="\n".join(f"  - name: {zone}" for zone, _ in self.describe()),
            hosts="\n".join(f'  - "{host_port(host, port)}"' for host in (STATIC_NAME, STATIC_ADDRESS)),
        )
