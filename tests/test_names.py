"""Tests of the canonical form of domain names."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.names import canonical, parse_name, show_labels

LABELS = st.lists(st.binary(min_size=1, max_size=63), max_size=8)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("contoso.com", "contoso.com"),
        ("Contoso.COM", "contoso.com"),
        ("contoso.com.", "contoso.com"),
        ("localhost", "localhost"),
        ("_vlmcs._tcp.contoso.com", "_vlmcs._tcp.contoso.com"),
        ("kms_1.contoso.com", "kms_1.contoso.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("straße.example", "xn--strae-oqa.example"),
        ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
        ("contoso\uff0ecom\uff61", "contoso.com"),
        ("\uff43ontoso.com", "contoso.com"),
        ("a" * 63 + ".com", "a" * 63 + ".com"),
        (".".join(["a" * 62] * 4) + ".b", ".".join(["a" * 62] * 4) + ".b"),
    ],
)
def test_parse_name(text: str, name: str) -> None:
    """A name is brought into lower case, A-labels and a form without trailing dot."""
    assert parse_name(text) == name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has an empty label"),
        (".", "has an empty label"),
        ("contoso..com", "has an empty label"),
        (".contoso.com", "has an empty label"),
        ("contoso.com..", "has an empty label"),
        ("a" * 64 + ".com", "has a label longer than 63 characters"),
        ("ü" * 63 + ".com", "has a label that is no internationalized name"),
        (".".join(["a" * 62] * 4) + ".bcd", "is longer than 253 characters"),
        ("a." * 1_000_000, "is longer than 253 characters"),
        ("con toso.com", "has a label with characters that host names may not have: 'con toso'"),
        ("-a.com", "has a label with characters that host names may not have: '-a'"),
        ("a-.com", "has a label with characters that host names may not have: 'a-'"),
        ("a\n.com", "has a label with characters that host names may not have: 'a\\n'"),
        ("*.com", "has a label with characters that host names may not have: '*'"),
        ("a\\.b.com", "has a label with characters that host names may not have: 'a\\\\'"),
        ("☃\u200d.com", "has a label that is no internationalized name: '☃\\u200d'"),
        ("\u00ad.com", "has a label that is no internationalized name: '\\xad'"),
    ],
)
def test_parse_name_refuses(text: str, message: str) -> None:
    """A name that DNS or IDNA does not allow is refused with the reason."""
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        parse_name(text)


@pytest.mark.parametrize(
    ("text", "name"),
    [("Contoso.COM.", "contoso.com"), ("BÜCHER.example", "xn--bcher-kva.example")]
    + [(text, text) for text in ("", ".", "A..b", "<Script>", "Ä" * 2000)],
)
def test_canonical(text: str, name: str) -> None:
    """A name in any spelling is brought into the one form; what cannot be a name is left alone."""
    assert canonical(text) == name


def test_parse_name_shorter() -> None:
    """A caller that needs room for a prefix can ask for a shorter name."""
    assert parse_name("a" * 10, max_length=10) == "a" * 10
    with pytest.raises(ValueError, match="is longer than 10 characters"):
        parse_name("a" * 11, max_length=10)


@given(st.text())
def test_parse_name_is_stable(text: str) -> None:
    """Any text is either refused with a ValueError or canonical when parsed once."""
    try:
        name = parse_name(text)
    except ValueError:
        return
    assert parse_name(name) == name
    assert show_labels(label.encode() for label in name.split(".")) == name


@pytest.mark.parametrize(
    ("labels", "shown"),
    [
        ([b"contoso", b"com", b""], "contoso.com"),
        ([b"KMS1", b"Contoso", b"com"], "kms1.contoso.com"),
        ([b"_vlmcs", b"_tcp", b"a-b"], "_vlmcs._tcp.a-b"),
        ([b""], "."),
        ([], "."),
        ([b"a.b", b"com"], "a\\046b.com"),
        ([b"."], "\\046"),
        ([b"a\\b"], "a\\092b"),
        ([b'a"b\n', b"com"], "a\\034b\\010.com"),
        ([b"b\xc3\xbccher"], "b\\195\\188cher"),
        ([b"\x00\xff"], "\\000\\255"),
        ([b"\xc4"], "\\196"),
    ],
)
def test_show_labels(labels: list[bytes], shown: str) -> None:
    """The labels of a name on the wire are shown in lower case, odd bytes as decimal escapes."""
    assert show_labels(labels) == shown


@given(LABELS)
def test_show_labels_is_printable(labels: list[bytes]) -> None:
    """Whatever bytes a name holds, it is shown in printable ASCII."""
    shown = show_labels(labels)
    assert shown.isascii()
    assert shown.isprintable()


@given(LABELS, LABELS)
def test_show_labels_is_injective(one: list[bytes], other: list[bytes]) -> None:
    """Two names are shown alike only if they differ in nothing but case."""
    same = [label.lower() for label in one] == [label.lower() for label in other]
    assert (show_labels(one) == show_labels(other)) is same


@given(st.lists(st.sampled_from([b"A", b"a", b".", b"a.b", b"b", b"\\046", b"\\", b"046"])), st.data())
def test_show_labels_is_injective_in_corners(one: list[bytes], data: st.DataObject) -> None:
    """Dots and backslashes inside a label are never taken for those between labels or of escapes."""
    other = data.draw(st.permutations(one).map(lambda labels: [b"".join(labels)] if labels else []))
    same = [label.lower() for label in one] == [label.lower() for label in other]
    assert (show_labels(one) == show_labels(other)) is same
