"""Listening sockets, bound before anything else starts, so that a taken address is known at once."""

import socket


def listen(host: str, port: int) -> socket.socket:
    """Open a listening TCP socket; an empty `host` means every address, IPv6 too where there is any.

    Raises OSError when the address is taken, not this machine's, or not permitted.
    """
    if host:
        family, *_, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(address, family=family)
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))
