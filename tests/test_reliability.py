"""The document of what is promised under faults, and the tests that do them, name the same faults."""

from typing import Any

from tests import test_end_to_end_faults_files as files
from tests import test_end_to_end_faults_network as network
from tests import test_end_to_end_faults_process as process
from tests.faults import Fault, promised

FAULTS: tuple[Fault[Any], ...] = (
    *network.REMOTE_FAULTS,
    *network.LOCAL_FAULTS,
    *process.ENDURED,
    *process.STEPPED,
    *process.POOR,
    *process.PIPED,
    *process.CLOSED,
    *files.CONFIGURATION,
    *files.WEB,
    *files.DISK,
)
DONE = [fault.name for fault in FAULTS] + [end.name for end in process.ENDS]


def test_every_fault_is_promised() -> None:
    """The document has one row for each fault that the tests do, and for no other."""
    assert sorted(promised()) == sorted(DONE)


def test_every_fault_has_a_name_of_its_own() -> None:
    """No two faults have the same name."""
    assert len(set(DONE)) == len(DONE)
