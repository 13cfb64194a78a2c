"""Who looks at the exporter meanwhile: a scraper and a health check, each a process of its own.

So what they measure is not each other. The health check asks only while a scrape is under way, when it has to
wait for most; asking all the time would be a load that nobody has.
"""

import contextlib
import gzip
import http.client
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event

from tests.bench_lab import FORK, PROMETHEUS_ACCEPT, start_child
from tests.bench_rows import CannotCompareError

_HEALTH_PAUSE_SECONDS = 0.015
_TIMEOUT_SECONDS = 30


@dataclass(slots=True, kw_only=True)
class Seen:
    """What the two saw, in seconds; filled when they have stopped. The page is that of the last scrape."""

    scrapes: list[float] = field(default_factory=list)
    health_checks: list[float] = field(default_factory=list)
    page: bytes = field(default=b"", repr=False)

    @property
    def samples(self) -> int:
        """How many samples the last page had."""
        return sum(not line.startswith(b"#") for line in self.page.splitlines())


@contextlib.contextmanager
def watching(web: tuple[str, int], every_seconds: float, *, health: bool = True) -> Iterator[Seen]:
    """Scrape as Prometheus does, at once and then at an interval, and ask for health during each scrape.

    Without `health`, nobody asks for that.
    """
    seen, stop, scraping = Seen(), FORK.Event(), FORK.Event()
    scrapes, scraped = FORK.Pipe(duplex=False)
    checks, checked = FORK.Pipe(duplex=False)
    children = [start_child(_scrape, web, every_seconds, stop, scraping, scraped)]
    if health:
        children.append(start_child(_ask_for_health, web, stop, scraping, checked))
    scraped.close()
    checked.close()
    try:
        yield seen
        stop.set()
        scraping.set()
        seen.scrapes, seen.page = scrapes.recv()
        seen.health_checks = checks.recv() if health else []
    except EOFError as error:
        raise CannotCompareError("a scrape or a health check got no answer") from error
    finally:
        for child in children:
            child.kill()
            child.join()


def _scrape(
    web: tuple[str, int], every_seconds: float, stop: Event, scraping: Event, results: Connection
) -> None:
    took, page, due = list[float](), b"", time.monotonic()
    while not stop.wait(max(0.0, due - time.monotonic())):
        scraping.set()
        start = time.monotonic()
        page = _get(web, "/metrics", {"Accept": PROMETHEUS_ACCEPT, "Accept-Encoding": "gzip"})
        took.append(time.monotonic() - start)
        if not stop.is_set():
            scraping.clear()
        due += every_seconds
    results.send((took, gzip.decompress(page) if page[:2] == b"\x1f\x8b" else page))


def _ask_for_health(web: tuple[str, int], stop: Event, scraping: Event, results: Connection) -> None:
    took = list[float]()
    while scraping.wait() and not stop.wait(_HEALTH_PAUSE_SECONDS):
        start = time.monotonic()
        _get(web, "/-/healthy", {})
        took.append(time.monotonic() - start)
    results.send(took)


def _get(web: tuple[str, int], path: str, headers: dict[str, str]) -> bytes:
    """GET a page on a connection of its own, as probes of an orchestrator do; anything but 200 is the end."""
    connection = http.client.HTTPConnection(*web, timeout=_TIMEOUT_SECONDS)
    with contextlib.closing(connection):
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
    if answer.status != http.HTTPStatus.OK:
        raise SystemExit(1)
    return body
