"""What commands print: tables for people, JSON for machines, the same data in both.

Much of what is shown was written by strangers, so nothing of it reaches a terminal as a control sequence.
"""

import json
import os
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

Record = Mapping[str, Any]
_WIDE: Final = 250
"""Columns where nobody looks at a screen: a pipe or a file gets whole lines."""
_SHORT: Final = 13
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})


class Column(NamedTuple):
    """One column of a table: its heading, the key in the record (several go deeper), how a value is written."""

    heading: str
    key: str | tuple[str, ...]
    write: Callable[[Any], str] | None = None


def emit_json(data: Any) -> None:
    """Data on stdout as JSON; NaN and the infinities as tagged strings."""
    from cubes.digests import tag_non_finite

    sys.stdout.write(json.dumps(tag_non_finite(plain(data)), indent=2) + "\n")


def emit_list(items: Iterable[Any], columns: Sequence[Column], *, as_json: bool, empty: str) -> None:
    """A list: an array of records for machines, one line each for people.

    Args:
        items: records, or shapes of `api.schemas`.
        columns: what people see of each; machines get everything.
        as_json: for machines.
        empty: what people read when there is nothing.
    """
    records = [plain(item) for item in items]
    if as_json:
        emit_json(records)
    elif not records:
        say(empty)
    else:
        print_table([c.heading for c in columns], [[_cell(record, c) for c in columns] for record in records])


def emit_done(item: Any, message: str, *, as_json: bool) -> None:
    """What a command did: the record for machines, a sentence for people."""
    if as_json:
        emit_json(plain(item))
    else:
        say(message)


def plain(item: Any) -> Any:
    """Data that JSON knows, of pydantic models, tables, enums and dates within lists and mappings."""
    if hasattr(item, "model_dump"):
        return item.model_dump(mode="json")
    if isinstance(item, Mapping):
        return {str(key): plain(value) for key, value in item.items()}
    if isinstance(item, list | tuple | set | frozenset):
        return [plain(value) for value in item]
    if isinstance(item, datetime):
        return item.isoformat()
    return item if item is None or isinstance(item, str | int | float | bool) else str(item)


def say(text: str) -> None:
    """A sentence on stdout."""
    sys.stdout.write(visible(text) + "\n")


def note(text: str) -> None:
    """A sentence on stderr: what helps people and would disturb machines."""
    sys.stderr.write(visible(text) + "\n")


def print_title(text: str) -> None:
    _print(_styled(text, "bold"))


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table; columns of numbers are set to the right."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for number, heading in enumerate(headings):
        cells = [row[number] for row in rows]
        # Short cells stay whole: a narrow screen folds long texts, and never splits a number.
        table.add_column(
            _styled(heading),
            justify="right" if cells and all(map(_is_number, cells)) else "left",
            no_wrap=max(map(len, cells), default=0) <= _SHORT,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(_styled(cell) for cell in row))
    _print(table)


def print_facts(facts: Mapping[str, str]) -> None:
    """Names and values, one a line."""
    from rich.table import Table

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(_styled(name, "dim"), _styled(value))
    _print(table)


def visible(text: str) -> str:
    """The text with everything that a terminal obeys and people do not see written out, line breaks apart."""
    return "".join(letter if letter in "\n\t" or not _is_hidden(letter) else _escaped(letter) for letter in text)


def number(value: Any) -> str:
    """A number as people read it: four digits that count."""
    if isinstance(value, bool) or not isinstance(value, float):
        return text(value)
    return f"{value:.4g}" if abs(value) < 1e15 else f"{value:.3e}"  # noqa: PLR2004 - beyond, digits mean nothing


def text(value: Any) -> str:
    """Any plain value in a line."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str) and value.startswith("float:"):
        return value.removeprefix("float:")
    return str(value)


def when(value: Any) -> str:
    """A moment, in UTC, to the minute."""
    return "-" if not value else f"{datetime.fromisoformat(str(value)):%Y-%m-%d %H:%M}"


def digest(value: Any) -> str:
    """The beginning of a digest: enough to recognise it, never to compare it."""
    return "-" if not value else str(value).removeprefix("sha256:")[:12]


def joined(value: Any) -> str:
    return ", ".join(text(item) for item in value) if value else "-"


def size(value: Any) -> str:
    """Bytes as people read them."""
    amount, unit = float(value), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if amount < 1024 or unit == "TiB":  # noqa: PLR2004 - a unit is 1024 of the one before
            break
        amount /= 1024
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"


def _cell(record: Record, column: Column) -> str:
    value: Any = record
    for part in (column.key,) if isinstance(column.key, str) else column.key:
        value = value.get(part) if isinstance(value, Mapping) else None
    return text(value) if column.write is None else column.write(value)


def _is_hidden(letter: str) -> bool:
    return unicodedata.category(letter) in _HIDDEN


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape", "surrogatepass").decode("ascii")


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return cell in {"-", "nan", "inf", "-inf"}
    return True


def _styled(content: str, style: str = "") -> Any:
    from rich.text import Text

    return Text(visible(content), style=style)


def _print(content: Any) -> None:
    """Print; a pipe or a file gets no spaces at the ends of lines, which would wrap where they are read."""
    console = _console()
    if sys.stdout.isatty():
        console.print(content)
        return
    with console.capture() as captured:
        console.print(content)
    sys.stdout.writelines(line.rstrip() + "\n" for line in captured.get().splitlines())


def _console() -> Any:
    """Where people look: in colour on a terminal, unless NO_COLOR is set; as wide as it is."""
    from rich.console import Console

    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else _WIDE
    return Console(file=sys.stdout, highlight=False, markup=False, emoji=False, width=width)
