"""Parts of a page that outlive it, and a page of them compressed.

The format is that of RFC 1952 (gzip) around RFC 1951 (deflate): https://www.rfc-editor.org/rfc/rfc1951. There
blocks of compressed data may follow each other as long as none refers to what is not before it. So what comes
again on the next page is compressed once.
"""

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from exporter.steps import Steps

_LEVEL = 1  # label strings repeat: higher levels save little and cost much
_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\x04\xff"  # deflate, no name, no time, fastest, unknown system
_WORTH_KEEPING_BYTES = (
    32768  # the reach of references: less is compressed better together with its neighbours
)

_STEP_BYTES = 262_144  # a millisecond or two


@dataclass(slots=True)
class Chunk:
    """A part of a page, which may be a part of the next one too."""

    text: bytes
    _deflated: bytes | None = None

    def deflated(self) -> Steps[bytes]:
        """Give it compressed, in blocks that refer to nothing before them."""
        if self._deflated is None:
            deflate, blocks, text = _deflate(), list[bytes](), memoryview(self.text)
            for start in range(0, len(text), _STEP_BYTES):
                blocks.append(deflate.compress(text[start : start + _STEP_BYTES]))
                yield
            self._deflated = b"".join([*blocks, deflate.flush(zlib.Z_FULL_FLUSH)])
        return self._deflated


def join(chunks: Iterable[Chunk]) -> bytes:
    """Give the page."""
    return b"".join([chunk.text for chunk in chunks])


def compress(chunks: Iterable[Chunk]) -> Steps[bytes]:
    """Give the page compressed."""
    deflate, checksum, size = _deflate(), 0, 0
    blocks = [_HEADER]
    for chunk in chunks:
        if len(chunk.text) < _WORTH_KEEPING_BYTES:
            blocks.append(deflate.compress(chunk.text))
        else:
            blocks += deflate.flush(zlib.Z_FULL_FLUSH), (yield from chunk.deflated())
        checksum = zlib.crc32(chunk.text, checksum)
        size += len(chunk.text)
        yield
    blocks += deflate.flush(), struct.pack("<II", checksum, size & 0xFFFFFFFF)
    return b"".join(blocks)


def _deflate() -> "zlib._Compress":
    return zlib.compressobj(_LEVEL, wbits=-zlib.MAX_WBITS)
