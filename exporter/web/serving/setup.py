"""The web configuration, ready to be used: what its file says, and what the files that it names hold."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from exporter.config import ConfigError
from exporter.config.webfile import WebConfig, parse_web
from exporter.web.serving.tls import ReadFile, Tls, make_tls, named_files


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """Who may see the pages, and how they are served; `tls` is None for plain HTTP."""

    config: WebConfig = field(default_factory=WebConfig)
    tls: Tls | None = None


def load_setup(content: bytes, *, path: Path, read: ReadFile) -> Setup:
    """Make a setup of the content of the file at `path`; raises ConfigError with all problems."""
    file = parse_web(content)
    return Setup(config=file.config, tls=make_tls(file, path.parent, read))


def read_beside(content: bytes, *, path: Path, read: ReadFile) -> bytes:
    """Give something that changes with each file that a web configuration names."""
    try:
        tls = parse_web(content).config.tls_server_config
    except ConfigError:  # then it takes a change of the configuration itself
        return b""
    found = bytearray()
    for file in named_files(tls, path.parent).values():
        try:
            found += hashlib.sha256(read(file)).digest()
        except OSError as error:
            found += f"unreadable: {error.errno};".encode()
    return bytes(found)
