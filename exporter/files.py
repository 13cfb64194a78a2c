"""Reads what an administrator may put in the place of a file: no pipe is waited for, and no size is endless.

Knows nothing of what is in a file.
"""

import errno
import os
import stat
from pathlib import Path

MOST_BYTES = 16 * 2**20
"""More than 10,000 zones take, each with a hundred lines."""
_PART_BYTES = 2**16


def read_file(path: Path) -> bytes:
    """Read a file that can be read again and again.

    Raises:
        OSError: It cannot be read, is a pipe, or has more than MOST_BYTES.
    """
    with open(path, "rb", opener=_open_at_once) as file:
        if stat.S_ISFIFO(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "is a pipe, not a file")
        content = bytearray()
        while part := file.read(_PART_BYTES):
            content += part
            if len(content) > MOST_BYTES:
                raise OSError(errno.EFBIG, f"is larger than {MOST_BYTES // 2**20} MiB")
    return bytes(content)


def _open_at_once(path: str, flags: int) -> int:
    """Open without a wait for the other end, should it be a pipe."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)
