"""Tests of the fuzzer's targets without the fuzzer: no input that is kept breaks a promise.

What an input is fed to, and what is held of it, is in `fuzz/`; a crash that was mended has its input there.
"""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.fuzz.__main__ import dictionary, main
from tests.fuzz.pick import pick
from tests.fuzz.target import CORPUS, Run, corpus_of
from tests.fuzz.targets import TARGETS

INPUTS = [(name, path) for name in TARGETS for path in corpus_of(name)]
MOST_BYTES = 100_000


class Opened:
    """Targets that are open, each from its first input on."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._runs = dict[str, Run]()

    def __call__(self, name: str) -> Run:
        """Open a target, unless it is."""
        if name not in self._runs:
            self._runs[name] = self._stack.enter_context(TARGETS[name].open())
        return self._runs[name]


@pytest.fixture(scope="module")
def opened() -> Iterator[Opened]:
    """Open targets for all tests of this module."""
    with ExitStack() as stack:
        yield Opened(stack)


@pytest.mark.parametrize(("name", "path"), INPUTS, ids=[f"{name}-{path.name}" for name, path in INPUTS])
def test_input(opened: Opened, name: str, path: Path) -> None:
    """An input that is kept breaks no promise."""
    assert opened(name)(path.read_bytes()) in {False, True}


@pytest.mark.parametrize("name", TARGETS)
def test_corpus_is_alive(opened: Opened, name: str) -> None:
    """Of the inputs of each target some are taken and some are refused, so that either way is gone."""
    run = opened(name)
    assert {run(path.read_bytes()) for path in corpus_of(name)} == {False, True}


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_is_refused_too(opened: Opened, name: str) -> None:
    """An empty input, and one as long as the fuzzer makes them, break no promise either."""
    run = opened(name)
    assert run(b"") in {False, True}
    assert run(b"\xff" * TARGETS[name].longest) in {False, True}


def test_corpus_is_small() -> None:
    """What is kept belongs to a target each, and is little enough to keep."""
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)
    assert sum(path.stat().st_size for _, path in INPUTS) <= MOST_BYTES


def test_broken_promise_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that breaks a promise is found out by the inputs that are kept."""
    monkeypatch.setattr("tests.fuzz.rpc_answers.judge", lambda received: None)
    inputs = [path.read_bytes() for path in corpus_of("rpc")]
    with TARGETS["rpc"].open() as run, pytest.raises(AssertionError):
        list(map(run, inputs))


@pytest.mark.parametrize("name", TARGETS)
def test_dictionary(name: str) -> None:
    """The words of a target are written as libFuzzer reads them: no bytes but in escapes, none empty."""
    words = TARGETS[name].words
    lines = dictionary(words).splitlines()
    assert [bytes.fromhex(line[1:-1].replace("\\x", "")) for line in lines] == list(words)
    assert all(re.fullmatch(r'"(\\x[0-9A-F]{2})+"', line) for line in lines)


@pytest.mark.parametrize(
    ("given", "picked"),
    [(set(), {b"a", b"ccc"}), ({b"bb"}, {b"bb", b"ccc"}), ({b"dddd"}, {b"dddd"})],
)
def test_pick(given: set[bytes], picked: set[bytes]) -> None:
    """Few inputs are picked that reach all there is to reach, beside those that are kept anyway."""
    reached: dict[bytes, frozenset[object]] = {
        b"a": frozenset({1}),
        b"bb": frozenset({1, 2}),
        b"ccc": frozenset({2, 3, 4}),
        b"dddd": frozenset({1, 2, 3, 4}),
        b"": frozenset(),
    }
    if b"dddd" not in given:
        del reached[b"dddd"]
    assert pick(reached, given) == picked


def test_command_without_atheris(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the fuzzer is not installed, it is said how to get it."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert main(["rpc"]) == 2
    assert "make fuzz" in capsys.readouterr().err


def test_command_with_unknown_target(capsys: pytest.CaptureFixture[str]) -> None:
    """A target that is not there is refused by name."""
    with pytest.raises(SystemExit, match="2"):
        main(["rpc", "rcp"])
    assert "no such target: rcp" in capsys.readouterr().err
