"""Data that remembers where it was written, so that an error can name the line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kubernel.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from yaml.nodes import Node

__all__ = ["Marked", "read", "read_text", "wrap"]

MAX_BYTES = 1 << 20
MAX_VALUES = 10_000
"""How many values a file may expand to. Aliases make small files of huge documents."""


@dataclass(frozen=True, slots=True)
class Marked:
    """A value and its place. ``value`` is a scalar, a ``list[Marked]`` or a ``dict[str, Marked]``;
    ``line`` counts from 1 and is 0 for data that came from no file; ``path`` is how messages name it."""

    value: Any
    source: str
    line: int
    path: str = ""
    key_line: int = 0

    def error(self, message: str, *, at_key: bool = False) -> ConfigError:
        """``file:line: path: message``."""
        line = self.key_line if at_key and self.key_line else self.line
        place = f"{self.source}:{line}" if line else self.source
        return ConfigError(f"{place}: {self.path}: {message}" if self.path else f"{place}: {message}")

    def plain(self) -> Any:
        """The value without its marks."""
        if isinstance(self.value, dict):
            return {key: item.plain() for key, item in self.value.items()}
        if isinstance(self.value, list):
            return [item.plain() for item in self.value]
        return self.value

    @property
    def kind(self) -> str:
        """The value's type in a user's words."""
        if self.value is None:
            return "nothing"
        if isinstance(self.value, bool):
            return f"the truth value {str(self.value).lower()}"
        if isinstance(self.value, str):
            return f'the text "{self.value}"'
        if isinstance(self.value, dict):
            return "a mapping"
        if isinstance(self.value, list):
            return "a list"
        return f"the number {self.value}"


def wrap(data: Any, source: str = "<configuration>", path: str = "") -> Marked:
    """Plain Python data as marked data without lines."""
    if isinstance(data, Mapping):
        return Marked(
            {str(key): wrap(item, source, _join(path, str(key))) for key, item in data.items()},
            source,
            0,
            path,
        )
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return Marked([wrap(item, source, f"{path}[{i}]") for i, item in enumerate(data)], source, 0, path)
    return Marked(data, source, 0, path)


def read(path: Path) -> Marked:
    """The one YAML document of a file."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the file: {error.strerror or error}") from error
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path}: a file has at most {MAX_BYTES} bytes")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8: {error}") from error
    return read_text(text, str(path))


def read_text(text: str, source: str) -> Marked:
    """The one YAML document of ``text``: duplicate keys, foreign tags and alias bombs are refused."""
    import yaml

    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{source}:{mark.line + 1}" if mark else source
        raise ConfigError(f"{place}: not valid YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: not valid YAML: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{source}: nested too deeply") from error
    if root is None:
        return Marked({}, source, 0)
    return _Reader(source).read(root, "", 0)


class _Reader:
    """Turns composed YAML nodes into marked data. PyYAML's composer shares aliased nodes, so it is
    here that they would grow."""

    def __init__(self, source: str) -> None:
        import yaml

        self._yaml = yaml
        self._source = source
        self._left = MAX_VALUES
        self._open: set[int] = set()
        self._scalars = yaml.constructor.SafeConstructor()

    def read(self, node: Node, path: str, key_line: int) -> Marked:
        line = node.start_mark.line + 1
        place = Marked(None, self._source, line, path, key_line)
        self._left -= 1
        if self._left < 0:
            raise place.error(f"the file expands to more than {MAX_VALUES} values; use fewer aliases")
        if isinstance(node, self._yaml.ScalarNode):
            return Marked(self._scalar(node, place), self._source, line, path, key_line)
        if id(node) in self._open:
            raise place.error("an alias refers to what contains it", at_key=True)
        self._open.add(id(node))
        try:
            value = self._collection(node, place)
        except RecursionError as error:
            raise place.error("nested too deeply") from error
        finally:
            self._open.discard(id(node))
        return Marked(value, self._source, line, path, key_line)

    def _collection(self, node: Node, place: Marked) -> Any:
        if isinstance(node, self._yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            return [self.read(item, f"{place.path}[{i}]", 0) for i, item in enumerate(node.value)]
        if not isinstance(node, self._yaml.MappingNode) or node.tag != "tag:yaml.org,2002:map":
            raise place.error(f"the tag {node.tag} is not allowed here")
        result: dict[str, Marked] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            here = Marked(None, self._source, line, place.path)
            if not isinstance(key_node, self._yaml.ScalarNode):
                raise here.error("a key must be text")
            key = key_node.value
            if key_node.tag == "tag:yaml.org,2002:merge":
                raise here.error('the merge key "<<" is not supported; write the settings out')
            if key in result:
                raise here.error(f'the key "{key}" is already set in line {result[key].key_line}')
            result[key] = self.read(value_node, _join(place.path, key), line)
        return result

    def _scalar(self, node: Any, place: Marked) -> Any:
        name = node.tag.removeprefix("tag:yaml.org,2002:")
        if name == "timestamp":
            return node.value
        if name not in ("str", "int", "float", "bool", "null"):
            raise place.error(f"the tag {node.tag} is not allowed here")
        try:
            return self._scalars.construct_object(node)
        except (ValueError, self._yaml.YAMLError) as error:
            raise place.error(f'cannot read "{node.value}": {error}') from error


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
