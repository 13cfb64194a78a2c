"""The bytes of an RPC bind: what a KMS host is asked, and what its answer means.

Owns the one PDU that is ever sent and the reading of the three that may answer it. Pure: no socket, no clock.
It may not make a request PDU: a bind opens an association and carries no call, so it can activate nothing
and count no client. Bytes from the network are not trusted: what is no exact answer to our bind is `not_rpc`.

Field names and layouts are those of C706 chapter 12, https://pubs.opengroup.org/onlinepubs/9629399/chap12.htm,
with the extensions of MS-RPCE 2.2.2, https://learn.microsoft.com/en-us/openspecs/windows_protocols/ms-rpce/.
"""

import enum
import functools
import struct
import uuid
from collections.abc import Container, Mapping
from dataclasses import dataclass

from exporter.model import ProbeFailure

KMS_INTERFACE = uuid.UUID("51c82175-844e-4750-b0d8-ec255555bc06")
KMS_INTERFACE_VERSION = (1, 0)
NDR = uuid.UUID("8a885d04-1ceb-11c9-9fe8-08002b104860")
NDR_VERSION = 2
"""The transfer syntax version 2.0 as one number: the minor version is its upper half."""
CALL_ID = 1
MAX_FRAGMENT_BYTES = 5840
"""What the bind says we send and receive at most, and the most that is ever read of an answer."""
SERVER_TOO_BUSY = 0x1C010014
"""The status nca_s_server_too_busy of a fault (MS-RPCE 3.1.1.5.5)."""

HEADER_BYTES = 16
FIRST_AND_LAST_FRAGMENT = 0x03
_LITTLE_ENDIAN = 0x10
_ASSOC_GROUP = slice(20, 24)
_ANSWERS_KEPT = 256  # a host answers in the same way each time, and most hosts alike
_ONE_RESULT = "B3xHH16sI"  # how many there are; then result, reason and transfer syntax of the first


class PduType(enum.IntEnum):
    """The PDUs of a bind and its answers; there is no other here, least of all a request."""

    FAULT = 3
    BIND = 11
    BIND_ACK = 12
    BIND_NAK = 13


class Result(enum.IntEnum):
    """What became of an offered context (C706, 12.6.3.1; MS-RPCE 2.2.2.4)."""

    ACCEPTANCE = 0
    USER_REJECTION = 1
    PROVIDER_REJECTION = 2
    NEGOTIATE_ACK = 3


class ProviderReason(enum.IntEnum):
    """Why a context was rejected (C706, 12.6.3.1)."""

    NOT_SPECIFIED = 0
    ABSTRACT_SYNTAX_NOT_SUPPORTED = 1
    TRANSFER_SYNTAXES_NOT_SUPPORTED = 2
    LOCAL_LIMIT_EXCEEDED = 3


class NakReason(enum.IntEnum):
    """Why there is no association at all (C706, 12.6.3.1; MS-RPCE 2.2.2.5)."""

    NOT_SPECIFIED = 0
    TEMPORARY_CONGESTION = 1
    LOCAL_LIMIT_EXCEEDED = 2
    PROTOCOL_VERSION_NOT_SUPPORTED = 4
    AUTHENTICATION_TYPE_NOT_RECOGNIZED = 8


class MalformedAnswerError(ValueError):
    """The bytes are no whole answer to our bind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextResult:
    """What the server says of one context; codes are as received, known or not."""

    result: int
    reason: int
    transfer_syntax: tuple[uuid.UUID, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class BindAck:
    """An association, and the one result for the one context that was offered (C706, 12.6.4.4)."""

    max_xmit_bytes: int
    max_recv_bytes: int
    assoc_group: int
    secondary_address: bytes
    results: tuple[ContextResult, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BindNak:
    """No association (C706, 12.6.4.5); the code is as received, known or not."""

    reason: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """An error in place of an answer (C706, 12.6.4.7)."""

    status: int


Answer = BindAck | BindNak | Fault


def _build_bind() -> bytes:
    """Put the bind together: one context, of id 0, offers the KMS interface in NDR (C706, 12.6.4.3)."""
    new_association, contexts, context_id, transfer_syntaxes = 0, 1, 0, 1
    body = b"".join(
        (
            struct.pack("<HHI", MAX_FRAGMENT_BYTES, MAX_FRAGMENT_BYTES, new_association),
            struct.pack("<B3xHBx", contexts, context_id, transfer_syntaxes),
            struct.pack("<16sHH", KMS_INTERFACE.bytes_le, *KMS_INTERFACE_VERSION),
            struct.pack("<16sI", NDR.bytes_le, NDR_VERSION),
        )
    )
    kind = struct.pack("<BBBBB3x", 5, 0, PduType.BIND, FIRST_AND_LAST_FRAGMENT, _LITTLE_ENDIAN)
    return kind + struct.pack("<HHI", HEADER_BYTES + len(body), 0, CALL_ID) + body


BIND = _build_bind()
"""All that is ever sent to an endpoint."""

_BIND_ACK = bytes([PduType.BIND_ACK])
_MINIMUM_BYTES: Mapping[int, int] = {PduType.FAULT: 32, PduType.BIND_ACK: 56, PduType.BIND_NAK: 18}

_HEADER_START: tuple[Container[int], ...] = (
    (5,),  # rpc_vers
    (0,),  # rpc_vers_minor
    _MINIMUM_BYTES,  # PTYPE: what may answer a bind
    range(FIRST_AND_LAST_FRAGMENT, 0x100, 4),  # pfc_flags: both bits set, the others as the server likes
    (0x00, 0x01, _LITTLE_ENDIAN, _LITTLE_ENDIAN | 0x01),  # packed_drep: integers, and ASCII or EBCDIC
    range(4),  # packed_drep: IEEE, VAX, Cray or IBM floating point
    (0,),  # packed_drep, reserved
    (0,),
)
"""The values that the header's first bytes may have, one by one (C706, 12.6.3.1 and 14.1)."""


def bytes_missing(received: bytes) -> int:
    """Tell how many more bytes of the answer to read, as far as those received let one know.

    First the header is to be completed, then the fragment that it announces, of at most `MAX_FRAGMENT_BYTES`
    in all. 0 when that is done, and from the first byte on that no answer to our bind can have, lest one
    waits for the rest of a banner. Header: C706, 12.6.3.1.
    """
    return max(0, _bytes_wanted(received[:HEADER_BYTES]) - len(received))


def judge(received: bytes) -> ProbeFailure | None:
    """Tell what a complete answer means; None says that the host takes calls to the KMS interface.

    Never raises: bytes that are not, or not yet, an answer are `not_rpc`. What follows the fragment is not
    looked at. Codes: C706, 12.6.3.1, and MS-RPCE 2.2.2.5.
    """
    if received[2:3] == _BIND_ACK:  # where all that differs is the association
        received = received[: _ASSOC_GROUP.start] + bytes(4) + received[_ASSOC_GROUP.stop :]
    return _judge(received)


@functools.lru_cache(maxsize=_ANSWERS_KEPT)
def _judge(received: bytes) -> ProbeFailure | None:
    try:
        answer = parse(received)
    except MalformedAnswerError:
        return ProbeFailure.NOT_RPC
    if isinstance(answer, BindAck):
        return _judge_result(answer.results[0])
    if isinstance(answer, BindNak):
        busy = answer.reason in {NakReason.TEMPORARY_CONGESTION, NakReason.LOCAL_LIMIT_EXCEEDED}
    else:
        busy = answer.status == SERVER_TOO_BUSY
    return ProbeFailure.RPC_BUSY if busy else ProbeFailure.RPC_REJECTED


def parse(fragment: bytes) -> Answer:
    """Read a whole answer to our bind, in either byte order; what follows the fragment is not looked at.

    Layouts: C706, 12.6.4.4, 12.6.4.5 and 12.6.4.7.

    Raises:
        MalformedAnswerError: Anything in it is other than an answer to our bind must be.
    """
    if not _may_be_answer(fragment):
        raise MalformedAnswerError("the header is not that of an answer to our bind")
    if bytes_missing(fragment):
        raise MalformedAnswerError("the fragment is not complete")
    fragment = fragment[: _fragment_bytes(fragment)]
    order = _byte_order(fragment)
    if fragment[2] == PduType.BIND_ACK:
        return _parse_bind_ack(fragment, order)
    if fragment[2] == PduType.BIND_NAK:
        return _parse_bind_nak(fragment, order)
    (status,) = struct.unpack_from(order + "I", fragment, 24)
    return Fault(status=status)


@functools.lru_cache(maxsize=_ANSWERS_KEPT)
def _bytes_wanted(header: bytes) -> int:
    """Tell how many bytes the header has, or announces when it is whole; 0 if it is none of an answer."""
    if not _may_be_answer(header):
        return 0
    return HEADER_BYTES if len(header) < HEADER_BYTES else _fragment_bytes(header)


def _may_be_answer(received: bytes) -> bool:
    """Tell whether an answer to our bind can begin, or go on, like this; looks at the header only."""
    if not all(byte in allowed for byte, allowed in zip(received, _HEADER_START, strict=False)):
        return False
    if len(received) <= len(_HEADER_START):
        return True
    lowest, highest = (  # half of frag_len already bounds it
        _fragment_bytes(received[:10].ljust(10, unknown)) for unknown in (b"\x00", b"\xff")
    )
    if highest < _MINIMUM_BYTES[received[2]] or lowest > MAX_FRAGMENT_BYTES:
        return False
    auth_len_and_call_id = struct.pack(_byte_order(received) + "HI", 0, CALL_ID)
    return auth_len_and_call_id.startswith(received[10:HEADER_BYTES])


def _byte_order(received: bytes) -> str:
    return "<" if received[4] & _LITTLE_ENDIAN else ">"


def _fragment_bytes(received: bytes) -> int:
    frag_len: int = struct.unpack_from(_byte_order(received) + "H", received, 8)[0]
    return frag_len


def _parse_bind_ack(fragment: bytes, order: str) -> BindAck:
    max_xmit, max_recv, assoc_group, address_bytes = struct.unpack_from(order + "HHIH", fragment, 16)
    address_end = 26 + address_bytes
    results_start = address_end + -address_end % 4
    if len(fragment) != results_start + struct.calcsize(order + _ONE_RESULT):
        raise MalformedAnswerError("a bind_ack that does not end where one result ends")
    count, result, reason, syntax, version = struct.unpack_from(order + _ONE_RESULT, fragment, results_start)
    if count != 1:
        raise MalformedAnswerError(f"a bind_ack with {count} results for the one context offered")
    transfer_syntax = uuid.UUID(bytes_le=syntax) if order == "<" else uuid.UUID(bytes=syntax)
    return BindAck(
        max_xmit_bytes=max_xmit,
        max_recv_bytes=max_recv,
        assoc_group=assoc_group,
        secondary_address=fragment[26:address_end],
        results=(ContextResult(result=result, reason=reason, transfer_syntax=(transfer_syntax, version)),),
    )


def _parse_bind_nak(fragment: bytes, order: str) -> BindNak:
    (reason,) = struct.unpack_from(order + "H", fragment, 16)
    versions = fragment[18:]
    if versions and len(versions) < 1 + 2 * versions[0]:
        raise MalformedAnswerError("a bind_nak with a list of versions that goes beyond its end")
    return BindNak(reason=reason)


def _judge_result(answer: ContextResult) -> ProbeFailure | None:
    if answer.result == Result.ACCEPTANCE:
        return None if answer.transfer_syntax == (NDR, NDR_VERSION) else ProbeFailure.NOT_RPC
    if answer.result not in {Result.USER_REJECTION, Result.PROVIDER_REJECTION}:
        return ProbeFailure.NOT_RPC
    if answer.reason == ProviderReason.ABSTRACT_SYNTAX_NOT_SUPPORTED:
        return ProbeFailure.INTERFACE_UNKNOWN  # some servers call it the user's rejection
    if (answer.result, answer.reason) == (Result.PROVIDER_REJECTION, ProviderReason.LOCAL_LIMIT_EXCEEDED):
        return ProbeFailure.RPC_BUSY
    return ProbeFailure.RPC_REJECTED
