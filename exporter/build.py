"""Which build of the program this is.

Reads one small file that the build leaves in the package; imports nothing heavy, so `--version` is quick.
"""

import platform
from dataclasses import dataclass
from importlib import resources

from exporter import __version__

_REVISION_FILE = "REVISION"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildInfo:
    """Version of the package, revision of its source (`unknown` outside a build), version of Python."""

    version: str
    revision: str
    python: str


def read_build_info() -> BuildInfo:
    """Tell what is running."""
    try:
        revision = resources.files("exporter").joinpath(_REVISION_FILE).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        revision = ""
    return BuildInfo(version=__version__, revision=revision or "unknown", python=platform.python_version())
