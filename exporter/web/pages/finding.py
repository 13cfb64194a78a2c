"""What somebody looks for on the status page: a text, a verdict, or both, as they stand in the URL.

Pure. The text is searched for in names of zones, hosts and clients, in addresses, DNS servers and label
values, whatever the case; an internationalized name is found in either spelling.
"""

import contextlib
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import idna

from exporter.diagnosis import Verdict
from exporter.model import host_port
from exporter.names import parse_name
from exporter.web.pages.cards import Card
from exporter.web.words import Tone

TROUBLE = "trouble"
UNCHECKED = Tone.UNCHECKED.value
WANTED = frozenset({"", TROUBLE, UNCHECKED, *(verdict.value for verdict in Verdict)})
MAX_TEXT = 300


class BadQueryError(Exception):
    """What somebody asked for cannot be; the text says why, in a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What is looked for; empty for everything."""

    text: str = ""
    verdict: str = ""

    def __bool__(self) -> bool:
        return bool(self.text or self.verdict)

    @property
    def parameters(self) -> str:
        """Write it as it stands in a URL, with the question mark unless it is empty."""
        given = {key: value for key, value in (("q", self.text), ("verdict", self.verdict)) if value}
        return f"?{urllib.parse.urlencode(given)}" if given else ""

    def with_verdict(self, verdict: str) -> "Query":
        """Look for the same text and another verdict."""
        return replace(self, verdict=verdict)

    def finds(self, card: Card) -> bool:
        """Tell whether a card is looked for."""
        return _has_verdict(card, self.verdict) and self._finds(_texts(card))

    def finds_name(self, name: str) -> bool:
        """Tell whether something of which only the name is known is looked for; it has no verdict."""
        return self._finds(_spellings(name))

    def _finds(self, texts: Iterable[str]) -> bool:
        if not self.text:
            return True
        needles = {self.text.casefold(), *_as_name(self.text)}
        return any(needle in text for text in texts for needle in needles)


def parse_query(parameters: Mapping[str, str]) -> Query:
    """Read what is looked for from a URL; parameters that mean nothing here are ignored.

    Raises BadQueryError.
    """
    text, verdict = parameters.get("q", "").strip(), parameters.get("verdict", "")
    if len(text) > MAX_TEXT:
        raise BadQueryError(f"q is longer than {MAX_TEXT} characters")
    if verdict not in WANTED:
        raise BadQueryError(f"verdict must be one of {', '.join(sorted(WANTED - {''}))}")
    return Query(text=text, verdict=verdict)


def _has_verdict(card: Card, wanted: str) -> bool:
    match wanted:
        case "":
            return True
        case "trouble":
            return card.tone.is_trouble
        case "unchecked":
            return any(row.tone is Tone.UNCHECKED for row in card.rows)
        case _:
            return wanted in card.verdicts


def _as_name(text: str) -> Iterator[str]:
    """Spell what a person typed as the names here are spelled, if it can be a whole label or name."""
    if not text.isascii():
        with contextlib.suppress(ValueError):
            yield parse_name(text)


def _texts(card: Card) -> Iterator[str]:
    yield from _spellings(card.name)
    for suffix in card.suffixes:
        yield from _spellings(suffix)
    yield from (value.casefold() for value in card.labels.values())
    yield from (row.dns_server for row in card.rows)
    for sight in card.sights():
        yield from _spellings(host_port(sight.host.target, sight.host.port))
        yield from sight.lookup.addresses if sight.lookup else ()
    if card.zone:
        view = card.zone.diagnosis.view
        for host in (*view.missing, *view.vanished):
            yield host_port(host.target, host.port)
        for server in view.servers:
            for record in server.lookup.portless if server.lookup else ():
                yield record.target


def _spellings(name: str) -> Iterator[str]:
    """Give a name as it is, and with its A-labels in Unicode if they are good ones."""
    yield name.casefold()
    if "xn--" in name:
        yield ".".join(_to_unicode(label) for label in name.split("."))


def _to_unicode(label: str) -> str:
    try:
        return idna.decode(label) if label.startswith("xn--") else label
    except idna.IDNAError:
        return label
