"""What the pages need from the rest of the process, and where they are."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from exporter.build import BuildInfo
from exporter.state import Snapshot
from exporter.web.paths import Paths


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """What the pages need from the rest of the process.

    `reload` gives the problems of a configuration that was refused, none when it was taken over.
    """

    snapshot: Callable[[], Snapshot]
    is_ready: Callable[[], bool]
    reload: Callable[[], Awaitable[tuple[object, ...]]]
    count_internal_error: Callable[[], None]
    build: BuildInfo
    paths: Paths = field(default_factory=Paths)
