"""Non-blocking sockets to literal addresses, which is what both lookups and probes send from.

Knows no names and no protocol above the transport; every failure is an OSError, and leaves nothing open.
"""

import socket

from exporter.model import Family, family_of

SocketAddress = tuple[str, int] | tuple[str, int, int, int]
"""An address as connect takes it: for IPv6 with flow label and scope where it has a scope."""

_FAMILIES = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}
_BIND_ADDRESS_NO_PORT = (socket.IPPROTO_IP, 24)
"""IP_BIND_ADDRESS_NO_PORT of Linux (ip(7)): connect chooses the port, so one serves many destinations."""


def open_socket(address: str, kind: socket.SocketKind, *, source_address: str | None) -> socket.socket:
    """Open a socket fit to talk to `address`, bound to `source_address` where there is one."""
    sock = socket.socket(_FAMILIES[family_of(address)], kind | socket.SOCK_NONBLOCK)
    if source_address:
        try:
            if kind == socket.SOCK_STREAM:
                sock.setsockopt(*_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((source_address, 0))
        except OSError:
            sock.close()
            raise
    return sock


def socket_address(address: str, port: int) -> SocketAddress:
    """Give the address as connect takes it; a scope such as `%eth0` (RFC 4007, 11) goes apart."""
    host, _, scope = address.partition("%")
    if not scope:
        return host, port
    return host, port, 0, int(scope) if scope.isdecimal() else socket.if_nametoindex(scope)
