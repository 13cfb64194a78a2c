"""What one question to one DNS server brought: the reply, and every message that it took to get it.

Knows no socket and nothing of what an answer means. What a query came to is said in the words of a lookup's
status, or as the response code (RFC 1035, 4.1.1; RFC 6895, 2.3) where the former are less exact.
"""

import functools
import time
from collections.abc import Awaitable
from typing import Literal, NamedTuple, TypeVar

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype

from exporter.discovery.plain import PlainAnswer
from exporter.failures import classify_lookup
from exporter.model import TRUNCATED, DnsServer, LookupStatus, Queries, Query

EXPECTED_ERRORS = (OSError, EOFError, MemoryError, dns.exception.DNSException)
"""What a query may fail with."""

Answer = dns.message.QueryMessage
"""A response that dnspython has read."""
Reply = Answer | PlainAnswer | LookupStatus
"""A response that was read, whatever its response code, or why there is none."""
Transport = Literal["udp", "tcp"]
Read = TypeVar("Read", Answer, PlainAnswer, Answer | PlainAnswer)


class Exchange(NamedTuple):
    """A reply, and the queries that were sent for it, in order."""

    reply: Reply
    queries: Queries = ()

    @property
    def seconds(self) -> float:
        """The time that the queries took, one after the other; what this process did meanwhile is no part."""
        return sum(query.duration_seconds or 0.0 for query in self.queries)

    def read_as(self, status: LookupStatus) -> Queries:
        """Give the queries, the last of which came to `status` by what its answer says.

        A response code other than NOERROR says more than that, and so it stays.
        """
        if not self.queries or self.queries[-1].outcome != LookupStatus.OK or status is LookupStatus.OK:
            return self.queries
        return *self.queries[:-1], self.queries[-1]._replace(outcome=status.value)


class Journal:
    """The queries that are sent to one server for one question, each noted when it is over."""

    def __init__(self, server: DnsServer, name: str, rdtype: dns.rdatatype.RdataType) -> None:
        self.queries: list[Query] = []
        self.edns = True  # of the queries to come
        self._dns_server = server.label
        self._name = name
        self._rdtype = _show_rdtype(rdtype)

    async def note(self, transport: Transport, query: Awaitable[Read]) -> Read:
        """Wait for the answer to a query, and note what it came to; what it fails with travels on."""
        asked_at, start = time.time(), time.perf_counter()
        try:
            answer = await query
        except EXPECTED_ERRORS as error:
            self.note_failure(transport, classify_lookup(error), asked_at, time.perf_counter() - start)
            raise
        self.note_answer(transport, answer, asked_at, time.perf_counter() - start)
        return answer

    def note_failure(
        self, transport: Transport, status: LookupStatus, asked_at: float, duration_seconds: float
    ) -> None:
        """Note a query that came to nothing, or could not even be sent."""
        self._add(transport, status.value, asked_at, duration_seconds)

    def note_answer(
        self, transport: Transport, answer: Answer | PlainAnswer, asked_at: float, duration_seconds: float
    ) -> None:
        """Note a query, and the answer to it."""
        if isinstance(answer, PlainAnswer):
            self._add(
                transport,
                _show_rcode(answer.rcode),
                asked_at,
                duration_seconds,
                answers=answer.answers,
                authoritative=answer.authoritative,
            )
        else:
            self._add(
                transport,
                TRUNCATED if answer.flags & dns.flags.TC else _show_rcode(answer.rcode()),
                asked_at,
                duration_seconds,
                answers=sum(len(rrset) for rrset in answer.answer),
                authoritative=bool(answer.flags & dns.flags.AA),
            )

    def _add(
        self,
        transport: Transport,
        outcome: str,
        asked_at: float,
        duration_seconds: float,
        *,
        answers: int = 0,
        authoritative: bool | None = None,
    ) -> None:
        self.queries.append(
            Query(
                dns_server=self._dns_server,
                name=self._name,
                rdtype=self._rdtype,
                transport=transport,
                asked_at=asked_at,
                duration_seconds=duration_seconds,
                outcome=outcome,
                edns=self.edns,
                answers=answers,
                authoritative=authoritative,
            )
        )


@functools.cache
def _show_rdtype(rdtype: dns.rdatatype.RdataType) -> str:  # of those that are asked for, which are few
    return dns.rdatatype.to_text(rdtype)


def _show_rcode(rcode: dns.rcode.Rcode) -> str:
    return LookupStatus.OK if rcode == dns.rcode.NOERROR else dns.rcode.to_text(rcode).lower()
