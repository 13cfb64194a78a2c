"""Fixtures for the tests that need real servers, and what holds for all tests.

What the fixtures hand out is in `services.py`. With `pytest -n` each worker is given one file after the
other: the long ones come first, or the other workers would have nothing to do while the last one ends.
"""

import warnings
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import coverage
import coverage.exceptions
import hypothesis
import pytest

from tests.services import Lab

LONGEST_FIRST = (
    "test_end_to_end_soak",  # two minutes, nearly all of it waiting, as with alerts and chaos
    "test_end_to_end_process",
    "test_end_to_end_dns",
    "test_end_to_end_alerts",
    "test_end_to_end_network",
    "test_end_to_end_browser",
    "test_end_to_end_chaos",
    "test_end_to_end_faults_process",
    "test_end_to_end_hostile_endpoints",
    "test_end_to_end_hostile_dns",
    "test_dockerfile",
    "test_end_to_end_local",
    "test_check",
    "test_end_to_end_grafana",
    "test_alert_rules",
    "test_discovery_transport",
    "test_end_to_end_faults_network",
    "test_end_to_end_faults_files",
    "test_supply",
    "test_end_to_end_boundaries",
    "test_end_to_end_web",
    "test_end_to_end_systemd",
    "test_end_to_end_probe",
    "test_cli",
    "test_end_to_end_sd",
    "test_end_to_end_hostile_names",
    "test_end_to_end_stack",
    "test_end_to_end_verdicts",
    "test_discovery_answers",
    "test_demo",
)
MEASURED = {"test_cli", "test_end_to_end_web"}
"""The tests of the program as a process, with the coverage of what they start.

It nearly doubles what a process costs, and all others start the same program to look at something else.
"""
UNTRACED = (
    "test_end_to_end_*",
    "test_alert_*",
    "test_check",
    "test_deploy",
    "test_dockerfile",
    "test_documents",
    "test_fuzz_*",
    "test_grafana",
    "test_house",
    "test_kubernetes",
    "test_reliability",
    "test_supply",
)
"""The tests that look at more than modules of the exporter: nothing is measured while they run.

Tracing makes Python more than twice as slow, also that of the tests, of servers and of parsers. Nearly all
that these would reach of the exporter, the tests of its modules reach.
"""

hypothesis.settings.register_profile("unhurried", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("unhurried")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest."""
    places = {name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


@pytest.fixture(scope="module", autouse=True)
def _measure(request: pytest.FixtureRequest) -> Iterator[None]:
    """Measure coverage, here and in processes, only where that is wanted."""
    name = request.path.stem
    tracing = coverage.Coverage.current()
    if tracing and any(fnmatchcase(name, pattern) for pattern in UNTRACED):
        tracing.stop()
    else:
        tracing = None
    with pytest.MonkeyPatch.context() as patched:
        if name not in MEASURED:
            patched.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        yield
    if tracing:
        with warnings.catch_warnings():  # that modules were imported before: they were measured then
            warnings.simplefilter("ignore", coverage.exceptions.CoverageWarning)
            tracing.start()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Start real servers, and stop them after the test."""
    with Lab(tmp_path) as lab:
        yield lab


@pytest.fixture(scope="module")
def module_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Start real servers for all tests of a module."""
    with Lab(tmp_path_factory.mktemp("lab")) as lab:
        yield lab
