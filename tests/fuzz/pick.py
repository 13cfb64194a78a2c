"""Pick few inputs out of many that reach all that the many reach: `python -m tests.fuzz.pick FOLDER...`.

Each folder holds inputs by target, as `python -m tests.fuzz --corpus FOLDER` leaves them. Those in corpus/
that bear a name which a person gave stay; the others give way to the picked ones. What an input reaches is
the branches of the exporter's own code, and whether it is taken.
"""

import hashlib
import re
import sys
import threading
from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path
from types import FrameType
from typing import Any

import exporter
from tests.fuzz.target import CORPUS, Run
from tests.fuzz.targets import TARGETS

_ROOT = str(Path(exporter.__file__).parent)
_PICKED = re.compile("[0-9a-f]{12}")
_LONGEST = 1500

Reached = frozenset[object]


def main(folders: list[str]) -> None:
    """Pick for every target."""
    for name in TARGETS:
        kept = CORPUS / name
        kept.mkdir(parents=True, exist_ok=True)
        found = {path for folder in folders for path in Path(folder, name).glob("*")} | set(kept.iterdir())
        inputs = sorted({path.read_bytes() for path in found}, key=lambda data: (len(data), data))
        named = {path.read_bytes() for path in kept.iterdir() if not _PICKED.fullmatch(path.name)}
        with TARGETS[name].open() as run:
            reached = {data: trace(run, data) for data in inputs if len(data) <= _LONGEST or data in named}
        picked = pick(reached, named)
        for path in kept.iterdir():
            if _PICKED.fullmatch(path.name):
                path.unlink()
        for data in picked - named:
            (kept / hashlib.sha256(data).hexdigest()[:12]).write_bytes(data)
        print(f"{name}: {len(picked)} of {len(inputs)} inputs, {sum(map(len, picked))} bytes")


def pick(reached: Mapping[bytes, Reached], given: set[bytes]) -> set[bytes]:
    """Take the input that adds most until none adds anything, beginning with those that are given."""
    picked, done = set(given), set(chain.from_iterable(reached[data] for data in given))
    rest = dict(reached)
    while rest:
        best = max(rest, key=lambda data: (len(rest[data] - done), -len(data), data))
        if not rest[best] - done:
            break
        picked.add(best)
        done |= rest.pop(best)
    return picked


def trace(run: Run, data: bytes) -> Reached:
    """Tell which steps from line to line of the exporter an input takes."""
    steps = set[object]()

    def enter(frame: FrameType, _event: str, _argument: Any) -> Callable[..., Any] | None:
        if not frame.f_code.co_filename.startswith(_ROOT):
            return None
        code, last = frame.f_code, 0

        def step(frame: FrameType, event: str, _argument: Any) -> Callable[..., Any]:
            nonlocal last
            steps.add((code.co_filename, code.co_name, last, frame.f_lineno, event == "exception"))
            last = frame.f_lineno
            return step

        return step

    threading.settrace(enter)
    sys.settrace(enter)
    try:
        taken = run(data)
    finally:
        sys.settrace(None)
        threading.settrace(None)
    return frozenset({*steps, taken})


if __name__ == "__main__":
    main(sys.argv[1:])
