"""Any error that a lookup or a connect can end with, mapped to the closed vocabularies of the model.

Pure functions and total: an error nobody thought of still gets a name that is true enough to act on.
The errno values are those of connect(2), https://man7.org/linux/man-pages/man2/connect.2.html, and those
that Linux makes of ICMP errors (icmp(7), RFC 4443), whatever else they mean elsewhere.
"""

import errno

import dns.exception

from exporter.model import LookupStatus, ProbeFailure

_PROBE_FAILURES = {
    errno.ECONNREFUSED: ProbeFailure.CONNECTION_REFUSED,
    errno.ECONNRESET: ProbeFailure.CONNECTION_RESET,
    errno.ECONNABORTED: ProbeFailure.CONNECTION_RESET,
    errno.EPIPE: ProbeFailure.CONNECTION_RESET,
    errno.ETIMEDOUT: ProbeFailure.TIMEOUT,
    errno.EHOSTUNREACH: ProbeFailure.UNREACHABLE,
    errno.ENETUNREACH: ProbeFailure.UNREACHABLE,
    errno.EHOSTDOWN: ProbeFailure.UNREACHABLE,
    errno.ENETDOWN: ProbeFailure.UNREACHABLE,
    errno.ENONET: ProbeFailure.UNREACHABLE,
    errno.EACCES: ProbeFailure.UNREACHABLE,  # ICMPv6 "administratively prohibited": a firewall on the way
    errno.ENOPROTOOPT: ProbeFailure.UNREACHABLE,  # ICMP "protocol unreachable": likewise
}

_BIND_FAILURES = {
    ProbeFailure.TIMEOUT: ProbeFailure.RPC_TIMEOUT,
    ProbeFailure.UNREACHABLE: ProbeFailure.RPC_TIMEOUT,
    ProbeFailure.CONNECTION_REFUSED: ProbeFailure.RPC_CLOSED,
    ProbeFailure.CONNECTION_RESET: ProbeFailure.RPC_CLOSED,
}

_LOOKUP_FAILURES = {
    ProbeFailure.TIMEOUT: LookupStatus.TIMEOUT,
    ProbeFailure.LOCAL_ERROR: LookupStatus.LOCAL_ERROR,
}


def classify_probe(error: OSError) -> ProbeFailure:
    """Name the reason why a connect failed.

    What the network did not do is `local_error`: no file descriptor, no local port, a local packet
    filter, no such address family on this machine.
    """
    if isinstance(error, TimeoutError):
        return ProbeFailure.TIMEOUT
    return _PROBE_FAILURES.get(error.errno or 0, ProbeFailure.LOCAL_ERROR)


def classify_bind(error: OSError) -> ProbeFailure:
    """Name the reason why an RPC bind on an established connection came to nothing."""
    failure = classify_probe(error)
    return _BIND_FAILURES.get(failure, failure)


def classify_lookup(error: OSError | EOFError | MemoryError | dns.exception.DNSException) -> LookupStatus:
    """Name the reason why a DNS query got no answer, or none that can be read.

    What the network did not do is `local_error` here too: such a lookup says nothing of DNS.
    """
    if isinstance(error, dns.exception.Timeout):
        return LookupStatus.TIMEOUT
    if isinstance(error, MemoryError):
        return LookupStatus.LOCAL_ERROR
    if isinstance(error, OSError):
        return _LOOKUP_FAILURES.get(classify_probe(error), LookupStatus.UNREACHABLE)
    return LookupStatus.BAD_RESPONSE
