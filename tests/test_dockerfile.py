"""Tests of the image without a container engine: its steps are run in a folder, and what they made is used.

The instructions are read from the Dockerfile itself; only its absolute paths are moved below the folder. What
comes out runs as the image's user in a network namespace of its own, where the whole file system is read-only
and the environment is that of the image.
"""

import http.server
import itertools
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from http import HTTPStatus
from pathlib import Path

import pytest

from tests.services import (
    DEADLINE_SECONDS,
    LOOPBACK,
    ROOT,
    Namespace,
    Process,
    http_request,
    need,
    need_namespaces,
)

DOCKERFILE = ROOT / "Dockerfile"
HADOLINT = ROOT / ".venv/bin/hadolint"
MOVED = ("/opt/build", "/opt/venv", "/src", "/etc/kms-exporter")
REVISION = "abcdef0"
PORT = 11688
MAX_VENV_BYTES = 80_000_000
BUILD_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction: its name, its flags, and what follows."""

    name: str
    flags: Mapping[str, str]
    value: str

    @property
    def words(self) -> list[str]:
        """The value as a list: that of the exec form, or its words."""
        if self.value.startswith("["):
            words: list[str] = json.loads(self.value)
            return words
        return shlex.split(self.value)


def parse(text: str) -> list[Instruction]:
    """Parse a Dockerfile as far as ours goes: no here-documents, no other escape character."""
    lines = [line for line in text.splitlines() if not re.match(r"\s*#", line)]
    joined = re.sub(r"\\\n", "", "\n".join(lines))
    found = []
    for line in filter(str.strip, joined.splitlines()):
        name, rest = line.split(maxsplit=1)
        flags = {}
        while match := re.match(r"--([a-z-]+)=(\S+)\s+", rest):
            flags[match[1]], rest = match[2], rest[match.end() :]
        found.append(Instruction(name, flags, rest.strip()))
    return found


def stages() -> list[list[Instruction]]:
    """Cut the Dockerfile into its stages; what is above the first belongs to none."""
    found: list[list[Instruction]] = []
    for instruction in parse(DOCKERFILE.read_text()):
        if instruction.name == "FROM":
            found.append([])
        if found:
            found[-1].append(instruction)
    return found


def one(name: str) -> Instruction:
    """Give the only instruction of this name in the last stage."""
    [found] = [instruction for instruction in stages()[-1] if instruction.name == name]
    return found


def context() -> Iterator[str]:
    """List the files that .dockerignore lets through: the last pattern that matches a file decides."""
    patterns = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=True,
    ).stdout.splitlines()
    for name in listed:
        ignored = False
        for pattern in patterns:
            bare = pattern.removeprefix("!").removeprefix("**/")
            parents = ["/".join(name.split("/")[:count]) for count in range(1, name.count("/") + 2)]
            candidates = name.split("/") if "**/" in pattern else parents
            if any(fnmatch(candidate, bare) for candidate in candidates):
                ignored = not pattern.startswith("!")
        if not ignored and (ROOT / name).exists():
            yield name


# --- What the file says


def test_dockerfile_is_clean() -> None:
    """The linter has nothing to say, and nothing is hidden from it."""
    need(str(HADOLINT))
    subprocess.run([str(HADOLINT), "--no-color", str(DOCKERFILE)], check=True, timeout=DEADLINE_SECONDS)
    assert "hadolint" not in DOCKERFILE.read_text()


def test_context_is_the_program_alone() -> None:
    """Nothing gets into the build but the program, its description, and its locks."""
    found = set(context())
    deploy = {name for name in found if name.startswith("deploy/")}
    assert deploy == {"deploy/requirements.lock", "deploy/requirements-build.lock"}
    assert {name for name in found - deploy if not name.startswith("exporter/")} == {
        "pyproject.toml",
        "README.md",
        "LICENSE",
    }
    assert {"exporter/__main__.py", "exporter/web/static/page.css"} <= found
    assert [name for name in found if name.endswith(".pyc") or name == "exporter/REVISION"] == []


def test_image_is_pinned() -> None:
    """Both stages start from one image, which is named by its patch release."""
    first = parse(DOCKERFILE.read_text())[0]
    assert first.name == "ARG"
    assert re.fullmatch(r"PYTHON_IMAGE=python:3\.\d+\.\d+-slim-[a-z]+(@sha256:[0-9a-f]{64})?", first.value)
    bases = [stage[0].words[0] for stage in stages()]
    assert bases == ["${PYTHON_IMAGE}"] * 2


def test_image_gives_no_rights() -> None:
    """The last stage runs nothing as root, takes nothing but the environment, and ends as a numbered user."""
    last = stages()[-1]
    names = [instruction.name for instruction in last]
    assert "RUN" not in names
    [copied] = [instruction for instruction in last if instruction.name == "COPY"]
    assert (copied.flags, copied.words) == ({"from": "build"}, ["/opt/venv", "/opt/venv"])
    user, _, group = one("USER").value.partition(":")
    assert int(user) == int(group) > 0
    assert names.index("USER") > names.index("COPY")
    assert one("EXPOSE").value == str(PORT)


def test_parser() -> None:
    """Lines are joined, comments left out even within, flags and the exec form taken apart."""
    text = (
        'ARG A=1\n# no\nRUN one \\\n  # nor this\n  && two\nCOPY --from=a --chown=1:1 b c\nCMD ["x", "y z"]\n'
    )
    found = parse(text)
    assert [(each.name, dict(each.flags)) for each in found] == [
        ("ARG", {}),
        ("RUN", {}),
        ("COPY", {"from": "a", "chown": "1:1"}),
        ("CMD", {}),
    ]
    assert found[1].value == "one   && two"
    assert found[3].words == ["x", "y z"]


# --- What its steps make


@dataclass(slots=True)
class Build:
    """The build stage, with its absolute paths below a folder."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    directory: Path = Path("/")

    def move(self, text: str) -> str:
        """Move the paths in a text."""
        return re.sub(
            rf"(?<![\w./])(?=(?:{'|'.join(map(re.escape, MOVED))})(?![\w.]))", str(self.folder), text
        )

    def run(self, instruction: Instruction) -> None:
        """Do what an instruction says."""
        match instruction.name:
            case "FROM":
                pass
            case "ENV":
                self.environment |= dict(word.split("=", 1) for word in instruction.words)
            case "ARG":
                name, _, value = instruction.value.partition("=")
                self.environment[name] = {"REVISION": REVISION}.get(name, value)
            case "WORKDIR":
                self.directory = Path(self.move(instruction.value))
                self.directory.mkdir(parents=True)
            case "COPY":
                self._copy(instruction.words)
            case "RUN":
                self._shell(self.move(instruction.value))
            case other:
                pytest.fail(f"the build stage has an instruction that is not known here: {other}")

    def _copy(self, words: list[str]) -> None:
        *sources, target = words
        for name, source in itertools.product(context(), sources):
            if name == source:
                into = self.directory / target
                into = into / Path(name).name if target.endswith("/") else into
            elif name.startswith(f"{source}/"):
                into = self.directory / target / name.removeprefix(f"{source}/")
            else:
                continue
            into.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, into)

    def _shell(self, command: str) -> None:
        """Run a command in the image's shell; `python` is what the tests run on, outside of any venv."""
        programs = self.folder / "bin"
        programs.mkdir(exist_ok=True)
        python = programs / "python"
        python.write_text(f'#!/bin/sh\nexec {shlex.quote(str(base_python()))} "$@"\n')
        python.chmod(0o755)
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_"))
        }
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=self.directory,
            env=kept | self.environment | {"PATH": f"{programs}:{os.environ['PATH']}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=BUILD_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}"


def base_python() -> Path:
    """Find the interpreter that venvs are made from."""
    return Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}").resolve()


@pytest.fixture(scope="module")
def build() -> Iterator[Build]:
    """Run the build stage, in a folder that any user may enter."""
    with tempfile.TemporaryDirectory(prefix="kms-image-") as directory:
        folder = Path(directory)
        folder.chmod(0o755)
        build = Build(folder)
        for instruction in stages()[0]:
            build.run(instruction)
        yield build


@pytest.fixture(scope="module")
def venv(build: Build) -> Path:
    """Give what goes into the image."""
    return Path(build.move("/opt/venv"))


def test_build_makes_the_program(venv: Path) -> None:
    """The environment has the program, which knows the revision that it was built from."""
    done = subprocess.run(
        [str(venv / "bin/kms-exporter"), "--version"],
        capture_output=True,
        encoding="utf-8",
        timeout=DEADLINE_SECONDS,
        check=True,
    )
    assert f"(revision: {REVISION}, " in done.stdout


def test_build_leaves_its_tools_behind(venv: Path) -> None:
    """The environment has no pip, no build backend, no tests of the project, and is small."""
    [packages] = venv.glob("lib/python3*/site-packages")
    assert list(packages.glob("exporter/cli*"))
    assert [name for name in ("pip", "flit_core", "setuptools", "tests") if (packages / name).exists()] == []
    assert not list((venv / "bin").glob("pip*"))
    size = sum(path.lstat().st_blocks * 512 for path in venv.rglob("*"))
    assert size < MAX_VENV_BYTES


def test_build_compiles(venv: Path) -> None:
    """Every module has its bytecode, which holds whatever time its source has (PEP 552)."""
    [packages] = venv.glob("lib/python3*/site-packages")
    tag = sys.implementation.cache_tag
    for source in packages.rglob("*.py"):
        compiled = source.parent / "__pycache__" / f"{source.stem}.{tag}.pyc"
        assert compiled.read_bytes()[4:8] == b"\x01\0\0\0", source


def test_build_is_what_was_let_through(build: Build) -> None:
    """The wheel has the files of the context and nothing that was not in it."""
    [wheel] = Path(build.move("/src"), "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        built = {name for name in archive.namelist() if name.startswith("exporter/")}
    assert built == {name for name in context() if name.startswith("exporter/")} | {"exporter/REVISION"}


# --- What the image does


@pytest.fixture(scope="module")
def namespace() -> Iterator[Namespace]:
    """Make a network of its own, where the image's port is free."""
    need_namespaces()
    need("setpriv", "mount")
    with Namespace() as namespace:
        yield namespace


def contained(build: Build, command: list[str]) -> list[str]:
    """Put before a command what a container would: its user, no rights, a read-only root, its environment.

    An interpreter below a home directory is made readable for that user, as /usr/local is in the image.
    """
    [environment] = [each for each in stages()[-1] if each.name == "ENV"]
    variables = [build.move(word).replace("${PATH}", "/usr/bin:/bin") for word in environment.words]
    user, _, group = one("USER").value.partition(":")
    user_flags = [f"--reuid={user}", f"--regid={group}", "--clear-groups"]
    as_user = ["setpriv", *user_flags, "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
    base, top = sys.base_prefix, f"/{Path(sys.base_prefix).parts[1]}"
    script = f"""
    set -e
    cd /
    if ! {shlex.join(as_user)} test -r {base}/bin 2>/dev/null; then
        mount --bind {base} {build.folder}/base
        mount -t tmpfs -o mode=755 tmpfs {top}
        mkdir -p {base}
        mount --bind {build.folder}/base {base}
        mount -o remount,ro {top}
    fi
    mount --bind {build.folder} {build.folder}
    mount -o remount,bind,ro {build.folder}
    mount -o remount,bind,ro /
    exec {shlex.join(as_user)} -- env -i {shlex.join(variables)} "$@"
    """
    (build.folder / "base").mkdir(exist_ok=True)
    return ["unshare", "--mount", "--propagation=private", "sh", "-c", script, "sh", *command]


def in_image(build: Build, namespace: Namespace, command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command in the image until it ends."""
    return subprocess.run(
        [*namespace.command, *contained(build, command)],
        capture_output=True,
        encoding="utf-8",
        timeout=DEADLINE_SECONDS,
        check=False,
    )


def health(build: Build, namespace: Namespace) -> subprocess.CompletedProcess[str]:
    """Run the health check of the image."""
    check = one("HEALTHCHECK").value
    assert check.startswith("CMD ")
    return in_image(build, namespace, json.loads(check.removeprefix("CMD ")))


def test_image_cannot_be_written_to(build: Build, namespace: Namespace) -> None:
    """The user of the image has no rights, and can write nowhere on its disk, not even to /tmp."""
    for directory in (build.move("/opt/venv"), "/tmp", "/"):  # noqa: S108
        done = in_image(build, namespace, ["touch", f"{directory}/kms-exporter-was-here"])
        assert "Read-only file system" in done.stderr
    shown = in_image(build, namespace, ["cat", "/proc/self/status"]).stdout
    assert set(re.findall(r"(?m)^Cap(?:Inh|Prm|Eff|Bnd|Amb):\s+(\S+)$", shown)) == {"0" * 16}
    assert re.findall(r"(?m)^[UG]id:\s+(\d+)\s", shown) == one("USER").value.split(":")


@pytest.mark.parametrize("command", ["run", "demo"])
def test_image_runs(build: Build, namespace: Namespace, command: str) -> None:
    """The image serves, with a configuration or with the lab, is healthy meanwhile, and stops when asked."""
    config = Path(build.move("/etc/kms-exporter/kms-exporter.yml"))
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(
        "zones: [{name: contoso.com, dns_servers: [127.0.0.1]}]\nprobe: {networks: [127.0.0.0/8]}\n"
    )
    arguments = [build.move(word) for word in one("CMD").words] if command == "run" else [command]
    assert health(build, namespace).returncode != 0
    with Process(contained(build, [*one("ENTRYPOINT").words, *arguments]), namespace=namespace) as process:

        def healthy() -> bool | None:
            return health(build, namespace).returncode == 0 or None

        process.wait_until(healthy, "the image is healthy")
        answer = http_request((LOOPBACK, PORT), "/metrics", namespace=namespace)
        assert answer.status == HTTPStatus.OK
        assert f'revision="{REVISION}"' in answer.text
        assert "kms_exporter_internal_errors_total 0.0" in answer.text
    done = health(build, namespace)
    assert done.returncode != 0
    assert "Connection refused" in done.stderr


@pytest.mark.parametrize(("status", "result"), [(HTTPStatus.OK, 0), (HTTPStatus.SERVICE_UNAVAILABLE, 1)])
def test_health_check_takes_the_answer(
    build: Build, namespace: Namespace, status: HTTPStatus, result: int
) -> None:
    """The health check says what the answer says, and fails where checks have stalled."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(f"{self.path} of a stub".encode())

        def log_message(self, *arguments: object) -> None:
            pass

    listener = namespace.call(lambda: socket.create_server((LOOPBACK, PORT)))
    with http.server.HTTPServer((LOOPBACK, 0), Handler, bind_and_activate=False) as server:
        server.socket.close()
        server.socket = listener
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            done = health(build, namespace)
        finally:
            server.shutdown()
            thread.join()
    assert (done.returncode, done.stdout) == (result, "/-/healthy of a stub\n")
