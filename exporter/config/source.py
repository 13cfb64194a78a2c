"""Bytes of a YAML file → plain data, and the line of every key and list item.

The only module that imports `yaml`. It knows nothing of what the keys mean. Sequences become tuples.
Whatever the bytes are, the outcome is a `Document` or a ConfigError, in bounded time and memory: nesting
and the number of values, those behind aliases counted each time, are limited.

YAML 1.1 as PyYAML reads it, https://yaml.org/spec/1.1/, `<<` included, but of its tags only the plain ones.
"""

from dataclasses import dataclass, field

import yaml
from yaml.reader import Reader, ReaderError

from exporter.config.problems import ConfigError, Path, Problem, show, show_path

MAX_BYTES = 4 * 2**20
MAX_DEPTH = 32
MAX_VALUES = 250_000
_MAX_TEXT = 4096
_MAX_NUMBER = 64
_TAG = "tag:yaml.org,2002:"
_MERGE = _TAG + "merge"
_TAGS: dict[type[yaml.Node], frozenset[str]] = {
    yaml.MappingNode: frozenset({_TAG + "map"}),
    yaml.SequenceNode: frozenset({_TAG + "seq"}),
    yaml.ScalarNode: frozenset(_TAG + kind for kind in ("str", "null", "bool", "int", "float", "timestamp")),
}
_MISPLACED = "must be text: put it in quotes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """The data of a file; `problems` are those that YAML alone shows, at the paths in `broken`."""

    data: object
    lines: dict[Path, int] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    broken: frozenset[Path] = frozenset()

    def line(self, path: Path) -> int | None:
        """The line of a value, or of the nearest thing around it when it is not there itself."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)


def read(text: bytes, *, may_be_empty: bool = False, longest_text: int = _MAX_TEXT) -> Document:
    """Read a YAML document; raises ConfigError when it is none.

    Where it may be empty, it is an empty mapping then. No value may be longer than `longest_text` characters.
    """
    if len(text) > MAX_BYTES:
        raise _fatal(None, f"is larger than {MAX_BYTES // 2**20} MiB")
    try:
        decoded = text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _fatal(text.count(b"\n", 0, error.start) + 1, "is not UTF-8 text") from error
    try:
        loader = _Loader(decoded)
    except ReaderError as error:
        line = decoded.count("\n", 0, error.position) + 1
        raise _fatal(line, f"holds the control character {error.character!r}") from error
    root = _compose(loader)
    if root is None or root.tag == _TAG + "null":
        if may_be_empty:
            return Document(data={})
        raise _fatal(None, "is empty")
    return _Walk(loader, longest_text).document(root)


class _Loader(yaml.SafeLoader):
    """The pure Python loader, for only there nesting can be stopped before the stack overflows."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0
        self._nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._nodes += 1
        if self._nodes > MAX_VALUES:
            raise _too_many(self.line + 1)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _fatal(self.line + 1, f"is nested more than {MAX_DEPTH} levels deep")
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _compose(loader: _Loader) -> yaml.Node | None:
    try:
        return loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        raise _fatal(line, f"is not valid YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # escapes and versions beyond all numbers
        raise _fatal(loader.line + 1, "is not valid YAML") from error


class _Walk:
    """One walk over the node graph, which builds the data and collects problems on the way."""

    def __init__(self, loader: _Loader, longest_text: int) -> None:
        self._loader = loader
        self._longest_text = longest_text
        self._lines: dict[Path, int] = {}
        self._problems: list[Problem] = []
        self._broken: set[Path] = set()
        self._values = 0

    def document(self, root: yaml.Node) -> Document:
        data = self._value(root, (), ())
        return Document(
            data=data,
            lines=self._lines,
            problems=tuple(self._problems),
            broken=frozenset(self._broken),
        )

    def _value(self, node: yaml.Node, path: Path, parents: tuple[yaml.Node, ...]) -> object:
        self._count(node)
        if message := _forbidden(node, parents):
            self._refuse(node, path, message)
            return None
        if isinstance(node, yaml.MappingNode):
            mapping: dict[str, object] = {}
            self._fill(mapping, node, path, parents)
            return mapping
        if isinstance(node, yaml.SequenceNode):
            return tuple(
                self._child(item, (*path, index), _line(item), (*parents, node))
                for index, item in enumerate(node.value)
            )
        return self._scalar(node, path)

    def _child(self, node: yaml.Node, path: Path, line: int, parents: tuple[yaml.Node, ...]) -> object:
        self._lines[path] = line
        return self._value(node, path, parents)

    def _fill(
        self,
        mapping: dict[str, object],
        node: yaml.MappingNode,
        path: Path,
        parents: tuple[yaml.Node, ...],
    ) -> None:
        """Add what a mapping holds itself, then what it merges, to the keys that are there already."""
        inside = (*parents, node)
        seen: dict[str, int] = {}
        merged = []
        for key_node, value in node.value:
            self._count(key_node)
            key = self._key(key_node, path)
            if key is None:
                continue
            if key in seen:
                message = f"is given twice, first on line {seen[key]}"
                self._problem(key_node, (*path, key), message)
                continue
            seen[key] = _line(key_node)
            if key_node.tag == _MERGE:
                merged.append(value)
            elif key not in mapping:
                mapping[key] = self._child(value, (*path, key), seen[key], inside)
        for value in merged:
            self._merge(mapping, value, path, inside)

    def _merge(
        self, mapping: dict[str, object], source: yaml.Node, path: Path, parents: tuple[yaml.Node, ...]
    ) -> None:
        sources = source.value if isinstance(source, yaml.SequenceNode) else [source]
        for each in sources:
            self._count(each)
            if not isinstance(each, yaml.MappingNode):
                self._problem(each, (*path, "<<"), "can merge only a mapping or a list of mappings")
            elif each in parents or len(parents) >= MAX_DEPTH:
                self._problem(
                    each, (*path, "<<"), "merges something that holds this merge, or is nested too deep"
                )
            else:
                self._fill(mapping, each, path, parents)

    def _key(self, node: yaml.Node, path: Path) -> str | None:
        if isinstance(node, yaml.ScalarNode) and node.tag in {_TAG + "str", _MERGE}:
            key: str = node.value[:_MAX_TEXT]
            if not Reader.NON_PRINTABLE.search(key):
                return key
            self._problem(node, path, f"has a key with a control character: {show(key)}")
        elif isinstance(node, yaml.ScalarNode):
            self._problem(node, path, f"has the key {show(node.value)}, which {_MISPLACED}")
        else:
            self._problem(node, path, "has a key that is a list or a mapping")
        return None

    def _scalar(self, node: yaml.Node, path: Path) -> object:
        if len(node.value) > self._longest_text:
            self._refuse(node, path, f"is longer than {self._longest_text} characters")
        elif node.tag == _TAG + "str":
            if not Reader.NON_PRINTABLE.search(node.value):
                return node.value
            self._refuse(node, path, "holds a control character")
        elif len(node.value) > _MAX_NUMBER:
            self._refuse(node, path, f"is longer than any number may be: {show(node.value)}")
        else:
            try:
                return self._loader.construct_object(node)
            except (yaml.YAMLError, ValueError, OverflowError, LookupError):
                kind = node.tag.removeprefix(_TAG)
                self._refuse(node, path, f"is written like a {kind} but is none: {show(node.value)}")
        return None

    def _count(self, node: yaml.Node) -> None:
        self._values += 1
        if self._values > MAX_VALUES:
            raise _too_many(_line(node))

    def _refuse(self, node: yaml.Node, path: Path, message: str) -> None:
        self._broken.add(path)
        self._problem(node, path, message)

    def _problem(self, node: yaml.Node, path: Path, message: str) -> None:
        self._problems.append(Problem(line=_line(node), path=show_path(path), message=message))


def _forbidden(node: yaml.Node, parents: tuple[yaml.Node, ...]) -> str | None:
    if node in parents:
        return "is an alias of something that holds this alias"
    if len(parents) >= MAX_DEPTH:
        return f"is nested more than {MAX_DEPTH} levels deep"
    if node.tag not in _TAGS[type(node)]:  # !!python/object and the like, or a lone = or <<
        return f"has the YAML tag {show(node.tag[:_MAX_TEXT].replace(_TAG, '!!'))}, which is not allowed"
    return None


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1


def _too_many(line: int) -> ConfigError:
    return _fatal(line, f"holds more than {MAX_VALUES} values, those behind aliases counted each time")


def _fatal(line: int | None, message: str) -> ConfigError:
    return ConfigError([Problem(line=line, path="", message=message)])
