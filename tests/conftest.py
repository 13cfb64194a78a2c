"""Fixtures for the tests that need real servers; what they hand out is in `services.py`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services import Lab


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
