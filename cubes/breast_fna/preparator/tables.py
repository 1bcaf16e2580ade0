"""Reading tables and collecting everything that is wrong with them before giving up."""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

from schema import MAX_PROBLEMS


class Problems:
    """What is wrong, to be shown at once: nobody wants to learn of forty errors in forty runs."""

    def __init__(self) -> None:
        self._found: list[str] = []

    def add(self, problem: str) -> None:
        self._found.append(problem)

    def stop_if_any(self) -> None:
        """End the program with status 1 when something was found."""
        for problem in self._found[:MAX_PROBLEMS]:
            print(f"error: {problem}", file=sys.stderr)
        if len(self._found) > MAX_PROBLEMS:
            print(f"error: and {len(self._found) - MAX_PROBLEMS} more", file=sys.stderr)
        if self._found:
            raise SystemExit(1)


def read_table(path: Path, columns: list[str], problems: Problems) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows with their line number. A missing file or column is a problem and gives no rows."""
    if not path.is_file():
        problems.add(f"{path.name} is missing: export it into {path.parent.name}/")
        return
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        missing = [column for column in columns if column not in (reader.fieldnames or [])]
        if missing:
            problems.add(
                f"{path.name}: missing column(s) {', '.join(missing)}; found {', '.join(reader.fieldnames or [])}"
            )
            return
        for row in reader:
            yield reader.line_num, {column: (row[column] or "").strip() for column in columns}


def write_table(path: Path, columns: list[str], rows: list[list[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
