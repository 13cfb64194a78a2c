"""Tests of what the project is made of: its locks, its bill of materials, the audit, and the wheel."""

import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
import uuid
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from deploy.supply import audit, locks
from exporter import __version__
from tests.services import DEADLINE_SECONDS, LOOPBACK, ROOT, ClosedPort, SilentPeer, need

SUPPLY = ROOT / ".venv/supply/bin/python"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = f"pkg:pypi/kms-exporter@{__version__}"
COMMIT_TIME = "1700000000"


def names(requirements: list[str]) -> set[str]:
    """Take the names from requirements, as locks spell them."""
    found = [re.match(r"[A-Za-z0-9._-]+", requirement) for requirement in requirements]
    return {re.sub(r"[-_.]+", "-", match[0]).lower() for match in found if match}


# --- Locks


@pytest.mark.parametrize("path", locks.lock_files(), ids=lambda path: path.name)
def test_lock_is_pins_with_hashes(path: Path) -> None:
    """A lock has pinned versions with hashes and nothing else: no address, no index, no option."""
    pins = locks.read_lock(path)
    assert len({(pin.name, pin.marker) for pin in pins}) == len(pins) > 0
    assert "://" not in path.read_text()


@pytest.mark.parametrize(
    ("name", "requirements"),
    [
        ("requirements.lock", PYPROJECT["project"]["dependencies"]),
        ("requirements-build.lock", PYPROJECT["build-system"]["requires"]),
        *(
            (f"requirements-{group}.lock", requirements)
            for group, requirements in PYPROJECT["dependency-groups"].items()
        ),
    ],
)
def test_lock_has_what_the_project_asks_for(name: str, requirements: list[str]) -> None:
    """Everything that pyproject.toml asks for is in the lock for it."""
    assert names(requirements) - {pin.name for pin in locks.read_lock(locks.DEPLOY / name)} == set()


def test_development_runs_on_what_is_released() -> None:
    """The tests run on the very versions and files of the runtime lock."""
    tested = {pin.name: pin for pin in locks.read_lock(locks.DEPLOY / "requirements-dev.lock")}
    released = locks.read_lock(locks.RUNTIME)
    assert [(tested[pin.name].version, tested[pin.name].sha256) for pin in released] == [
        (pin.version, pin.sha256) for pin in released
    ]


def test_lock_says_who_needs_what() -> None:
    """A pin names who needs it, the project or other packages of the lock."""
    pins = locks.read_lock(locks.RUNTIME)
    direct = {pin.name for pin in pins if pin.direct}
    assert direct == names(PYPROJECT["project"]["dependencies"])
    assert {pin.name for pin in pins if not pin.direct and not pin.via} == set()
    assert {name for pin in pins for name in pin.via} <= {pin.name for pin in pins}


DIGEST = f"--hash=sha256:{'0' * 64}"


@pytest.mark.parametrize(
    "text",
    [
        "structlog==26.1.0\n",
        f"structlog>=26 \\\n    {DIGEST}\n",
        f"structlog==26.1.0 \\\n    {DIGEST} \\\n    --hash=md5:0\n",
        f"structlog @ https://example.com/structlog.whl \\\n    {DIGEST}\n",
        f"--index-url https://example.com/simple\nstructlog==26.1.0 \\\n    {DIGEST}\n",
        f"-e . \\\n    {DIGEST}\n",
    ],
)
def test_lock_with_something_else_is_refused(tmp_path: Path, text: str) -> None:
    """A requirement that is not pinned, not hashed, an address, or an option, is found."""
    (tmp_path / "bad.lock").write_text(text)
    with pytest.raises(locks.LockError, match=r"^bad\.lock: not one pinned version with its hashes: "):
        locks.read_lock(tmp_path / "bad.lock")


# --- Bill of materials


def supply(module: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run one of the tools in its own environment; whatever it asks for is on this machine."""
    need(str(SUPPLY))
    return subprocess.run(
        [str(SUPPLY), "-m", f"deploy.supply.{module}", *arguments],
        cwd=ROOT,
        env=os.environ | {"no_proxy": LOOPBACK, "NO_PROXY": LOOPBACK} | environment,
        capture_output=True,
        encoding="utf-8",
        timeout=DEADLINE_SECONDS,
        check=False,
    )


def made(directory: Path) -> bytes:
    """Make the bill of materials."""
    done = supply("sbom", str(directory / "sbom.json"), SOURCE_DATE_EPOCH=COMMIT_TIME)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return (directory / "sbom.json").read_bytes()


@pytest.fixture(scope="module")
def bill_text(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Make the bill of materials once."""
    return made(tmp_path_factory.mktemp("sbom"))


@pytest.fixture
def bill(bill_text: bytes) -> dict[str, Any]:
    """Read the bill of materials."""
    parsed: dict[str, Any] = json.loads(bill_text)
    return parsed


def test_bill_is_that_of_this_project(bill: dict[str, Any]) -> None:
    """The bill is CycloneDX, and of this version of the project, under its licence."""
    assert (bill["bomFormat"], bill["specVersion"], bill["version"]) == ("CycloneDX", "1.6", 1)
    project = bill["metadata"]["component"]
    assert (project["type"], project["name"], project["version"]) == (
        "application",
        "kms-exporter",
        __version__,
    )
    assert project["purl"] == project["bom-ref"] == PROJECT
    [licence] = project["licenses"]
    assert licence["license"]["id"] == PYPROJECT["project"]["license"]
    assert bill["metadata"]["timestamp"] == "2023-11-14T22:13:20+00:00"


def test_bill_lists_the_runtime_lock(bill: dict[str, Any]) -> None:
    """The components are the pins of the runtime lock, each with its version, address and hashes."""

    def hashes(component: dict[str, Any]) -> tuple[str, ...]:
        [distribution] = component["externalReferences"]
        assert {each["alg"] for each in distribution["hashes"]} == {"SHA-256"}
        return tuple(sorted(each["content"] for each in distribution["hashes"]))

    assert sorted(
        (each["name"], each["version"], each["purl"], hashes(each)) for each in bill["components"]
    ) == sorted(
        (pin.name, pin.version, f"pkg:pypi/{pin.name}@{pin.version}", tuple(sorted(pin.sha256)))
        for pin in locks.read_lock(locks.RUNTIME)
    )


def test_bill_says_what_needs_what(bill: dict[str, Any]) -> None:
    """The graph begins at the project and reaches every component."""
    needs = {each["ref"]: each.get("dependsOn", []) for each in bill["dependencies"]}
    assert {ref.partition("@")[0].removeprefix("pkg:pypi/") for ref in needs[PROJECT]} == names(
        PYPROJECT["project"]["dependencies"]
    )
    reached, ahead = {PROJECT}, [PROJECT]
    while ahead:
        fresh = set(needs[ahead.pop()]) - reached
        reached |= fresh
        ahead += fresh
    assert reached == needs.keys() == {PROJECT} | {each["bom-ref"] for each in bill["components"]}


def test_bill_is_reproducible(bill_text: bytes, tmp_path: Path) -> None:
    """The same commit gives the same bytes, with a serial number of its own."""
    again = made(tmp_path)
    assert again == bill_text
    serial = json.loads(again)["serialNumber"]
    assert uuid.UUID(serial).version == 5
    assert serial == uuid.UUID(serial).urn


# --- Audit


@contextmanager
def advisories(answer: Callable[[int, dict[str, Any]], tuple[int, dict[str, Any]]]) -> Iterator[str]:
    """Serve an advisory database on loopback; `answer` is given the number of a question, and it."""
    asked = 0

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            nonlocal asked
            asked += 1
            question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, found = answer(asked, question)
            body = json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer((LOOPBACK, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://{LOOPBACK}:{server.server_port}/v1/query"
        finally:
            server.shutdown()
            thread.join()


def advisory(name: str) -> dict[str, Any]:
    """Build an advisory about all versions of a package before the ninety-ninth."""
    affected = {
        "package": {"name": name, "ecosystem": "PyPI"},
        "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99"}]}],
    }
    return {"vulns": [{"id": "CVE-2026-0001", "summary": "It is bad.", "affected": [affected]}]}


def test_audit_finds_nothing() -> None:
    """Every pin of every lock that holds on this machine is asked for, by name and version."""
    asked = set()

    def answer(_: int, question: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        asked.add((question["package"]["name"], question["version"]))
        return 200, {}

    with advisories(answer) as url:
        done = supply("audit", PIP_AUDIT_OSV_URL=url)
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("audited: nothing known about ")
    pins = [pin for path in locks.lock_files() for pin in locks.read_lock(path)]
    assert {(pin.name, pin.version) for pin in pins if not pin.marker} - asked == set()


def test_audit_finds_a_vulnerability() -> None:
    """A known vulnerability fails the audit, with the version that mends it, unless it was accepted."""

    def answer(_: int, question: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        name = question["package"]["name"]
        return 200, advisory(name) if name == "jinja2" else {}

    [version] = [pin.version for pin in locks.read_lock(locks.RUNTIME) if pin.name == "jinja2"]
    with advisories(answer) as url:
        done = supply("audit", PIP_AUDIT_OSV_URL=url)
        accepted = supply("audit", "--ignore-vuln=CVE-2026-0001", PIP_AUDIT_OSV_URL=url)
    assert done.returncode == 1
    assert f"jinja2 {version}: CVE-2026-0001, fixed in 99: It is bad.\n" in done.stdout
    assert accepted.returncode == 0, accepted.stdout


def test_audit_that_cannot_ask() -> None:
    """Where no database answers, that is said, and it is no failure."""
    closed = ClosedPort()
    done = supply("audit", PIP_AUDIT_OSV_URL=f"http://{LOOPBACK}:{closed.port}/v1/query")
    closed.close()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"not audited: http://{LOOPBACK}:{closed.port}/v1/query cannot be asked")
    assert done.stdout.endswith("Connection refused>\n")


def test_audit_that_is_cut_off() -> None:
    """A database that goes away in the middle is no failure either, and is not taken for a clean result."""
    with advisories(lambda asked, _: (200 if asked == 1 else 503, {})) as url:
        done = supply("audit", PIP_AUDIT_OSV_URL=url)
    assert done.returncode == 0
    assert done.stdout == f"not audited: {url} stopped answering: HTTP Error 503: Service Unavailable\n"


def test_audit_that_fails_itself() -> None:
    """What pip-audit cannot do fails the audit as long as the database can be asked."""
    with advisories(lambda *_: (200, {})) as url:
        done = supply("audit", "--no-such-option", PIP_AUDIT_OSV_URL=url)
    assert done.returncode == 2
    assert done.stdout.endswith("\nThe audit failed.\n")


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ((200, {}), None),
        ((403, {}), "HTTP Error 403: Forbidden"),
    ],
)
def test_database_can_be_asked(
    monkeypatch: pytest.MonkeyPatch, answer: tuple[int, dict[str, Any]], problem: str | None
) -> None:
    """A database can be asked that answers with JSON; a proxy that forbids it cannot."""
    monkeypatch.setenv("no_proxy", LOOPBACK)
    with advisories(lambda *_: answer) as url:
        assert audit.unreachable(url) == problem


def test_silent_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that accepts and says nothing is given up."""
    monkeypatch.setenv("no_proxy", LOOPBACK)
    peer = SilentPeer()
    problem = audit.unreachable(f"http://{LOOPBACK}:{peer.port}/", seconds=0.2)
    peer.close()
    assert problem in {"timed out", "no answer within 0.2 s"}


# --- The wheel


BUILD = "-m pip wheel -q --disable-pip-version-check --no-deps --no-build-isolation --no-index -w dist ."


def wheel(tree: Path, *, umask: str, mode: str, zone: str) -> Path:
    """Build the wheel of a copy of the project as `make wheel` does, as somebody with other habits would."""
    subprocess.run(
        ["sh", "-c", f"umask {umask}; chmod -R {mode} .; exec '{sys.executable}' {BUILD}"],
        cwd=tree,
        env=os.environ | {"SOURCE_DATE_EPOCH": COMMIT_TIME, "TZ": zone},
        timeout=DEADLINE_SECONDS,
        check=True,
    )
    [built] = (tree / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Build the wheel twice: in two places, with other times and modes of the files."""
    here, there = (tmp_path_factory.mktemp(name) / "tree" for name in ("one", "a-much-longer-name"))
    here.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, here / name)
    shutil.copytree(ROOT / "exporter", here / "exporter", ignore=shutil.ignore_patterns("__pycache__"))
    (here / "exporter/REVISION").write_text("abcdef0")
    shutil.copytree(here, there, copy_function=shutil.copyfile)
    for path in there.rglob("*"):
        os.utime(path, (1_500_000_000, 1_500_000_000))
    return (
        wheel(here, umask="022", mode="u=rwX,go=rX", zone="UTC"),
        wheel(there, umask="077", mode="u=rwX,go=", zone="Asia/Tokyo"),
    )


def test_wheel_is_reproducible(wheels: tuple[Path, Path]) -> None:
    """Two builds of one commit give the same bytes, wherever, whenever and by whomever they are made."""
    assert wheels[0].name == wheels[1].name
    assert len({sha256(path.read_bytes()).hexdigest() for path in wheels}) == 1


def test_wheel_is_the_program_alone(wheels: tuple[Path, Path]) -> None:
    """The wheel has the package, its revision, and what describes it: no tests, no caches."""
    with zipfile.ZipFile(wheels[0]) as archive:
        members = archive.namelist()
        assert archive.read("exporter/REVISION") == b"abcdef0"
    assert {member.partition("/")[0] for member in members} == {
        "exporter",
        f"kms_exporter-{__version__}.dist-info",
    }
    assert [member for member in members if member.endswith(".pyc")] == []
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "exporter").rglob("*.py")}
    assert sources <= set(members)
