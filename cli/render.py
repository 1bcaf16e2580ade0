"""One record, or what a gate shows, as people read it: every value of it is there, however it is nested.

What a gate asks about is data with a shape of its own (a dataset with statistics, models to run, results to send). A
mapping becomes names and values, a list of records a table, a mapping of like mappings a table too; what is the same in
all rows of a table is said once above it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from cli.output import emit_json, note, plain, print_facts, print_table, print_title, text

_KEY: Final = "item"
"""The name by which a row is decided about: always in the table."""
_WIDTH: Final = 90
"""For the columns of a table, beside the key."""
_GAP: Final = 2


@dataclass(frozen=True, slots=True)
class Facts:
    """Names and values below one heading."""

    title: str
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Grid:
    """A table below one heading."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


Section = Facts | Grid


def emit_one(item: Any, *, as_json: bool, title: str = "") -> None:
    """One record, all of it: for machines as JSON, for people as sections."""
    record = plain(item)
    if as_json:
        emit_json(record)
        return
    if title:
        print_title(title)
    print_sections(record)


def print_sections(shown: Mapping[str, Any], *, exact: bool = False) -> None:
    """Print everything of a record or of what a gate shows.

    Args:
        shown: plain data.
        exact: all digits of all numbers; else six, and it is said when that leaves some out.
    """
    written = shown if exact else _rounded(shown)
    for section in sections(written):
        if section.title:
            print_title(f"\n{section.title}")
        if isinstance(section, Facts):
            print_facts(section.values)
        else:
            print_table(section.headings, section.rows)
    if written != shown:
        note("Numbers are written with six digits; --exact or --json shows them all.")


def sections(shown: Mapping[str, Any], title: str = "") -> Iterator[Section]:
    """What is shown in the order in which it is read: single values first, then what has parts."""
    simple = {name: _words(value) for name, value in shown.items() if not _has_parts(value)}
    if simple:
        yield Facts(title, simple)
    for name, value in shown.items():
        if _has_parts(value):
            yield from _parts(value, f"{title}, {_spaced(name)}" if title else _spaced(name))


def _parts(value: Any, title: str) -> Iterator[Section]:
    if isinstance(value, Mapping):
        if _is_matrix(value):
            yield from _table(title, [{"": name, **row} for name, row in value.items()], key="")
        else:
            yield from sections(value, title)
    elif all(isinstance(item, Mapping) for item in value):
        yield from _table(title, [_flat(item) for item in value], key=_KEY)
    else:
        yield Facts(title, {str(place): _words(item) for place, item in enumerate(value, 1)})


def _table(title: str, rows: Sequence[Mapping[str, Any]], key: str) -> Iterator[Section]:
    """Rows that differ as a table, and what they share above it; digests below."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    if not names:
        yield Facts(title, {"": f"{len(rows)}, with nothing in it"})
        return
    alone = len(rows) == 1
    shared = [n for n in names if alone or (n != key and len({_words(row.get(n)) for row in rows}) == 1)]
    if shared:
        same = {_spaced(name): _words(rows[0].get(name)) for name in shared}
        yield Facts(title if alone else f"{title} (the same for all {len(rows)})", same)
    if alone:
        return
    differ = [name for name in names if name not in shared and name != key]
    digests = [name for name in differ if any(_is_digest(row.get(name)) for row in rows)]
    keys = [key] if any(key in row for row in rows) else differ[:1]
    for some in _chunks([name for name in differ if name not in (*digests, *keys)], rows):
        origin = {name.rpartition(".")[0] for name in some}
        part = origin.pop() if len(origin) == 1 else ""
        yield _grid(f"{title}, {_spaced(part)}" if part else title, rows, [*keys, *some])
    if digests:
        # One a line: a digest that is folded to fit a column can neither be compared nor copied.
        facts = {
            f"{' '.join(_words(row.get(k)) for k in keys)} {_spaced(name)}".strip(): _words(row.get(name))
            for row in rows
            for name in digests
        }
        yield Facts(f"{title}, digests", facts)


def _grid(title: str, rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Grid:
    last = [name.rsplit(".", 1)[-1] for name in names]
    headings = [short if last.count(short) == 1 else _spaced(name) for name, short in zip(names, last, strict=True)]
    return Grid(title, headings, [[_words(row.get(name)) for name in names] for row in rows])


def _chunks(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> Iterator[Sequence[str]]:
    """Columns in as many tables as it takes to show each whole on a screen; of one origin together where they fit."""
    some: list[str] = []
    for _, group in groupby(names, lambda name: name.rpartition(".")[0]):
        together = list(group)
        if some and (_width([*some, *together], rows) > _WIDTH or _last(some) & _last(together)):
            yield some
            some = []
        for name in together:
            if some and _width([*some, name], rows) > _WIDTH:
                yield some
                some = []
            some.append(name)
    yield some


def _width(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> int:
    cells = ((name.rpartition(".")[2], *(_words(row.get(name)) for row in rows)) for name in names)
    return sum(max(map(len, column)) + _GAP for column in cells)


def _last(names: Sequence[str]) -> set[str]:
    return {name.rpartition(".")[2] for name in names}


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, item in value.items():
        if isinstance(item, Mapping) and item:
            flat |= _flat(item, f"{prefix}{name}.")
        else:
            flat[prefix + name] = item
    return flat


def _is_matrix(value: Mapping[str, Any]) -> bool:
    """Whether all parts have the same names and only simple values: rows and columns."""
    rows = list(value.values())
    if len(rows) < 2 or not all(isinstance(row, Mapping) and row for row in rows):  # noqa: PLR2004 - one row is no table
        return False
    return all(set(row) == set(rows[0]) and not any(map(_has_parts, row.values())) for row in rows)


def _has_parts(value: Any) -> bool:
    if isinstance(value, Mapping):
        return bool(value)
    return isinstance(value, list) and any(isinstance(item, Mapping | list) for item in value)


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_words(item)}" for name, item in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(_words(item) for item in value) or "none"
    return text(value)


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("sha256:")


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _rounded(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _spaced(name: str) -> str:
    return name.replace("_", " ")
