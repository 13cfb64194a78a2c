"""Tests of what the service does beside its checks: about garbage, and to measure its event loop."""

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


def test_collect_garbage(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there after the first checks is looked through no more, and not before; the rest is, by age."""
    monkeypatch.setattr(app, "LAG_SAMPLE_SECONDS", 0.001)
    monkeypatch.setattr(app, "GARBAGE_SECONDS", 0.0)
    collected: list[int] = []
    monkeypatch.setattr(gc, "collect", lambda generation=2: collected.append(generation))

    async def scenario() -> None:
        state, before = Waiting(), gc.get_threshold()
        collecting = asyncio.create_task(app._collect_garbage(state), name="garbage")
        for _ in range(5):
            await asyncio.sleep(0.001)
        assert (gc.get_freeze_count(), gc.get_threshold(), collected) == (0, before, [])
        state.ready = True
        while len(collected) <= 3600:
            await asyncio.sleep(0)
            assert not collecting.done()
        assert gc.get_freeze_count() > 1000
        assert gc.get_threshold()[0] > before[0]
        collecting.cancel()

    asyncio.run(scenario())
    assert collected[:3] == [2, 0, 0]
    assert [number for number, generation in enumerate(collected) if generation == 1][:2] == [20, 40]
    assert collected[3600] == 2


def test_measure_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lag is measured often, and tasks, which takes longer the more there are, are counted less often."""
    monkeypatch.setattr(app, "LAG_SAMPLE_SECONDS", 0.0)
    seen: list[str] = []

    class Seeing(State):
        def observe_lag(self, seconds: float) -> None:
            assert seconds >= 0
            seen.append("lag")

        def observe_tasks(self, count: int) -> None:
            assert count == 2  # this one, and that which measures
            seen.append("tasks")

    async def scenario() -> None:
        measuring = asyncio.create_task(app._measure_loop(Seeing()), name="event loop lag")
        while seen.count("tasks") < 3:
            await asyncio.sleep(0)
            assert not measuring.done()
        measuring.cancel()

    asyncio.run(scenario())
    assert (seen[0], seen.count("lag")) == ("tasks", 20)
