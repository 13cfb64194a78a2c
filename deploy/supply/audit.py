"""Looks for known vulnerabilities of everything that the locks pin: `python -m deploy.supply.audit`.

pip-audit (https://github.com/pypa/pip-audit) asks the database OSV for each package by name and version, as
the locks have them (https://google.github.io/osv.dev/post-v1-query/): nothing is resolved, downloaded or
installed. What a marker leaves out on this machine, such as a package for Windows, is left out here too.
PIP_AUDIT_OSV_URL, which is pip-audit's own variable, names a mirror of the database.

Exit status 0 when nothing is known, and also when the database cannot be asked, which is said: a machine
without the internet is no reason to fail. 1 when something is known, 2 when the audit itself failed.
"""

import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from deploy.supply.locks import lock_files

OSV_URL = "https://api.osv.dev/v1/query"
_CLEAN, _VULNERABLE, _FAILED = 0, 1, 2
REACH_SECONDS = 10.0
_AUDIT_SECONDS = 300
_QUESTION = {"package": {"name": "kms-exporter", "ecosystem": "PyPI"}, "version": "0"}


def unreachable(url: str, *, seconds: float = REACH_SECONDS) -> str | None:
    """Say why the database cannot be asked, or None when it answers; within seconds in any case."""
    problems: list[str | None] = []
    thread = threading.Thread(target=lambda: problems.append(_ask(url, seconds)), daemon=True)
    thread.start()
    thread.join(seconds)  # the timeout of a request does not bound the lookup of its name
    return problems[0] if problems else f"no answer within {seconds:g} s"


def _ask(url: str, seconds: float) -> str | None:
    try:
        request = urllib.request.Request(url, json.dumps(_QUESTION).encode())  # noqa: S310 (the person's own URL)
        with urllib.request.urlopen(request, timeout=seconds) as answer:  # noqa: S310
            json.load(answer)
    except (OSError, ValueError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    return None


def _pip_audit(url: str, more: Sequence[str]) -> tuple[dict[str, Any] | None, str]:
    """Run pip-audit on every lock; give its report, if it came to one, and what else it said."""
    command = [sys.executable, "-m", "pip_audit", "--vulnerability-service=osv", f"--osv-url={url}"]
    options = ["--disable-pip", "--require-hashes", "--progress-spinner=off", "--format=json", *more]
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory, "report.json")
        places = [
            f"--output={report}",
            f"--cache-dir={directory}",
            *(f"--requirement={lock}" for lock in lock_files()),
        ]
        try:
            done = subprocess.run(  # noqa: S603 (this interpreter, and files of this project)
                [*command, *options, *places],
                capture_output=True,
                encoding="utf-8",
                timeout=_AUDIT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return None, f"pip-audit was not done within {_AUDIT_SECONDS} s"
        text = report.read_text(encoding="utf-8") if report.exists() else ""
    return (json.loads(text) if text else None), done.stderr


def _known(report: dict[str, Any]) -> Iterator[str]:
    """Describe what is known, one line for each vulnerability."""
    for package in report["dependencies"]:
        for found in package.get("vulns", ()):
            fixed = (
                f"fixed in {', '.join(found['fix_versions'])}" if found["fix_versions"] else "not fixed yet"
            )
            yield f"{package['name']} {package['version']}: {found['id']}, {fixed}: {found['description']}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Audit the locks, print what came of it, and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0], epilog="More arguments go to pip-audit."
    )
    _, more = parser.parse_known_args(arguments)
    url = os.environ.get("PIP_AUDIT_OSV_URL", OSV_URL)
    if problem := unreachable(url):
        return _say(f"not audited: {url} cannot be asked for advisories: {problem}", _CLEAN)
    report, said = _pip_audit(url, more)
    if report is None:
        if problem := unreachable(url):
            return _say(f"not audited: {url} stopped answering: {problem}", _CLEAN)
        return _say(f"{said.strip()}\nThe audit failed.", _FAILED)
    if known := list(_known(report)):
        return _say("\n".join([*known, f"Known vulnerabilities: {len(known)}."]), _VULNERABLE)
    return _say(f"audited: nothing known about {len(report['dependencies'])} pinned packages", _CLEAN)


def _say(text: str, status: int) -> int:
    sys.stdout.write(f"{text}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
