"""Starts the whole picture: `make stack`, or `python -m deploy.stack [--config.file=FILE] [--data=DIR]`.

Exit status 0 after Ctrl-C or SIGTERM, 1 when something is missing, a port is taken or a part ended by itself.
"""

import argparse
import asyncio
import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from deploy.stack.parts import PROMETHEUS_PORT, Part, parts
from deploy.stack.supervisor import StackError, supervise

_INTERRUPTED = 130
DASHBOARDS = "/var/lib/grafana/dashboards"
"""Where the provisioning of Grafana looks for dashboards."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the stack until it is stopped."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.stack",
        description="Run the exporter, Prometheus and Alertmanager here, and print the notifications.",
        allow_abbrev=False,
    )
    parser.add_argument(
        *("--config.file", "--config"),
        dest="config",
        metavar="FILE",
        type=Path,
        help="configuration of the exporter (default: its embedded lab)",
    )
    parser.add_argument("--data", metavar="DIR", type=Path, help="keep data and logs (default: keep none)")
    options = parser.parse_args(arguments)
    try:
        with _directory(options.data) as data:
            _run(data, options.config)
    except StackError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:  # before the supervisor listens to signals
        sys.exit(_INTERRUPTED)


def _run(data: Path, config: Path | None) -> None:
    _program("setpriv", package="util-linux")
    stack = parts(
        prometheus=_program("prometheus", package="prometheus"),
        alertmanager=_program("prometheus-alertmanager", "alertmanager", package="prometheus-alertmanager"),
        data=data,
        config=config,
    )
    print(f"Starting {', '.join(part.name for part in stack)}. Ctrl-C ends all of it.", flush=True)
    asyncio.run(supervise(stack, data, ready=lambda: print(_overview(stack, data), flush=True)))


def _program(*names: str, package: str) -> str:
    """Find a program by any of its names."""
    for name in names:
        if found := shutil.which(name):
            return found
    raise StackError(f"{names[-1]} is not installed; on Debian: apt-get install {package}")


@contextlib.contextmanager
def _directory(kept: Path | None) -> Iterator[Path]:
    """Give the directory for data and logs: one that is kept, or one that is removed in the end."""
    if kept is None:
        with tempfile.TemporaryDirectory(prefix="kms-stack-") as temporary:
            yield Path(temporary)
        return
    try:
        kept.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StackError(f"Cannot keep data in {kept}: {error.strerror}.") from error
    yield kept.resolve()


def _overview(stack: Sequence[Part], data: Path) -> str:
    places = "\n".join(f"  {part.name:<13} {part.url:<31} {part.about}" for part in stack)
    logs = ", ".join(part.log for part in stack)
    return f"""\
All of it is up, on this machine alone:

{places}

Data and logs: {data} ({logs})
Grafana, where there is one: set PROMETHEUS_URL=http://localhost:{PROMETHEUS_PORT} in its environment,
GF_PATHS_PROVISIONING to grafana/provisioning, and copy grafana/*.json to {DASHBOARDS}.

Alerts wait before they fire, most of them for 5 to 15 minutes. Notifications:
"""


if __name__ == "__main__":
    main()
