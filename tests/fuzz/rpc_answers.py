"""Answers to an RPC bind, in pieces as the network likes.

The first byte of an input says how many of those behind it are sizes of pieces; the rest is the stream.
"""

import uuid

from exporter.model import ProbeFailure
from exporter.rpc import (
    HEADER_BYTES,
    KMS_INTERFACE,
    MAX_FRAGMENT_BYTES,
    NDR,
    MalformedAnswerError,
    bytes_missing,
    judge,
    parse,
)
from tests.fuzz.target import pure

_MOST_PIECES = 16
_JUDGEMENTS = frozenset(
    {
        None,
        ProbeFailure.NOT_RPC,
        ProbeFailure.RPC_BUSY,
        ProbeFailure.INTERFACE_UNKNOWN,
        ProbeFailure.RPC_REJECTED,
    }
)


def feed(data: bytes) -> bool:
    """Read a stream in pieces and in one, and hold what is made of it; refused is what is no answer."""
    pieces = data[0] % _MOST_PIECES if data else 0
    sizes, stream = data[1 : 1 + pieces], data[1 + pieces :]
    received = _receive(stream, sizes)
    assert _receive(stream, b"").startswith(received)  # smaller pieces show sooner that it is no answer
    judgement = judge(received)
    assert judgement in _JUDGEMENTS
    assert judgement is judge(stream)
    try:
        parse(received)
    except MalformedAnswerError:
        assert judgement is ProbeFailure.NOT_RPC
        return False
    assert not bytes_missing(received)
    return True


def _receive(stream: bytes, sizes: bytes) -> bytes:
    """Read a stream as a probe does, in pieces of these sizes as long as there are any."""
    received = b""
    at_most = iter(sizes)
    while missing := bytes_missing(received):
        assert missing > 0
        assert len(received) + missing <= max(HEADER_BYTES, MAX_FRAGMENT_BYTES)
        piece = stream[len(received) : len(received) + min(missing, max(1, next(at_most, missing)))]
        if not piece:
            break
        received += piece
    return received


RPC = pure(
    feed,
    (
        b"\x05\x00\x0c\x03\x10\x00\x00\x00",  # the header's start: bind_ack, bind_nak, fault
        b"\x05\x00\x0d\x03\x10\x00\x00\x00",
        b"\x05\x00\x03\x03\x10\x00\x00\x00",
        b"\x05\x00\x0c\x03\x00\x00\x00\x00",
        b"\x00\x00\x01\x00\x00\x00",  # no authentication, our call
        b"\x00\x00\x00\x00\x00\x01",
        b"\xd0\x16\xd0\x16",
        b"\x05\x001688\x00",
        b"\x01\x00\x00\x00\x00\x00\x00\x00",  # one result: accepted
        b"\x02\x00\x01\x00",
        NDR.bytes_le + b"\x02\x00\x00\x00",
        NDR.bytes + b"\x00\x00\x00\x02",
        KMS_INTERFACE.bytes_le,
        uuid.UUID(int=0).bytes,
        b"\x14\x00\x01\x1c",  # nca_s_server_too_busy
        b"HTTP/1.1 400 Bad Request\r\n",
        b"SSH-2.0-",
        b"\x15\x03\x01",
    ),
    longest=6000,
)
