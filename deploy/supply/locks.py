"""Reads the lock files in deploy/: requirements that are pinned, hashed, and say who asked for them.

They have the format of pip's requirements files (https://pip.pypa.io/en/stable/reference/requirements-file-format/)
as uv writes it: one requirement, its hashes on continued lines, then a comment `via` with what needs it.
Anything else is refused rather than skipped: an option such as another index would change what is installed.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DEPLOY = Path(__file__).resolve().parent.parent
RUNTIME = DEPLOY / "requirements.lock"
_PIN = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)(?: ; (?P<marker>[^\\]+?))?")
_HASH = re.compile(r"--hash=sha256:(?P<digest>[0-9a-f]{64})")
_PROJECT = re.compile(r"kms-exporter \(pyproject\.toml(?::[a-z]+)?\)|-r -")


class LockError(Exception):
    """A line that does not belong into a lock; the text says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """One package of a lock. `via` names the packages that need it; `direct` is true if the project does."""

    name: str
    version: str
    marker: str | None
    sha256: tuple[str, ...]
    via: tuple[str, ...]
    direct: bool


def lock_files() -> list[Path]:
    """List every lock, the runtime's among them."""
    return sorted(DEPLOY.glob("requirements*.lock"))


def read_lock(path: Path) -> list[Pin]:
    """Read a lock, and raise LockError where it has something else than pins with hashes."""
    return [_pin(path, block) for block in _blocks(path.read_text(encoding="utf-8"))]


def _blocks(text: str) -> Iterator[list[str]]:
    """Cut a lock into requirements, each with the lines that belong to it. What stands above is a heading."""
    block: list[str] = []
    for line in text.splitlines():
        if line.startswith("#") or not line.strip():
            continue
        if not line.startswith(" "):
            if block:
                yield block
            block = []
        block.append(line.strip())
    if block:
        yield block


def _pin(path: Path, block: list[str]) -> Pin:
    requirement = [line.removesuffix("\\").strip() for line in block if not line.startswith("#")]
    match = _PIN.fullmatch(requirement[0])
    hashes = [_HASH.fullmatch(line) for line in requirement[1:]]
    if match is None or not hashes or None in hashes:
        raise LockError(f"{path.name}: not one pinned version with its hashes: {requirement[0]}")
    comments = [line.removeprefix("#").strip() for line in block if line.startswith("#")]
    sources = [name for name in (comment.removeprefix("via").strip() for comment in comments) if name]
    return Pin(
        name=match["name"],
        version=match["version"],
        marker=match["marker"],
        sha256=tuple(found["digest"] for found in hashes if found),
        via=tuple(name for name in sources if not _PROJECT.fullmatch(name)),
        direct=any(_PROJECT.fullmatch(name) for name in sources),
    )
