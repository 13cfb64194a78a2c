"""The benchmarks: what it costs to look, against what users run today, and what is true of what is reported.

    python -m tests.bench [--quick] [--only GROUP,...] [--json FILE]

Run by `make bench`; decides no test. The real exporter runs as its own process against a real BIND and real
listeners (bench_lab.py). Prints one table and writes the same as JSON. A target that is missed is a row
like any other; only a comparison that could not be done as it says ends this with status 1.
"""

import argparse
import ctypes
import datetime as dt
import importlib
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from tests.bench_lab import FULL, QUICK, Bench
from tests.bench_rows import Row, table
from tests.services import ROOT, which

GROUPS = ("pair", "scale", "truth", "start", "dead", "dns", "pieces")
RESULTS = ROOT / "build/bench.json"
_INSIDE = "--inside"
_PROGRAMS = ("named", "nsupdate", "prometheus", "prometheus-blackbox-exporter", "tcpdump", "ip", "taskset")
_PR_SET_PDEATHSIG = 1  # prctl(2)
_ENDING = (signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    """Run what is asked for in a namespace of its own, and give the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="everything smaller, in three minutes")
    parser.add_argument("--only", default=",".join(GROUPS), help=f"some of {','.join(GROUPS)}")
    parser.add_argument("--json", type=Path, default=RESULTS, help="where to write the table (%(default)s)")
    parser.add_argument(_INSIDE, type=Path, metavar="DIRECTORY", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    groups = arguments.only.split(",")
    if unknown := set(groups) - set(GROUPS):
        parser.error(f"no such group: {', '.join(sorted(unknown))}")
    if missing := [program for program in _PROGRAMS if which(program) is None]:
        parser.error(f"not installed: {', '.join(missing)}")
    if not arguments.inside:
        with tempfile.TemporaryDirectory() as directory:
            return _run_in_namespace(directory, *sys.argv[1:])
    _furnish_namespace(arguments.inside)
    bench = Bench(QUICK if arguments.quick else FULL, arguments.inside)
    try:
        return _run(bench, groups, arguments.json)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


# --- A namespace of its own


def _run_in_namespace(directory: str, *arguments: str) -> int:
    """Run this program again in namespaces, where it is the first process: all others end with it."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = [
        *("unshare", *user, "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
        *(sys.executable, "-m", "tests.bench", _INSIDE, directory, *arguments),
    ]
    libc = ctypes.CDLL(None)
    with subprocess.Popen(
        command,
        preexec_fn=lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),  # noqa: PLW1509
    ) as child:

        def end(number: int, frame: FrameType | None) -> None:
            child.kill()

        for number in _ENDING:
            signal.signal(number, end)
        while True:
            try:
                status = child.wait()
            except KeyboardInterrupt:  # it got that too, and tidies up
                continue
            return 128 - status if status < 0 else status  # as a shell tells of a signal


def _furnish_namespace(directory: Path) -> None:
    """Bring up loopback, and have names looked up at the BIND to come."""
    if (os.getpid(), Path("/proc/self").resolve().name) != (1, "1"):
        raise SystemExit("not in a namespace")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    resolv_conf = directory / "resolv.conf"
    resolv_conf.write_text("nameserver 127.0.0.1\n")
    subprocess.run(["mount", "--bind", resolv_conf, Path("/etc/resolv.conf").resolve()], check=True)


# --- Rows


def _run(bench: Bench, groups: Sequence[str], results: Path) -> int:
    rows, errors = list[Row](), dict[str, str]()
    for group in groups:
        start = time.monotonic()
        try:
            rows += importlib.import_module(f"tests.bench_{group}").measure(bench)
        except (Exception, pytest.fail.Exception, pytest.skip.Exception) as error:  # noqa: BLE001 (others go on)
            errors[group] = f"{type(error).__name__}: {error}"
            traceback.print_exc()
        print(f"{group}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    print(table(rows))
    if bench.sizes.quick:
        print("quick: for a look, not for comparing runs")
    for group, reason in errors.items():
        print(f"{group} could not be compared: {reason}")
    results.parent.mkdir(parents=True, exist_ok=True)
    found = {"quick": bench.sizes.quick} | _circumstances()
    found |= {"rows": [row.as_json() for row in rows], "errors": errors}
    results.write_text(json.dumps(found, indent=2) + "\n")
    print(f"written to {results}")
    return 1 if errors else 0


def _circumstances() -> dict[str, Any]:
    model = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "revision": _first_line("git", "-C", str(ROOT), "describe", "--always", "--dirty"),
        "machine": {
            "cpu": model[1] if model else platform.machine(),
            "cores": os.cpu_count(),
            "kernel": platform.release(),
        },
        "versions": {
            "python": platform.python_version(),
            "exporter": _first_line(sys.executable, "-m", "exporter", "--version"),
            "bind": _first_line("named", "-v"),
            "prometheus": _first_line("prometheus", "--version"),
            "blackbox_exporter": _first_line("prometheus-blackbox-exporter", "--version"),
            "tcpdump": _first_line("tcpdump", "--version"),
            "dns_exporter": _first_line(str(ROOT / ".venv/bench/bin/dns_exporter"), "--version"),
        },
    }


def _first_line(program: str, *arguments: str) -> str:
    """Give the first line that a program writes, empty where there is none or it fails."""
    try:
        done = subprocess.run(
            [which(program) or program, *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.partition("\n")[0].strip()


if __name__ == "__main__":
    sys.exit(main())
