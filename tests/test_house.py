"""Tests of the house itself: that the code says what it is for, and that people are told what there is."""

import ast
import re
from pathlib import Path

import pytest

from exporter.cli import main
from tests.builders import metric_names

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
MODULES = sorted(path for name in ("exporter", "deploy", "grafana") for path in (ROOT / name).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
DOCUMENTS = sorted(
    path for glob in ("*.md", "deploy/**/*.md", "grafana/**/*.md", "docs/**/*.md") for path in ROOT.glob(glob)
)
MAX_LINES = 400

ALL_MODULES = pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))


@pytest.mark.parametrize("path", MODULES + TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_module_says_what_it_is(path: Path) -> None:
    """Every module starts with a docstring."""
    assert ast.get_docstring(ast.parse(path.read_text()))


@ALL_MODULES
def test_module_is_small(path: Path) -> None:
    """No module is longer than what a person reads in one go."""
    assert len(path.read_text().splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_document_is_finished(path: Path) -> None:
    """No document has a place that was left to be filled in."""
    assert not re.search(r"PLACEHOLDER|TODO|TBD|FIXME", path.read_text())


def commands(help_text: str) -> set[str]:
    """Tell which commands a help text lists."""
    return set(re.findall(r"^ {4}([a-z][a-z-]*)(?: |$)", help_text, re.MULTILINE))


def test_readme_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """The README names every command that there is."""
    with pytest.raises(SystemExit):
        main(["-h"])
    found = commands(capsys.readouterr().out)
    assert {"run", "demo", "check-config"} <= found
    text = README.read_text()
    assert [name for name in sorted(found) if f"kms-exporter {name}" not in text] == []
    assert "kms-exporter --version" in text


def test_readme_names_every_metric() -> None:
    """The README names every metric that there is; that it names no other is held for all documents."""
    text = README.read_text()
    assert [name for name in sorted(metric_names()) if not re.search(rf"\b{name}\b", text)] == []
