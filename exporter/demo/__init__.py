"""The embedded lab of `kms-exporter demo`: DNS servers and TCP endpoints that play every situation.

Everything is on loopback and lives on the event loop that starts it: no root, no network, no files, no
threads. What is played is listed in `situations`. It only gives the exporter something to look at; it
does not speak KMS: it answers an RPC bind and takes no request.

| module | holds |
| --- | --- |
| zones | what can be played |
| situations | what is played |
| configuration | the configuration that watches it |
| authority | what a name server answers |
| nameserver | the name servers on the network |
| binding | what an RPC runtime answers |
| endpoints | the hosts on the network |
| sockets | what both stand on |
"""

import asyncio
import contextlib
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from exporter.demo.authority import load
from exporter.demo.configuration import configuration
from exporter.demo.endpoints import endpoints
from exporter.demo.nameserver import nameservers
from exporter.demo.situations import situations
from exporter.demo.zones import DNS_ADDRESS, ENDPOINTS, SECOND_DNS_ADDRESS, Schedule, Situation
from exporter.model import KMS_PORT


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
            played = self._situations(port)
            zones = {DNS_ADDRESS: load(played), SECOND_DNS_ADDRESS: load(played, elsewhere=True)}
            dns_port = await stack.enter_async_context(nameservers(zones, lambda: loop.time() - started))
            self._running = stack.pop_all()
        self.config_text = configuration(played, port=port, dns_port=dns_port).encode()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._running.aclose()

    def _situations(self, port: int) -> tuple[Situation, ...]:
        return situations(port=port, schedule=self._schedule)
