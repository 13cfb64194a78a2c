"""The status page as values: one sentence, the filters, and the cards that are looked for.

Pure functions from cards to what a template shows; or from names, where nothing is checked on a timer.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from exporter.diagnosis import Verdict
from exporter.model import Endpoint
from exporter.state import EndpointView, Snapshot
from exporter.web.pages.cards import Card, Cards, Kind
from exporter.web.pages.detail import Detail, make_detail
from exporter.web.pages.finding import TROUBLE, UNCHECKED, Query
from exporter.web.words import Tone, count

MAX_UNFOLDED = 40
"""How many cards of a kind carry what they unfold to; the others have it fetched. Keeps large pages small."""

MAX_LISTED = 200
"""How many names of a kind are listed where there is nothing else to show of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """A link that narrows the page, and how many zones it leads to."""

    word: str
    tone: Tone | None
    number: int
    query: Query
    current: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Cards of one kind that are looked for, out of `total`, and what the first of them unfold to."""

    total: int
    cards: tuple[Card, ...]
    details: Mapping[str, Detail]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """All that the status page shows."""

    tone: Tone
    sentence: str
    asides: tuple[str, ...]
    filters: tuple[Filter, ...]
    query: Query
    zones: Section
    static_hosts: Section
    clients: Section

    @property
    def shown(self) -> str:
        """Say how much of everything is shown, when something is looked for."""
        if not self.query:
            return ""
        parts = [
            f"{len(section.cards)} of {count(section.total, kind.one, kind.many)}"
            for kind, section in (
                (Kind.ZONE, self.zones),
                (Kind.HOST, self.static_hosts),
                (Kind.CLIENT, self.clients),
            )
            if section.total
        ]
        return f"Shown: {', '.join(parts) or 'nothing'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Names of one kind: the first of the `found` ones that are looked for, out of `total`."""

    kind: Kind
    names: tuple[str, ...]
    found: int
    total: int

    @property
    def shown(self) -> str:
        """Say how many of them are listed, unless it is all."""
        if len(self.names) == self.total:
            return ""
        most = f", of which the first {len(self.names)} are listed" if len(self.names) < self.found else ""
        return f"{self.found} of {count(self.total, self.kind.one, self.kind.many)} found{most}"


def make_listing(kind: Kind, names: Collection[str], query: Query) -> Listing:
    """List the names that are looked for, sorted."""
    found = sorted(filter(query.finds_name, names))
    return Listing(kind=kind, names=tuple(found[:MAX_LISTED]), found=len(found), total=len(names))


def make_overview(cards: Cards, snapshot: Snapshot, query: Query, *, now: float) -> Overview:
    """Show the cards that are looked for; the sentence is about all of them."""
    endpoints = {view.endpoint: view for view in snapshot.endpoints}
    zones, static_hosts, clients = (
        _section(each, query, endpoints, now) for each in (cards.zones, cards.static_hosts, cards.clients)
    )
    everything = (*cards.zones, *cards.static_hosts, *cards.clients)
    return Overview(
        tone=min((card.tone for card in everything), key=lambda tone: tone.urgency, default=Tone.UNCHECKED),
        sentence=summarize(cards.zones, Kind.ZONE),
        asides=tuple(
            summarize(each, kind)
            for kind, each in ((Kind.HOST, cards.static_hosts), (Kind.CLIENT, cards.clients))
            if each
        ),
        filters=tuple(_filters(cards.zones, query)),
        query=query,
        zones=zones,
        static_hosts=static_hosts,
        clients=clients,
    )


def summarize(cards: Sequence[Card], kind: Kind) -> str:
    """Say in one sentence how many of these have trouble."""
    total, one, many = len(cards), kind.one, kind.many
    trouble = sum(card.tone.is_trouble for card in cards)
    unchecked = sum(card.tone is Tone.UNCHECKED for card in cards)
    waiting = f", {unchecked} {'is' if unchecked == 1 else 'are'} not checked yet" if unchecked else ""
    if not total:
        return f"No {many} are watched"
    if unchecked == total:
        return f"Not checked yet: {count(total, one, many)}"
    if trouble:
        return f"{trouble} of {count(total, one, many)} {'has' if trouble == 1 else 'have'} trouble{waiting}"
    if unchecked:
        good = total - unchecked
        are, they = ("is", "it") if good == 1 else ("are", "they")
        return f"{good} of {count(total, one, many)} {are} as {they} should be{waiting}"
    return f"All {total} {many} are as they should be" if total > 1 else f"The {one} is as it should be"


def count_verdicts(cards: Iterable[Card]) -> Mapping[str, int]:
    """Count the cards with each verdict at one DNS server or more; verdicts that nothing has are absent."""
    found = Counter(verdict for card in cards for verdict in card.verdicts)
    return {verdict.value: found[verdict.value] for verdict in Verdict if found[verdict.value]}


def _filters(zones: Sequence[Card], query: Query) -> Iterable[Filter]:
    """Give the filters that lead anywhere, and the one in use, within what the text finds."""
    found = [card for card in zones if query.with_verdict("").finds(card)]
    numbers: dict[str, tuple[str, Tone | None, int]] = {"": ("all", None, len(found))}
    numbers[TROUBLE] = TROUBLE, Tone.FAILED, sum(card.tone.is_trouble for card in found)
    numbers |= {
        word: (word, None, number)
        for word, number in ({query.verdict: 0} | dict(count_verdicts(found))).items()
        if word and word not in numbers and word != UNCHECKED
    }
    unchecked = sum(query.with_verdict(UNCHECKED).finds(card) for card in found)
    if unchecked or query.verdict == UNCHECKED:
        numbers[UNCHECKED] = "not checked yet", None, unchecked
    for value, (word, tone, number) in numbers.items():
        yield Filter(
            word=word,
            tone=tone,
            number=number,
            query=query.with_verdict(value),
            current=value == query.verdict,
        )


def _section(
    cards: Sequence[Card], query: Query, endpoints: Mapping[Endpoint, EndpointView], now: float
) -> Section:
    found = tuple(card for card in cards if query.finds(card))
    return Section(
        total=len(cards),
        cards=found,
        details={
            card.identity: make_detail(card, endpoints, now=now)
            for card in found[:MAX_UNFOLDED]
            if card.parts
        },
    )
