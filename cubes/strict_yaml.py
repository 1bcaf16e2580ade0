"""YAML from strangers: plain data alone, limited in size and depth, no aliases, no repeated keys."""

from collections.abc import Sequence
from typing import Any, Final

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

MAX_DEPTH: Final = 12
_PLAIN: Final = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "map", "seq"))


class StrictYamlError(ValueError):
    """The document is refused; `line` counts from one."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(f"line {line}: {problem}")
        self.line, self.problem = line, problem


def load(text: str, *, max_bytes: int) -> Any:
    """Plain data from one YAML document.

    Raises:
        StrictYamlError: not YAML, too large or too deep, an alias, a repeated key, or a type that JSON does not know.
    """
    if len(text.encode("utf-8", "surrogatepass")) > max_bytes:
        raise StrictYamlError(1, f"the document is larger than {max_bytes} bytes")
    try:
        loader = yaml.SafeLoader(text)
        try:
            _refuse_bombs(text)
            node = loader.get_single_node()
            _check(node, 0)
            return None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise StrictYamlError(line, f"the character {chr(error.character)!r} is not allowed in YAML") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise StrictYamlError(1 if mark is None else mark.line + 1, str(getattr(error, "problem", error))) from None
    except (ValueError, RecursionError) as error:
        if isinstance(error, StrictYamlError):
            raise
        raise StrictYamlError(1, f"not plain data ({type(error).__name__})") from None


def line_of(text: str, keys: Sequence[str]) -> int:
    """The line on which these keys lead, as far as they exist; counts from one.

    Raises:
        yaml.YAMLError: the text is not YAML.
    """
    node, line = yaml.compose(text, Loader=yaml.SafeLoader), 1
    for key in keys:
        found = _child(node, key)
        if found is None:
            break
        line, node = found
    return line


def scalar_span(text: str, keys: Sequence[str]) -> tuple[int, int] | None:
    """Where a scalar stands in the text, its quotes included; None when the keys lead to none."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    for key in keys:
        found = _child(node, key)
        if found is None:
            return None
        node = found[1]
    return (node.start_mark.index, node.end_mark.index) if isinstance(node, ScalarNode) else None


def _child(node: Node | None, key: str) -> tuple[int, Node] | None:
    if isinstance(node, MappingNode):
        for name, value in node.value:
            if isinstance(name, ScalarNode) and name.value == key:
                return _line(name), value
    elif isinstance(node, SequenceNode) and key.isdigit() and int(key) < len(node.value):
        child = node.value[int(key)]
        return _line(child), child
    return None


def _line(part: Any) -> int:
    return 1 if part.start_mark is None else int(part.start_mark.line) + 1


def _refuse_bombs(text: str) -> None:
    # Before composing: an alias may unfold into more than memory holds, and each level costs a look at all others.
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise StrictYamlError(_line(event), "aliases (*name) are not allowed: write the value out")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH + 1:
            raise StrictYamlError(_line(event), f"nested deeper than {MAX_DEPTH} levels")


def _check(node: Node | None, depth: int) -> None:
    if node is None:
        return
    line = _line(node)
    if depth > MAX_DEPTH:
        raise StrictYamlError(line, f"nested deeper than {MAX_DEPTH} levels")
    if node.tag not in _PLAIN:
        raise StrictYamlError(line, f"{node.tag.rsplit(':', 1)[-1]!r} is not plain data: quote it to make it a string")
    if isinstance(node, MappingNode):
        _check_mapping(node, depth)
    elif isinstance(node, SequenceNode):
        for item in node.value:
            _check(item, depth + 1)


def _check_mapping(node: MappingNode, depth: int) -> None:
    seen: set[str] = set()
    for key, value in node.value:
        line = _line(key)
        if not isinstance(key, ScalarNode):
            raise StrictYamlError(line, "a key must be a plain word")
        if key.value in seen:
            raise StrictYamlError(line, f"the key {key.value!r} appears twice")
        seen.add(key.value)
        _check(value, depth + 1)
