"""Faults of files, done to the real exporter: its configuration, that of the web side, and the disk."""

import contextlib
import http.client
import os
import signal
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.certificates import Authority
from tests.faults import ZONE, Fault, Scene, still_right, table, watch
from tests.services import (
    DEADLINE_SECONDS,
    LOOPBACK,
    Exporter,
    Lab,
    Response,
    Samples,
    need,
    need_namespaces,
    which,
)

POWERLESS = ["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]


def restore(path: Path, content: bytes) -> None:
    """Put a file in the place of whatever is there now."""
    if path.is_dir():
        path.rmdir()
    fresh = path.with_suffix(".restored")
    fresh.write_bytes(content)
    fresh.replace(path)


def delete(path: Path) -> None:
    """Delete a file."""
    path.unlink()


def make_directory(path: Path) -> None:
    """Put a directory in the place of a file, as a mount of a file that is missing does."""
    path.unlink()
    path.mkdir()


def make_unreadable(path: Path) -> None:
    """Take from everybody the right to read a file."""
    path.chmod(0)


def cut_short(path: Path) -> None:
    """Leave the first half of a file, and half a value at its end."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] + b"\nzones: [{name: cont")


def make_pipe(path: Path) -> None:
    """Put a pipe in the place of a file, which nobody writes to."""
    path.unlink()
    os.mkfifo(path)


def empty(path: Path) -> None:
    """Leave nothing of what a file holds."""
    path.write_bytes(b"")


def fill_with_garbage(path: Path) -> None:
    """Put into a file what is not even text."""
    path.write_bytes(b"\x00\xff\xfe\x80" * 1000)


KINDS: Mapping[str, Callable[[Path], None]] = {
    "deleted": delete,
    "replaced by a directory": make_directory,
    "made unreadable": make_unreadable,
    "written half-way": cut_short,
    "replaced by a pipe": make_pipe,
    "emptied": empty,
    "overwritten with garbage": fill_with_garbage,
}


@dataclass(slots=True, kw_only=True)
class Files(Scene):
    """An exporter without any right of root's; `contents` is what its files hold when all is well."""

    contents: dict[Path, bytes] = field(default_factory=dict)

    def spoil(self, path: Path, how: Callable[[Path], None]) -> None:
        """Do something to a file, and see that a reload says what is wrong with it."""
        self.contents.setdefault(path, path.read_bytes())
        how(path)
        answer = self.exporter.post("/-/reload")
        assert answer.status == http.HTTPStatus.INTERNAL_SERVER_ERROR, answer.text
        assert answer.text.strip()
        self.exporter.send_signal(signal.SIGHUP)  # which is refused as well

    def restore(self) -> None:
        """Put every file in its place again, and see it taken."""
        for path, content in self.contents.items():
            restore(path, content)
        assert self.exporter.post("/-/reload").status == http.HTTPStatus.OK
        self.exporter.wait_for_value(1, "kms_exporter_config_last_reload_successful")


def refused(scene: Scene, seen: Samples) -> bool:
    """See a configuration refused, and the one before at work."""
    return seen.value("kms_exporter_config_last_reload_successful") == 0 and still_right(scene, seen)


def spoilt(what: str, path_of: Callable[[Files], Path], kind: str) -> Fault[Files]:
    """Make the row for one way in which a file is spoilt."""
    return Fault(
        name=f"{what} {kind}",
        done=lambda scene: scene.spoil(path_of(scene), KINDS[kind]),
        seen=refused,
        undone=Files.restore,
    )


CONFIGURATION = [spoilt("Configuration", lambda scene: scene.exporter.config_file, kind) for kind in KINDS]


@pytest.fixture(scope="module")
def files(module_lab: Lab) -> Files:
    """Start an exporter that may not read what is forbidden to it."""
    need("setpriv")
    return watch(module_lab, Files, before=[which("setpriv") or "", *POWERLESS])


@table(CONFIGURATION)
def test_configuration(files: Files, fault: Fault[Files]) -> None:
    """A file that cannot be used is refused whole, and the configuration before it stays at work."""
    fault.happen(files)


# --- The web side


class Secure(Exporter):
    """An exporter that serves TLS with a certificate of `web`, and is spoken to so."""

    def __init__(
        self, directory: Path, configuration: Mapping[str, Any], *, web: Path, **options: Any
    ) -> None:
        self.web_file = web / "web.yml"
        self.certificate = web / "server.crt"
        self._trust = ssl.create_default_context(cafile=str(web / "ca.crt"))
        super().__init__(
            directory, configuration, arguments=[f"--web.config.file={self.web_file}"], **options
        )

    def _request(self, method: str, path: str, headers: Mapping[str, str]) -> Response:
        connection = http.client.HTTPSConnection(*self.web, context=self._trust, timeout=DEADLINE_SECONDS / 4)
        with contextlib.closing(connection):
            connection.request(method, path, headers=dict(headers))
            answer = connection.getresponse()
            return Response(answer.status, answer.headers, answer.read())


def file_of(name: str) -> Callable[[Files], Path]:
    """Tell where a file of the web side is."""
    return lambda scene: Path(getattr(scene.exporter, name))


WEB = [
    *(
        spoilt("Web configuration", file_of("web_file"), kind)
        for kind in ("deleted", "written half-way", "made unreadable")
    ),
    *(
        spoilt("Certificate", file_of("certificate"), kind)
        for kind in ("deleted", "emptied", "overwritten with garbage")
    ),
]


@pytest.fixture(scope="module")
def secure(module_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Start an exporter that serves TLS."""
    need("setpriv")
    web = tmp_path_factory.mktemp("web")
    authority = Authority("servers")
    (web / "ca.crt").write_bytes(authority.pem)
    authority.issue(LOOPBACK).write(web, "server")
    tls = {"cert_file": "server.crt", "key_file": "server.key"}
    (web / "web.yml").write_text(yaml.safe_dump({"tls_server_config": tls}))

    def start(configuration: Mapping[str, Any], **options: Any) -> Exporter:
        return module_lab.enter_context(Secure(web / "exporter", configuration, web=web, **options))

    return watch(module_lab, Files, start=start, before=[which("setpriv") or "", *POWERLESS])


@table(WEB)
def test_web_configuration(secure: Files, fault: Fault[Files]) -> None:
    """A web configuration or certificate that cannot be used is refused, and TLS goes on with the old one."""
    fault.happen(secure)


# --- The disk


def look_at_everything(scene: Scene) -> None:
    """Use what might write: reload, pages, a check on demand."""
    assert scene.exporter.post("/-/reload").status == http.HTTPStatus.OK
    for page in ("/", f"/zones/{ZONE}", "/metrics", "/api/v1/status", f"/probe?target={ZONE}"):
        assert scene.exporter.get(page).status == http.HTTPStatus.OK, page


DISK: list[Fault[Scene]] = [Fault(name="File system read-only", done=look_at_everything)]
READ_ONLY = """\
for point in $(findmnt --noheadings --raw --output TARGET)
do mount -o remount,bind,ro "$point" 2>/dev/null
done
for directory in . /tmp /var/tmp "$HOME"
do if touch "$directory/may-write" 2>/dev/null; then exit 9; fi
done
exec "$@"
"""


@table(DISK)
def test_disk(lab: Lab, fault: Fault[Scene]) -> None:
    """It writes nothing: started where nothing can be written, it does all that it does elsewhere."""
    need_namespaces()
    need("findmnt", "mount", "sh")
    fault.happen(watch(lab, Scene, before=["unshare", "--mount", "sh", "-c", READ_ONLY, "sh"]))
