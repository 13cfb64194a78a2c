"""Tests of what is done about garbage once the first checks are over."""

import asyncio
import gc
from collections.abc import Iterator

import pytest

from exporter import app
from exporter.state import State


@pytest.fixture(autouse=True)
def _collection_as_it_was() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


class Waiting(State):
    """A state that is ready when a test says so."""

    ready = False

    def is_ready(self) -> bool:
        """Tell what the test has said."""
        return self.ready


def test_settle(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there after the first checks, and not before, is looked through no more."""
    monkeypatch.setattr(app, "LAG_SAMPLE_SECONDS", 0.001)

    async def scenario() -> None:
        state, before = Waiting(), gc.get_threshold()
        settling = asyncio.create_task(app._settle(state), name="settle")
        for _ in range(5):
            await asyncio.sleep(0.001)
        assert (gc.get_freeze_count(), gc.get_threshold()) == (0, before)
        state.ready = True
        await settling
        assert gc.get_freeze_count() > 1000
        assert gc.get_threshold()[0] > before[0]

    asyncio.run(scenario())
