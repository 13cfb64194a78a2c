"""What the documents say of the project is there: files, headings, metrics, recorded series."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from exporter.diagnosis import Verdict
from tests.builders import metric_labels, metric_names
from tests.services import ROOT, RULES

DOCUMENTS = sorted(
    ROOT / name
    for name in subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=True,
    ).stdout.split()
)
WORDS = {str(verdict) for verdict in Verdict}


def prose(text: str) -> str:
    """Leave out blocks of code, where brackets are no links and `#` begins no heading."""
    return re.sub(r"(?ms)^( *)(```+).*?^\1\2`*\s*?$", "", text)


def anchors(path: Path) -> set[str]:
    """List the anchors of a document's headings, as GitHub makes them."""
    found = set[str]()
    for heading in re.findall(r"(?m)^#+ (.+?)\s*$", prose(path.read_text())):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        again = sum(
            other == anchor or re.fullmatch(rf"{re.escape(anchor)}-\d+", other) is not None for other in found
        )
        found.add(f"{anchor}-{again}" if again else anchor)
    return found


def links(path: Path) -> Iterator[str]:
    """List where the links of a document lead to."""
    text = re.sub(r"`[^`\n]*`", "", prose(path.read_text()))
    yield from re.findall(r"\]\(([^)\s]+)\)", text)
    yield from re.findall(r"(?m)^\[[^]]+\]: (\S+)", text)


def broken(path: Path, link: str) -> bool:
    """Tell whether a link of a document leads nowhere within the repository; others are not followed."""
    if re.match(r"(https?|mailto):", link):
        return False
    target, _, anchor = link.partition("#")
    file = (path.parent / target).resolve() if target else path
    if not file.exists() or ROOT not in (file, *file.parents):
        return True
    return bool(anchor) and anchor not in anchors(file)


def identify(path: Path) -> str:
    """Name a document in the test's name."""
    return str(path.relative_to(ROOT))


def test_documents_are_found() -> None:
    """The README and the runbooks are among the documents."""
    assert {ROOT / "README.md", ROOT / "deploy/runbooks/KmsHostDown.md"} <= set(DOCUMENTS)


@pytest.mark.parametrize("path", DOCUMENTS, ids=identify)
def test_every_link_resolves(path: Path) -> None:
    """Every relative link leads to a file of the repository, and to a heading there if it names one."""
    assert [link for link in links(path) if broken(path, link)] == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    """A file that is missing, a heading that is, and a file outside the repository are each found."""
    document = ROOT / "README.md"
    assert [
        link for link in ("README.md", "#licence", "deploy/kms-exporter.yml") if broken(document, link)
    ] == []
    bad = ["NOWHERE.md", "#no-such-heading", "CHANGELOG.md#no-such-heading", str(tmp_path)]
    assert [link for link in bad if not broken(document, link)] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=identify)
def test_every_metric_exists(path: Path) -> None:
    """Every metric that a document names is on /metrics, and every recorded series in the rules."""
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    recorded = {rule["record"] for rule in rules if "record" in rule}
    text = path.read_text()
    pattern = r"\b[a-z_]+:kms_[a-z_]+:[a-z0-9_]+"
    assert set(re.findall(pattern, text)) - recorded == set()
    named = set(re.findall(r"\bkms_(?:[a-z]+_)*[a-z]+\b(?!\*|_)", re.sub(pattern, "", text)))
    assert named - metric_names() - metric_labels().keys() - WORDS == set()


@pytest.mark.parametrize("path", DOCUMENTS, ids=identify)
def test_every_label_exists(path: Path) -> None:
    """Every label by which a document selects a metric is one that the metric has."""
    known, scraped = metric_labels(), {"job", "instance"}
    selectors = re.findall(r"\b(?<!:)(kms_\w+)\{([^}]+)\}", path.read_text())
    unknown = {
        (name, label)
        for name, matchers in selectors
        for label in re.findall(r'([a-z_]+)\s*(?:=~|!~|!=|=)\s*"', matchers)
        if label not in known[name] | scraped
    }
    assert unknown == set()
