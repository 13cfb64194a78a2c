"""How an RPC runtime answers a bind: pure functions from one PDU to the next, no sockets.

The other side of `exporter.rpc`, whose codes it shares: C706, 12.6.4.3 (bind) and 12.6.4.4 (bind_ack),
https://pubs.opengroup.org/onlinepubs/9629399/chap12.htm, and MS-RPCE 2.2.2,
https://learn.microsoft.com/en-us/openspecs/windows_protocols/ms-rpce/. Anonymous little-endian binds are all
that it knows. A PDU of any other type gets no answer, above all no request: it does not speak KMS.
"""

import struct
import uuid
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from exporter.rpc import (
    FIRST_AND_LAST_FRAGMENT,
    HEADER_BYTES,
    KMS_INTERFACE,
    KMS_INTERFACE_VERSION,
    MAX_FRAGMENT_BYTES,
    NDR,
    NDR_VERSION,
    PduType,
    ProviderReason,
    Result,
)

_HEADER = struct.Struct("<2sBB4sHHI")  # version, type, flags, data representation, two lengths, call
_VERSION = bytes((5, 0))
_LITTLE_ENDIAN = b"\x10\x00\x00\x00"  # integers; ASCII, IEEE floats
_ASSOCIATION = struct.Struct("<HHI")  # fragment sizes, association group
_ASSOCIATION_GROUP = 0x1688  # any but 0, which asks for a new one
_COUNT = struct.Struct("<B3x")
_CONTEXT = struct.Struct("<HBx")
_SYNTAX = struct.Struct("<16sHH")
_RESULT = struct.Struct("<HH")
_LENGTH = struct.Struct("<H")
_ALIGNMENT_BYTES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Syntax:
    """An interface or a transfer syntax with its version (C706, 12.6.3.1, p_syntax_id_t)."""

    uuid: uuid.UUID
    major: int
    minor: int = 0

    def pack(self) -> bytes:
        """Write the 20 bytes."""
        return _SYNTAX.pack(self.uuid.bytes_le, self.major, self.minor)

    @classmethod
    def unpack(cls, pdu: bytes, offset: int) -> Self:
        """Read the 20 bytes; raises struct.error where there are fewer."""
        identifier, major, minor = _SYNTAX.unpack_from(pdu, offset)
        return cls(uuid=uuid.UUID(bytes_le=identifier), major=major, minor=minor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One presentation context that a bind asks for: an interface, and the transfer syntaxes for it."""

    interface: Syntax
    transfer_syntaxes: tuple[Syntax, ...]


KMS = Syntax(uuid=KMS_INTERFACE, major=KMS_INTERFACE_VERSION[0], minor=KMS_INTERFACE_VERSION[1])
ENDPOINT_MAPPER = Syntax(uuid=uuid.UUID("e1af8308-5d1f-11c9-91a4-08002b14a0fa"), major=3)
"""A service that every Windows machine has (C706, appendix O)."""
_NDR = Syntax(uuid=NDR, major=NDR_VERSION)
_NO_SYNTAX = bytes(_SYNTAX.size)


def bind_length(header: bytes) -> int | None:
    """Tell how long the bind is that begins with `header`, in bytes; None when that is no bind to be read."""
    if len(header) < HEADER_BYTES:
        return None
    version, kind, flags, representation, length, auth_length, _ = _HEADER.unpack_from(header)
    if (version, kind, representation, auth_length) != (_VERSION, PduType.BIND, _LITTLE_ENDIAN, 0):
        return None
    whole = flags & FIRST_AND_LAST_FRAGMENT == FIRST_AND_LAST_FRAGMENT
    return length if whole and HEADER_BYTES <= length <= MAX_FRAGMENT_BYTES else None


def answer(pdu: bytes, interfaces: Collection[Syntax], *, port: int) -> bytes | None:
    """Answer one whole PDU as a runtime in which `interfaces` are registered, on TCP `port`.

    None is no answer: to anything but a well-formed bind, above all to a request.
    """
    if bind_length(pdu) != len(pdu):
        return None
    try:
        contexts = tuple(_contexts(pdu))
    except struct.error:  # it promises more than it holds
        return None
    if not contexts or not all(context.transfer_syntaxes for context in contexts):
        return None
    return _bind_ack(pdu, [_result(context, interfaces) for context in contexts], port)


def _contexts(pdu: bytes) -> Iterator[Context]:
    offset = HEADER_BYTES + _ASSOCIATION.size
    (count,) = _COUNT.unpack_from(pdu, offset)
    offset += _COUNT.size
    for _ in range(count):
        _, transfer_count = _CONTEXT.unpack_from(pdu, offset)
        first = offset + _CONTEXT.size
        offset = first + (1 + transfer_count) * _SYNTAX.size
        interface, *transfers = (Syntax.unpack(pdu, at) for at in range(first, offset, _SYNTAX.size))
        yield Context(interface=interface, transfer_syntaxes=tuple(transfers))


def _result(context: Context, interfaces: Collection[Syntax]) -> bytes:
    if context.interface not in interfaces:
        reason = ProviderReason.ABSTRACT_SYNTAX_NOT_SUPPORTED
    elif _NDR not in context.transfer_syntaxes:
        reason = ProviderReason.TRANSFER_SYNTAXES_NOT_SUPPORTED
    else:
        return _RESULT.pack(Result.ACCEPTANCE, ProviderReason.NOT_SPECIFIED) + _NDR.pack()
    return _RESULT.pack(Result.PROVIDER_REJECTION, reason) + _NO_SYNTAX


def _bind_ack(bind: bytes, results: Sequence[bytes], port: int) -> bytes:
    *_, call_id = _HEADER.unpack_from(bind)
    xmit_bytes, recv_bytes, _ = _ASSOCIATION.unpack_from(bind, HEADER_BYTES)
    body = b"".join(
        (
            _ASSOCIATION.pack(
                min(recv_bytes, MAX_FRAGMENT_BYTES),  # what the client receives is what may be sent
                min(xmit_bytes, MAX_FRAGMENT_BYTES),
                _ASSOCIATION_GROUP,
            ),
            _secondary_address(port),
            _COUNT.pack(len(results)),
            *results,
        )
    )
    length = HEADER_BYTES + len(body)
    return (
        _HEADER.pack(_VERSION, PduType.BIND_ACK, FIRST_AND_LAST_FRAGMENT, _LITTLE_ENDIAN, length, 0, call_id)
        + body
    )


def _secondary_address(port: int) -> bytes:
    """Write the port as text, its length in front, up to where the PDU is aligned again."""
    text = f"{port}\0".encode()
    field = _LENGTH.pack(len(text)) + text
    return field + bytes(-len(field) % _ALIGNMENT_BYTES)
