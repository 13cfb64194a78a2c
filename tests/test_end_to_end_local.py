"""The real program when it is its own machine that fails, beyond the faults of `test_end_to_end_faults_*`.

What this machine cannot do is said of this machine, and of nothing else; and the program ends when it is told
to, at any moment.
"""

import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from tests.faults import ZONE, Scene, begin_to_start, keep, watch
from tests.services import (
    DEADLINE_SECONDS,
    LOOPBACK,
    PAUSE_SECONDS,
    ROOT,
    Lab,
    Samples,
    config,
    kms_exporter,
    need,
    zone,
)

NOT_OURS = "192.0.2.1"  # TEST-NET-1, RFC 5737: no socket can be bound to it, so nothing is sent
QUIET = config(hosts=[f"{LOOPBACK}:1"])
"""A configuration that asks nobody outside of this machine."""
MANY_PROBLEMS = f"hosts: {['?'] * 3000}\n"
"""A configuration whose problems make a line of 200 kB, more than a pipe holds."""

# --- File descriptors


def test_no_file_descriptors(lab: Lab) -> None:
    """What nobody could look at has no value, what was seen last still counts, and the log tells it once."""
    scene = watch(lab, Scene, keys={"hosts": [f"{LOOPBACK}:{lab.listener().port}"]})
    scene.exporter.wait_for(is_well, "the static host too")
    with keep(scene.exporter) as kept:
        soft, hard = resource.prlimit(scene.exporter.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(scene.exporter.pid, resource.RLIMIT_NOFILE, (3, hard))
        kept.wait_for(is_unknown, "nothing can be known")
        resource.prlimit(scene.exporter.pid, resource.RLIMIT_NOFILE, (soft, hard))
    scene.exporter.wait_for(is_well, "all is well again")
    scene.exporter.wait_until(
        lambda: statuses(scene)[-2:] == ["local_error", "ok"] or None, f"the log tells it: {statuses(scene)}"
    )
    assert [status for status, _ in itertools.groupby(statuses(scene))].count("local_error") == 1
    scene.assert_sound()


def statuses(scene: Scene) -> list[str]:
    """List what the log says that lookups came to, without those that were slow as the machine is."""
    changes = [entry for entry in scene.exporter.log() if entry["event"] == "srv lookup status changed"]
    return [entry["status"] for entry in changes if entry["status"] != "timeout"]


def verdicts(seen: Samples) -> tuple[str | None, str | None]:
    """Read what is said of the zone, and of the static host."""
    return seen.state("kms_client_verdict", "verdict", dns_zone=ZONE), seen.state(
        "kms_static_host_verdict", "verdict"
    )


def is_well(seen: Samples) -> bool:
    """Tell whether both have been looked at, and nothing failed."""
    return (
        verdicts(seen) == ("ok", "ok")
        and seen.status(ZONE) == "ok"
        and seen.series("kms_endpoint_failure") == []
    )


def is_unknown(seen: Samples) -> bool:
    """Tell whether neither lookup nor probe could be made, and the zone is shown so."""
    return (
        verdicts(seen) == ("unknown", "unknown")
        and seen.status(ZONE) == "local_error"
        and seen.labels("kms_endpoint_failure", "reason") == {"local_error"}
        and seen.series("kms_client_likely_error_info") == []
        and seen.series("kms_client_first_attempt_success_ratio") == []
        and seen.series("kms_srv_records") == []
        and seen.value("kms_srv_record_published", dns_zone=ZONE) == 1
    )


def test_few_file_descriptors(lab: Lab) -> None:
    """A limit too low for what the configuration allows is told once, with the numbers."""
    need("prlimit")
    few = lab.exporter(QUIET, before=["prlimit", "--nofile=300:300", "--"])
    warnings = [entry for entry in few.log() if entry["event"] == "few file descriptors"]
    assert [(entry["limit"], entry["wanted"]) for entry in warnings] == [(300, 2 * 256 + 512 + 32)]
    thrifty = config(hosts=[f"{LOOPBACK}:1"], probe={"networks": ["127.0.0.0/8"], "max_concurrency": 8})
    enough = lab.exporter(thrifty, before=["prlimit", "--nofile=600:600", "--"])
    assert [entry for entry in enough.log() if entry["event"] == "few file descriptors"] == []


# --- What `check` says


@pytest.mark.parametrize("form", ["text", "json", "nagios"])
def test_check(tmp_path: Path, form: str) -> None:
    """A check that this machine could not make has the status unknown, and says where to look."""
    path = tmp_path / "kms-exporter.yml"
    path.write_text(yaml.safe_dump(config(zone(ZONE, f"{LOOPBACK}:1"), source_addresses=[NOT_OURS])))
    done = kms_exporter("check", f"--config.file={path}", f"--format={form}")
    assert (done.returncode, done.stderr) == (3, "")
    if form == "text":
        assert "Verdict: unknown" in done.stdout
        assert "this machine could not send" in done.stdout
        assert "source_addresses" in done.stdout
        assert "0x8" not in done.stdout, "no code: nobody knows what clients meet"
    elif form == "nagios":
        assert done.stdout.startswith("KMS UNKNOWN - ")
    else:
        [server] = json.loads(done.stdout)["zones"][0]["dns_servers"]
        assert (server["verdict"], server["likely_error"]) == ("unknown", None)
        assert server["lookup"]["status"] == "local_error"
        assert [rung["state"] for rung in server["ladder"]] == ["unknown", *["not_reached"] * 4]


# --- Standard error


def test_start_that_fails_and_nobody_reads(tmp_path: Path) -> None:
    """A configuration with more problems than a pipe holds ends the start, be they read or not."""
    path = tmp_path / "kms-exporter.yml"
    path.write_text(MANY_PROBLEMS)
    command = [sys.executable, "-m", "exporter", "run", f"--config.file={path}"]
    reading, writing = os.pipe()
    process = subprocess.Popen([*command, f"--web.listen-address={LOOPBACK}:0"], cwd=ROOT, stderr=writing)
    os.close(writing)
    try:
        assert process.wait(DEADLINE_SECONDS) == 2
        assert os.read(reading, 4096)
    finally:
        process.kill()
        process.wait()
        os.close(reading)


# --- Signals before the service listens to them

DELAYS_SECONDS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.6, 1.0, 1.5)
QUIETLY = ("--log.level=error",)
AS_MODULE = ("-m", "exporter")
AS_SCRIPT = ("-c", "import sys; from exporter.cli import main; sys.exit(main())")


@pytest.mark.parametrize("delay_seconds", DELAYS_SECONDS)
def test_told_to_stop_at_any_moment(lab: Lab, tmp_path: Path, delay_seconds: float) -> None:
    """SIGTERM ends the service as one that was told to stop, wherever it has got to."""
    process = begin_to_start(lab, tmp_path, until=signal.SIGHUP, arguments=QUIETLY)
    time.sleep(delay_seconds)
    assert (process.stop(), process.lines) == (0, [])


@pytest.mark.parametrize(
    ("command", "number", "delay_seconds", "program"),
    [
        ("run", signal.SIGINT, 0.0, AS_MODULE),
        ("run", signal.SIGINT, 0.3, AS_MODULE),
        ("run", signal.SIGINT, 0.9, AS_MODULE),
        ("run", signal.SIGINT, 0.1, AS_SCRIPT),
        ("run", signal.SIGTERM, 0.1, AS_SCRIPT),
        ("demo", signal.SIGTERM, 0.2, AS_MODULE),
        ("demo", signal.SIGINT, 0.7, AS_MODULE),
    ],
)
def test_interrupted_at_any_moment(
    lab: Lab,
    tmp_path: Path,
    command: str,
    number: signal.Signals,
    delay_seconds: float,
    program: Sequence[str],
) -> None:
    """Both entries of the program and both services end without a traceback, by SIGINT as interrupted."""
    process = begin_to_start(
        lab, tmp_path, until=signal.SIGHUP, program=program, command=command, arguments=QUIETLY
    )
    time.sleep(delay_seconds)
    assert process.stop(number) in ({0} if number == signal.SIGTERM else {0, 130})
    assert process.lines == []


def test_told_to_reload_too_early(lab: Lab, tmp_path: Path) -> None:
    """SIGHUP before the service listens to it does no harm: the configuration is loaded anyway."""
    process = begin_to_start(lab, tmp_path, until=signal.SIGHUP)
    for _ in range(20):
        process.send_signal(signal.SIGHUP)
        time.sleep(PAUSE_SECONDS / 3)
    process.wait_until(lambda: " event=listening " in "\n".join(process.lines) or None, "it listens")
    assert process.stop() == 0
