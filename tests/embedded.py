"""The embedded lab of `kms-exporter demo`, played in this process for an exporter that looks more often."""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterator
from typing import Any

import yaml

from exporter.demo import Lab
from tests.services import DEADLINE_SECONDS

OFTEN = {"interval": "3s", "timeout": "2s"}


@contextlib.contextmanager
def embedded_lab(*, present_seconds: float = 3600.0) -> Iterator[dict[str, Any]]:
    """Play the lab on a thread of its own, and hand out the configuration that watches it.

    After `present_seconds` the record that comes and goes is gone, and stays away.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def wait_for(coroutine: Coroutine[Any, Any, object]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, loop).result(DEADLINE_SECONDS)

    lab = Lab(present_seconds=present_seconds, absent_seconds=24 * 3600.0)
    try:
        wait_for(lab.__aenter__())
        try:
            yield yaml.safe_load(lab.config_text) | OFTEN
        finally:
            wait_for(lab.__aexit__(None, None, None))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
