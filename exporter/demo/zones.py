"""What the lab can play: its addresses, what is behind them, and what a zone is. Data only: no I/O, no clock.

All addresses are loopback. A new kind of misconduct is one more member of `Conduct` or `Behaviour`; what is
made of them is listed in `situations`.
"""

import enum
from dataclasses import dataclass

DNS_ADDRESS = "127.16.88.53"
SECOND_DNS_ADDRESS = "127.16.88.54"
UP = ("127.16.88.1", "127.16.88.2", "127.16.88.3", "127.16.88.4")
CLOSED = "127.16.88.101"
FILTERED = "127.16.88.102"
OTHER_SERVICE = "127.16.88.103"
MAIL = "127.16.88.104"
HUNG = "127.16.88.105"


class Conduct(enum.Enum):
    """How the name servers treat every query for a zone."""

    ANSWERS = enum.auto()
    FAILS = enum.auto()
    REFUSES = enum.auto()
    KEEPS_SILENT = enum.auto()


class Behaviour(enum.Enum):
    """What a TCP endpoint does with those who connect."""

    KMS = enum.auto()
    """Accepts an RPC bind for the KMS interface, and no request."""
    OTHER_RPC = enum.auto()
    """Answers an RPC bind too, but another service is behind it."""
    BANNER = enum.auto()
    """Is no RPC: speaks first, as a mail server does."""
    SILENT = enum.auto()
    """Accepts the connection and never says a word."""
    REFUSES = enum.auto()
    DROPS = enum.auto()


ENDPOINTS = dict.fromkeys(UP, Behaviour.KMS) | {
    CLOSED: Behaviour.REFUSES,
    FILTERED: Behaviour.DROPS,
    OTHER_SERVICE: Behaviour.OTHER_RPC,
    MAIL: Behaviour.BANNER,
    HUNG: Behaviour.SILENT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When records come and go: present first, then absent, and so on."""

    present_seconds: float
    absent_seconds: float

    def changes(self, now: float) -> int:
        """Count the comings and goings until `now`, in seconds since the start; odd means absent."""
        cycles, rest = divmod(now, self.present_seconds + self.absent_seconds)
        return 2 * int(cycles) + (rest >= self.present_seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """One zone and what it stands for.

    `records` are those of a master file (RFC 1035, 5.1, https://www.rfc-editor.org/rfc/rfc1035), names
    relative to the zone; SOA, NS and the name servers' own addresses come with the servers. `elsewhere` is
    what the second name server still has in their place, where that is something older. `schedule` tells when
    the SRV records come and go, if they do. `expected` are the hosts that should be published, as the
    configuration spells them; None is no opinion. A zone that is not `watched` is served, but is no zone of
    the configuration.
    """

    zone: str
    summary: str
    records: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] | None = None
    conduct: Conduct = Conduct.ANSWERS
    schedule: Schedule | None = None
    expected: tuple[str, ...] | None = None
    watched: bool = True
