"""A gate's content as a person reads it: facts, statistics as tables, one row for each model or result.

Nothing is left out, for a decision is about all of it: what is shortened in a cell is whole where one points at it, and all
of it stands once more, exactly, at the end of the page.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from api.schemas.sign_in import GateCard
from cubes.digests import short

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_PLACES: Final = 4
_NAMES: Final = ("item", "model_name", "model", "name")
"""What a row is about, the first of these that it has."""
_RESULTS: Final = frozenset({"items", "rows"})
"""What is decided about stands first."""
_LEAST_ALIKE: Final = 2
_NUMBERS: Final = 1
"""The place of the columns with what was measured."""
_LABELS: Final = {"asked": "services asked meanwhile", "sd": "standard deviation", "id": "number"}
"""Names that say too little to somebody who did not choose them."""
_NOT_FINITE: Final = {"float:nan": "not a number", "float:inf": "infinite", "float:-inf": "minus infinite"}

Rows = Sequence[Mapping[str, Any]]
Earlier = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Cell:
    """What a cell shows, all of it where that is longer, and a remark."""

    text: str
    whole: str = ""
    number: bool = False
    remark: str = ""
    alarming: bool = False
    """Somebody should look twice: not isolated, say."""


@dataclass(frozen=True, slots=True)
class Section:
    """A titled table; `header` is empty where each row is a name and a value."""

    title: str
    header: list[Cell]
    rows: list[list[Cell]]
    notes: list[str] = field(default_factory=list)
    """Sentences below it."""


def sections(card: GateCard) -> list[Section]:
    """Everything that a gate shows."""
    return list(_parts("", card.shown, card.earlier))


def as_cell(value: Any, name: str = "") -> Cell:
    """A value as it is read; digests are shortened, numbers rounded."""
    if isinstance(value, bool) or value is None:
        return Cell({True: "yes", False: "no", None: "-"}[value], alarming=name == "isolated" and value is False)
    if isinstance(value, float):
        text = f"{value:.{_PLACES}g}"
        return Cell(text, whole="" if float(text) == value else repr(value), number=True)
    if isinstance(value, int):
        return Cell(f"{value:,}", number=True)
    if isinstance(value, list):
        return Cell(", ".join(as_cell(item).text for item in value) or "none", whole=", ".join(map(str, value)))
    text = str(value) if value != {} else "none"
    if text in _NOT_FINITE:
        return Cell(_NOT_FINITE[text], whole=text, number=True, alarming=True)
    alarming = name.endswith("isolation") and text != "isolated"
    words = text.replace("_", " ") if alarming else text
    return Cell(short(text), whole=text) if _DIGEST.fullmatch(text) else Cell(words, alarming=alarming)


def _parts(title: str, shown: Mapping[str, Any], earlier: Earlier) -> Iterator[Section]:
    """What is decided about first; then what is simple, as names and values; then all the rest, in its order."""
    simple = {name: value for name, value in shown.items() if not _has_parts(value)}
    first = [name for name in shown if name not in simple and _holds_results(name, shown[name])]
    for name in first:
        yield from _part(_title(title, name, shown[name]), shown[name], earlier)
    if simple:
        facts = [[Cell(_words(name)), as_cell(value, name)] for name, value in simple.items()]
        yield Section(_words(title) or "In short", [], facts)
    for name, value in shown.items():
        if name not in simple and name not in first:
            yield from _part(_title(title, name, value), value, earlier)


def _holds_results(name: str, value: Any) -> bool:
    return name in _RESULTS or (isinstance(value, Mapping) and not _RESULTS.isdisjoint(value))


def _title(above: str, name: str, value: Any) -> str:
    if name in _RESULTS:
        return "results" if any("metrics" in row for row in value) else "models"
    return f"{above}.{name}" if above else name


def _part(title: str, value: Any, earlier: Earlier) -> Iterator[Section]:
    if isinstance(value, Mapping):
        if _is_matrix(value):
            key = title.rpartition(".")[2]
            yield from _table(title, [{key: name, **row} for name, row in value.items()], {})
        else:
            yield from _parts(title, value, earlier)
        return
    flat = [_flat(row) for row in value]
    yield from _table(title, flat, earlier)
    for name in dict.fromkeys(name for row in value for name, cell in row.items() if _is_matrix(cell)):
        below = [
            {_about(row)[0]: _about(row)[1], name.removeprefix("per_"): part, **cells}
            for row in value
            for part, cells in (row.get(name) or {}).items()
        ]
        yield from _table(f"{title}.{name}", below, {})


def _table(title: str, rows: Rows, earlier: Earlier) -> Iterator[Section]:
    """Rows that differ as a table, and what they share below it: of a single row all but its name and its numbers."""
    names = sorted(dict.fromkeys(name for row in rows for name in row), key=lambda name: _place(name, rows))
    shared = [name for name in names if _place(name, rows) > _NUMBERS and _is_shared(name, rows)]
    columns = [name for name in names if name not in shared]
    last = [name.rpartition(".")[2] for name in columns]
    header = [
        Cell(
            _words(name if last.count(end) > 1 or end in _NAMES else end),
            whole=_words(name),
            number=_is_numeric(name, rows),
        )
        for name, end in zip(columns, last, strict=True)
    ]
    lines = [[_compared(name, row, earlier) for name in columns] for row in rows]
    yield Section(_words(title), header, lines, _changes(rows, earlier))
    if shared:
        facts = [[Cell(_words(name)), as_cell(rows[0][name], name)] for name in shared]
        said = f"the same for all {len(rows)}" if len(rows) > 1 else "besides"
        yield Section(f"{_words(title)}: {said}", [], facts)


def _is_shared(name: str, rows: Rows) -> bool:
    return all(name in row and row[name] == rows[0][name] for row in rows)


def _place(name: str, rows: Rows) -> int:
    """Where a column stands: what a row is about, its numbers, all the rest, and at the end what only machines compare."""
    if name in {"rank", *_NAMES} or name == next(iter(rows[0]), ""):
        return 0
    if name.startswith("metrics.") or not any("." in known or known in _NAMES for known in rows[0]):
        return _NUMBERS
    if name.endswith("digest") or any(_DIGEST.fullmatch(str(row.get(name))) for row in rows):
        return 3
    return 4 if name.endswith(("_id", ".id")) else 2


def _compared(name: str, row: Mapping[str, Any], earlier: Earlier) -> Cell:
    """A number beside the one that was last released for the same thing."""
    value, before = row.get(name), earlier.get(_about(row)[1], {})
    cell = as_cell(value, name)
    if not name.startswith("metrics.") or not before:
        return cell
    old = before.get(name.removeprefix("metrics."))
    if not isinstance(old, int | float) or not isinstance(value, int | float):
        remark = "new" if old is None else f"was {old}"
    elif value == old:
        remark = "as before"
    else:
        remark = f"{value - old:+.{_PLACES}g} (was {old:.{_PLACES}g})"
    return Cell(cell.text, cell.whole, cell.number, remark)


def _changes(rows: Rows, earlier: Earlier) -> list[str]:
    """What the comparison is with, what is new, and what is missing."""
    measured = [row for row in rows if any(name.startswith("metrics.") for name in row)]
    if not measured:
        return []
    known = {name for name, metrics in earlier.items() if metrics}
    if not known:
        return ["Nothing of this was released before."]
    now = {_about(row)[1]: str(row.get("model", _about(row)[1])) for row in measured}
    notes = ["Small numbers compare with what was last released for the same model."]
    if new := sorted(now[name] for name in now.keys() - known):
        notes.append(f"Not released before: {', '.join(new)}.")
    if gone := sorted(known - now.keys()):
        notes.append(f"Released last time, and no longer in it: {', '.join(gone)}.")
    return notes


def _about(row: Mapping[str, Any]) -> tuple[str, str]:
    """The column that says what a row is about, and what it says."""
    name = next((name for name in _NAMES if name in row), next(iter(row), ""))
    return name, str(row.get(name))


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A row's cells; what would be a table in a cell is none of them."""
    flat: dict[str, Any] = {}
    for key, item in value.items():
        name = f"{prefix}{key}"
        if _is_matrix(item):
            continue
        if isinstance(item, Mapping) and item:
            flat |= _flat(item, f"{name}.")
        elif _is_rows(item):
            for number, part in enumerate(item, 1):
                flat |= _flat(part, f"{name} {number}.")
        else:
            flat[name] = item
    return flat


def _has_parts(value: Any) -> bool:
    return (isinstance(value, Mapping) and bool(value)) or _is_rows(value)


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) for item in value)


def _is_matrix(value: Any) -> bool:
    """Several mappings of plain values under names: a table with a row for each name."""
    if not isinstance(value, Mapping) or not value:
        return False
    rows = list(value.values())
    if not all(isinstance(row, Mapping) and row and not any(map(_has_parts, row.values())) for row in rows):
        return False
    alike = {tuple(sorted(row)) for row in rows}
    return (len(rows) >= _LEAST_ALIKE and len(alike) == 1) or all("/" in name for name in value)


def _is_numeric(name: str, rows: Rows) -> bool:
    found = [row.get(name) for row in rows if row.get(name) is not None]
    return bool(found) and all(isinstance(cell, int | float) and not isinstance(cell, bool) for cell in found)


def _words(name: str) -> str:
    return _LABELS.get(name, name).replace("_", " ").replace(".", ": ")
