"""What the pages need from the rest of the process, and where they are."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from exporter.build import BuildInfo
from exporter.config import Config
from exporter.health import Stalled
from exporter.history import History
from exporter.ondemand import OnDemand
from exporter.state import Snapshot, State
from exporter.web.paths import Paths


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """What the pages need from the rest of the process.

    `reload` gives the problems of a configuration that was refused, none when it was taken over; `config` is
    the one that is running. `stalled` names the checks that do not get on.
    """

    snapshot: Callable[[], Snapshot]
    is_ready: Callable[[], bool]
    reload: Callable[[], Awaitable[tuple[object, ...]]]
    count_internal_error: Callable[[], None]
    build: BuildInfo
    paths: Paths = field(default_factory=Paths)
    history: History = field(default_factory=lambda: History(State()))
    config: Callable[[], Config] = Config
    ondemand: OnDemand = field(default_factory=OnDemand)
    stalled: Stalled = tuple
