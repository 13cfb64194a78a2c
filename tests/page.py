"""An HTML page as a test sees it: a tree of elements, held to be well formed and free of inline code."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = frozenset({"br", "hr", "img", "input", "link", "meta", "path"})


@dataclass(slots=True, kw_only=True)
class Element:
    """An element: its attributes, and what it contains in order."""

    name: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list["Element | str"] = field(default_factory=list)

    def __iter__(self) -> Iterator["Element"]:
        """Give this element and all below it, in the order of the page."""
        yield self
        for child in self.children:
            if isinstance(child, Element):
                yield from child

    @property
    def text(self) -> str:
        """The text of the element, spaces folded as a browser does."""
        return " ".join("".join(self._texts()).split())

    def all(self, name: str = "", **attributes: str) -> list["Element"]:
        """Find the elements below; `class_` is one of the classes of an element."""
        return [each for each in self if each is not self and each.matches(name, attributes)]

    def one(self, name: str = "", **attributes: str) -> "Element":
        """Find the only such element below."""
        [found] = self.all(name, **attributes)
        return found

    def matches(self, name: str, attributes: dict[str, str]) -> bool:
        """Tell whether the element has this name, unless it is empty, and these attributes."""
        wanted = dict(attributes)
        class_ = wanted.pop("class_", None)
        return (
            (not name or self.name == name)
            and (class_ is None or class_ in self.attributes.get("class", "").split())
            and all(self.attributes.get(key.replace("_", "-")) == value for key, value in wanted.items())
        )

    def _texts(self) -> Iterator[str]:
        for child in self.children:
            if isinstance(child, Element):
                yield from child._texts()
            else:
                yield child


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = Element(name="")
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute of <{tag}> stands twice"
        element = Element(name=tag, attributes={name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID, tag
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].name == tag, f"</{tag}> where <{self.open[-1].name}> is open"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def read_page(text: str) -> Element:
    """Read a page; fails unless it is well formed, ids are unique, and nothing in it is code or style."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == [reader.root], f"<{reader.open[-1].name}> is never closed"
    ids = [each.attributes["id"] for each in reader.root if "id" in each.attributes]
    assert sorted(ids) == sorted(set(ids))
    assert not any(" " in each for each in ids)
    for each in reader.root:
        assert not [name for name in each.attributes if name == "style" or name.startswith("on")]
        assert each.name != "style"
        assert each.name != "script" or (each.attributes.get("src") and not each.children)
    return reader.root


def links_of(page: Element, *, wanted: Callable[[str], bool] = lambda _: True) -> list[str]:
    """List what a page leads to or loads."""
    found = (
        each.attributes[name]
        for each in page
        for name in ("href", "src", "action", "data-source")
        if name in each.attributes
    )
    return [link for link in dict.fromkeys(found) if wanted(link)]
