"""Fuzz the ways in, each for its share of the time: `python -m tests.fuzz [--seconds N] [TARGET...]`.

Each target is fed in a process of its own, within bounds on time and memory. An input that breaks a promise
is saved in crashes/: mend what it shows, then keep it in corpus/TARGET under a name that says what it was.
"""

import argparse
import importlib.util
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.fuzz.target import CORPUS, Target
from tests.fuzz.targets import TARGETS

CRASHES = CORPUS.parent / "crashes"
_INPUT_SECONDS = 20
_MEMORY_MIB = 1024
_MORE_SECONDS = 600  # to start, and on a busy machine
_EXECUTIONS = re.compile(r"number_of_executed_units: +(\d+)")
_COVERAGE = re.compile(r"cov: (\d+) ft: (\d+)")
_LAST_LINES = 40


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz what is asked for; gives the exit status: 1 when an input broke a promise, 2 without atheris."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; default: all")
    parser.add_argument("--seconds", type=int, default=600, help="for all targets together (default: 600)")
    parser.add_argument("--corpus", type=Path, help="a folder to keep new inputs in; default: none are kept")
    asked = parser.parse_args(arguments)
    names = list(dict.fromkeys(asked.targets or TARGETS))
    if unknown := sorted(set(names) - set(TARGETS)):
        parser.error(f"no such target: {', '.join(unknown)}")
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed here: use `make fuzz`.", file=sys.stderr)
        return 2
    share = max(1, asked.seconds // len(names))
    with tempfile.TemporaryDirectory() as scratch:
        failed = [name for name in names if not _fuzz(name, share, asked.corpus, Path(scratch))]
    if failed:
        print(f"Broken promises: {', '.join(failed)}. The inputs are in {CRASHES}.")
    return int(bool(failed))


def _fuzz(name: str, seconds: int, keep: Path | None, scratch: Path) -> bool:
    """Feed one target; tells whether it stood."""
    grown, words = (keep or scratch) / name, scratch / f"{name}.dict"
    for folder in (grown, CRASHES):
        folder.mkdir(parents=True, exist_ok=True)
    words.write_text(dictionary(TARGETS[name].words))
    command = _command(name, TARGETS[name], seconds, words, (grown, CORPUS / name))
    try:
        ended = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=2 * seconds + _MORE_SECONDS,
        )
    except subprocess.TimeoutExpired:
        print(f"{name:12} did not end in time")
        return False
    print(f"{name:12} {_summary(ended.stderr)}", flush=True)
    if ended.returncode:
        print("\n".join((ended.stderr + ended.stdout).splitlines()[-_LAST_LINES:]))
    return not ended.returncode


def _command(name: str, target: Target, seconds: int, words: Path, corpora: Iterable[Path]) -> list[str]:
    return [
        *(sys.executable, "-m", "tests.fuzz.engine", name),
        f"-max_total_time={seconds}",
        f"-timeout={_INPUT_SECONDS}",
        f"-rss_limit_mb={_MEMORY_MIB}",
        f"-max_len={target.longest}",
        f"-dict={words}",
        f"-artifact_prefix={CRASHES}/{name}-",
        "-print_final_stats=1",
        *map(str, corpora),
    ]


def dictionary(words: Iterable[bytes]) -> str:
    """Write words as libFuzzer reads them: https://llvm.org/docs/LibFuzzer.html#dictionaries."""
    return "".join('"' + "".join(f"\\x{byte:02X}" for byte in word) + '"\n' for word in words)


def _summary(log: str) -> str:
    executions = _EXECUTIONS.findall(log)
    coverage = _COVERAGE.findall(log)
    cov, features = coverage[-1] if coverage else ("?", "?")
    return f"{executions[-1] if executions else '?':>9} executions, coverage {cov}, features {features}"


if __name__ == "__main__":
    sys.exit(main())
