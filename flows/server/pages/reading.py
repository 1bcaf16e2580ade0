"""A gate's content as a person reads it: facts, statistics as a table, one row for each model or result."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from api.schemas.sign_in import GateCard
from cubes.digests import short

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_PLACES: Final = 4


@dataclass(frozen=True, slots=True)
class Cell:
    """What a cell shows, all of it where that is longer, and a remark."""

    text: str
    whole: str = ""
    number: bool = False
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A titled table; `header` is empty where each row is a name and a value."""

    title: str
    header: list[str]
    rows: list[list[Cell]]


def sections(card: GateCard) -> list[Section]:
    """Everything that a gate shows: nothing is left out, for a decision is about all of it."""
    facts: list[list[Cell]] = []
    tables: list[Section] = []
    for name, value in card.shown.items():
        if _is_rows(value):
            tables.append(_items(name, value, card.earlier))
        elif isinstance(value, Mapping) and value:
            tables.append(Section(_words(name), [], [[Cell(_words(key)), as_cell(v)] for key, v in _flat(value)]))
        else:
            facts.append([Cell(_words(name)), as_cell(value)])
    return ([Section("In short", [], facts)] if facts else []) + tables


def as_cell(value: Any) -> Cell:
    """A value as it is read; digests are shortened, numbers rounded, and whole where one points at them."""
    if isinstance(value, bool) or value is None:
        return Cell({True: "yes", False: "no", None: "-"}[value])
    if isinstance(value, float):
        return Cell(f"{value:.{_PLACES}g}", whole=repr(value), number=True)
    if isinstance(value, int):
        return Cell(f"{value:,}", number=True)
    text = ", ".join(as_cell(item).text for item in value) if isinstance(value, list) else str(value)
    return Cell(short(text), whole=text) if _DIGEST.fullmatch(text) else Cell(text)


def _items(name: str, items: list[Mapping[str, Any]], earlier: Mapping[str, Mapping[str, Any]]) -> Section:
    flat = [dict(_flat(item)) for item in items]
    columns = list(dict.fromkeys(key for row in flat for key in row))
    rows = [
        [_compared(key, row.get(key), earlier.get(str(item.get("item")), {})) for key in columns]
        for item, row in zip(items, flat, strict=True)
    ]
    return Section(_words(name), [_words(column) for column in columns], rows)


def _compared(key: str, value: Any, before: Mapping[str, Any]) -> Cell:
    """A number beside the one that was last sent for the same thing."""
    cell = as_cell(value)
    old = before.get(key.removeprefix("metrics."))
    if not key.startswith("metrics.") or not before:
        return cell
    if not isinstance(old, int | float) or not isinstance(value, int | float):
        remark = "new" if old is None else f"was {old}"
    else:
        remark = "as before" if value == old else f"{value - old:+.{_PLACES}g} since the last release"
    return Cell(cell.text, cell.whole, cell.number, remark)


def _flat(value: Any, prefix: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        return [row for key, item in value.items() for row in _flat(item, f"{prefix}.{key}" if prefix else str(key))]
    if _is_rows(value):
        return [row for number, item in enumerate(value, 1) for row in _flat(item, f"{prefix} {number}")]
    return [(prefix, value)]


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) for item in value)


def _words(name: str) -> str:
    return name.replace("_", " ").replace(".", ": ")
