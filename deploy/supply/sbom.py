"""Writes the software bill of materials: `python -m deploy.supply.sbom FILE`, in CycloneDX 1.6 as JSON.

cyclonedx-py (https://cyclonedx-bom-tool.readthedocs.io/) makes it from the runtime lock and pyproject.toml.
What it cannot know from there is put in: the version and the package URL of the project itself, which package
needs which, and names in place of line numbers. The same commit gives the same bytes: the time is
SOURCE_DATE_EPOCH, and the serial number follows from the content (RFC 9562, version 5).
"""

import argparse
import json
import subprocess
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deploy.supply.locks import RUNTIME, Pin, read_lock
from exporter import __version__

PYPROJECT = RUNTIME.parent.parent / "pyproject.toml"
PROJECT_PURL = f"pkg:pypi/kms-exporter@{__version__}"
_TIMEOUT_SECONDS = 120


def bill(pins: Sequence[Pin]) -> dict[str, Any]:
    """Make the bill of materials of a lock."""
    made = _cyclonedx_py()
    purls = {pin.name: f"pkg:pypi/{pin.name}@{pin.version}" for pin in pins}
    for component in made["components"]:
        component["bom-ref"] = purls[component["name"]]
        del component["description"]  # the lines of the lock once more
    made["components"].sort(key=lambda component: str(component["bom-ref"]))
    made["metadata"]["component"] |= {"bom-ref": PROJECT_PURL, "purl": PROJECT_PURL, "version": __version__}
    made["dependencies"] = _dependencies(pins, purls)
    made["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(made, sort_keys=True)).urn
    return made


def _cyclonedx_py() -> dict[str, Any]:
    command = [sys.executable, "-m", "cyclonedx_py", "requirements", str(RUNTIME), f"--pyproject={PYPROJECT}"]
    options = ["--output-reproducible", "--spec-version=1.6", "--output-format=JSON"]
    later = "--no-validate"  # when it is complete
    done = subprocess.run(  # noqa: S603 (this interpreter, and files of this project)
        [*command, *options, later],
        capture_output=True,
        encoding="utf-8",
        timeout=_TIMEOUT_SECONDS,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{done.stderr.strip()}\ncyclonedx-py failed.")
    made: dict[str, Any] = json.loads(done.stdout)
    return made


def _dependencies(pins: Sequence[Pin], purls: dict[str, str]) -> list[dict[str, Any]]:
    """List what the project needs, and what each package needs."""
    needs: dict[str, list[str]] = {PROJECT_PURL: [], **{purl: [] for purl in sorted(purls.values())}}
    for pin in pins:
        for needing in [purls[name] for name in pin.via] + [PROJECT_PURL] * pin.direct:
            needs[needing].append(purls[pin.name])
    return [{"ref": ref, "dependsOn": sorted(on)} if on else {"ref": ref} for ref, on in needs.items()]


def _check(text: str) -> None:
    """Hold the bill against the schema of CycloneDX."""
    from cyclonedx.schema import SchemaVersion  # type: ignore[import-not-found] # noqa: PLC0415
    from cyclonedx.validation.json import JsonStrictValidator  # type: ignore[import-not-found] # noqa: PLC0415

    if problem := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        sys.exit(f"The bill of materials is not valid CycloneDX: {problem}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the bill of materials."""
    parser = argparse.ArgumentParser(description="Write the software bill of materials.")
    parser.add_argument("file", metavar="FILE", type=Path)
    file: Path = parser.parse_args(arguments).file
    text = json.dumps(bill(read_lock(RUNTIME)), indent=2) + "\n"
    _check(text)
    file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
