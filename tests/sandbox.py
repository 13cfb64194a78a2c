"""Runs a command under what a systemd unit forbids, without systemd: for the tests of the unit.

    python -m tests.sandbox UNIT COMMAND [ARGUMENT]...

Of the unit it takes the filters of system calls and address families, MemoryDenyWriteExecute= and limits, by
seccomp(2) and setrlimit(2). The rest is for `setpriv` and `unshare`, in front of it: see `sandboxed`.
"""

import ctypes
import errno
import mmap
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.services import ROOT, need, need_library, need_namespaces

NOBODY = "65534"
SECCOMP = "libseccomp.so.2"
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000  # seccomp(3)
_EQUAL, _MASKED_EQUAL = 4, 7
_PROTECTION = 2  # the argument of mmap(2) and its kin
_FAMILIES = range(1, 64)
_READ_ONLY = """
while read -r _ _ _ _ point _; do
    mount -o remount,bind,ro "$point" 2>/dev/null
done </proc/self/mountinfo
exec "$@"
"""


def settings(unit: Path) -> dict[str, list[str]]:
    """Read what a unit says, by key; a line that is empty takes back those before it."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        key, assigned, value = line.partition("=")
        if assigned and not line.startswith(("#", ";")):
            found[key] = [*found.get(key, []), value] if value else []
    return found


def sandboxed(unit: Path) -> list[str]:
    """Give what to put before a command: nobody, no capability, nothing to write to, and the unit's filters.

    Where only its owner can run the interpreter, it is run as that user, without capabilities all the same.
    """
    need_namespaces()
    need("setpriv", "systemd-analyze")
    need_library(SECCOMP)
    powerless = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--pdeathsig=KILL"]
    nobody = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    again = "import os, sys; os.execv(sys.executable, [sys.executable, '-c', 'import exporter.app'])"
    trial = [*powerless, *nobody, sys.executable, "-c", again]
    done = subprocess.run(trial, cwd=ROOT, capture_output=True, check=False)
    user = [] if done.returncode else nobody
    read_only = ["unshare", "--mount", "--ipc", "sh", "-c", _READ_ONLY, "sh"]
    return [*read_only, *powerless, *user, sys.executable, "-m", "tests.sandbox", str(unit)]


class _Argument(ctypes.Structure):
    """What seccomp_rule_add(3) compares an argument of a system call with: struct scmp_arg_cmp."""

    _fields_ = (
        ("number", ctypes.c_uint),
        ("operation", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


class _Filter:
    """A seccomp filter that does `action` with what no rule names."""

    def __init__(self, action: int) -> None:
        self._library = ctypes.CDLL(SECCOMP, use_errno=True)
        self._library.seccomp_init.restype = ctypes.c_void_p
        self._context = ctypes.c_void_p(self._library.seccomp_init(action))

    def add(self, action: int, call: str, *arguments: _Argument) -> None:
        number = self._library.seccomp_syscall_resolve_name(call.encode())
        if number < 0:
            return  # not on this machine
        array = (_Argument * len(arguments))(*arguments)
        add = self._library.seccomp_rule_add_array
        if failure := add(self._context, ctypes.c_uint32(action), number, len(arguments), array):
            raise OSError(-failure, f"no rule for {call}")

    def load(self) -> None:
        if failure := self._library.seccomp_load(self._context):
            raise OSError(-failure, "the filter is not taken")


def _groups() -> dict[str, list[str]]:
    """Ask systemd what is in its groups of system calls."""
    listed = subprocess.run(
        ["systemd-analyze", "syscall-filter"], capture_output=True, encoding="utf-8", check=True
    )
    found: dict[str, list[str]] = {}
    members: list[str] = []
    for line in listed.stdout.splitlines():
        if line.startswith("@"):
            members = found[line.strip()] = []
        elif line.strip() and not line.strip().startswith("#"):
            members.append(line.strip())
    return found


def _calls(names: list[str], groups: Mapping[str, list[str]]) -> set[str]:
    return {
        call for name in names for call in (_calls(groups[name], groups) if name.startswith("@") else {name})
    }


def _allowed(unit: Mapping[str, list[str]]) -> set[str]:
    groups, allowed = _groups(), set[str]()
    for line in unit["SystemCallFilter"]:
        if line.startswith("~"):
            allowed -= _calls(line[1:].split(), groups)
        else:
            allowed |= _calls(line.split(), groups)
    return allowed | _calls(["@default"], groups)


def _filter_calls(unit: Mapping[str, list[str]]) -> None:
    listed = _Filter(_ERRNO | int(getattr(errno, unit["SystemCallErrorNumber"][-1])))
    for call in _allowed(unit):
        listed.add(_ALLOW, call)
    listed.load()


def _filter_arguments(unit: Mapping[str, list[str]]) -> None:
    refusing = _Filter(_ALLOW)
    families = {int(getattr(socket, name)) for name in unit["RestrictAddressFamilies"][-1].split()}
    for family in set(_FAMILIES) - families:
        refusing.add(_ERRNO | errno.EAFNOSUPPORT, "socket", _Argument(0, _EQUAL, family, 0))
    if unit["MemoryDenyWriteExecute"][-1] == "yes":
        both = mmap.PROT_EXEC | mmap.PROT_WRITE
        refusing.add(_ERRNO | errno.EPERM, "mmap", _Argument(_PROTECTION, _MASKED_EQUAL, both, both))
        for call in ("mprotect", "pkey_mprotect"):
            executable = _Argument(_PROTECTION, _MASKED_EQUAL, mmap.PROT_EXEC, mmap.PROT_EXEC)
            refusing.add(_ERRNO | errno.EPERM, call, executable)
    refusing.load()


def main(unit_file: str, *command: str) -> None:
    """Take on the restrictions, and become the command."""
    unit = settings(Path(unit_file))
    for limit, name in ((resource.RLIMIT_NOFILE, "LimitNOFILE"), (resource.RLIMIT_CORE, "LimitCORE")):
        value = int(unit[name][-1])
        resource.setrlimit(limit, (value, value))
    _filter_arguments(unit)
    _filter_calls(unit)
    os.execvp(command[0], command)  # noqa: S606 (no shell is wanted)


if __name__ == "__main__":
    main(*sys.argv[1:])
