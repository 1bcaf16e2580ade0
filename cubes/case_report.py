"""The report of a staged preparation: a table of column -> {case -> value} that the preparator owns.

Running `prepare` again goes on where the report says. A negative status waits for a person, or failed.
"""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from cubes import strict_yaml
from cubes.errors import ReportError

REPORT_VOLUME: Final = "report_file"
MAX_REPORT_BYTES: Final = 4 << 20
MAX_CASES: Final = 50_000
_LONGEST: Final = 2_000
_TEXTS: Final = ("status_name", "comment", "data_path", "labels_path")
_MOST_STATUSES: Final = 20
_MOST: Final = 999


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table. Texts are a stranger's, and stay at the site."""

    name: str
    status: int
    status_name: str
    comment: str
    data_path: str
    """As the step saw it, or empty."""
    labels_path: str

    @property
    def is_open(self) -> bool:
        """Somebody must do something about it."""
        return self.status < 0


@dataclass(frozen=True, slots=True)
class CaseReport:
    cases: tuple[Case, ...]

    @property
    def open_cases(self) -> tuple[Case, ...]:
        return tuple(case for case in self.cases if case.is_open)

    @property
    def counts(self) -> Mapping[str, int]:
        """How many cases are in which status, in words: for people of the site."""
        return MappingProxyType(dict(Counter(case.status_name or str(case.status) for case in self.cases)))

    def fractions(self) -> dict[int, float]:
        """The fraction of cases per status, by number alone: a name could say something about a case."""
        counts = Counter(case.status for case in self.cases)
        return {status: round(count / len(self.cases), 3) for status, count in sorted(counts.items())}


def read_case_report(path: Path) -> CaseReport:
    """The report at a path, or in a folder that holds exactly one.

    Raises:
        ReportError: no plain YAML table of cases, or one that is too large; a preparator may be writing it just now.
    """
    try:
        if path.is_dir():
            (path,) = [entry for entry in path.iterdir() if entry.suffix in {".yaml", ".yml"}]
        # Never through a link: the step that wrote here may have left one.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
            text = file.read(MAX_REPORT_BYTES + 1).decode("utf-8")
        table = strict_yaml.load(text, max_bytes=MAX_REPORT_BYTES)
    except (OSError, ValueError) as error:
        said = str(error) if isinstance(error, strict_yaml.StrictYamlError) else type(error).__name__
        raise ReportError(f"the report of cases {path.name!r} cannot be read ({said})") from None
    return CaseReport(_cases({} if table is None else table))


def _cases(table: Any) -> tuple[Case, ...]:
    if not isinstance(table, dict) or not all(isinstance(column, dict) for column in table.values()):
        raise ReportError("the report of cases is not a table: write `column: {case: value}`")
    statuses = table.get("status", {})
    if table and "status" not in table:
        raise ReportError("the report of cases has no column 'status'")
    if len(statuses) > MAX_CASES:
        raise ReportError(f"the report of cases names more than {MAX_CASES}")
    columns = {name: {str(case): value for case, value in table.get(name, {}).items()} for name in _TEXTS}
    found = tuple(_case(str(name), status, columns) for name, status in statuses.items())
    if len({case.status for case in found}) > _MOST_STATUSES:
        raise ReportError(f"the report of cases has more than {_MOST_STATUSES} different statuses")
    return found


def _case(name: str, status: Any, columns: Mapping[str, Mapping[str, Any]]) -> Case:
    if isinstance(status, bool) or not isinstance(status, int | float) or status != status // 1 or abs(status) > _MOST:
        raise ReportError(f"the report of cases: the status of a case is {status!r}, not a whole number up to {_MOST}")
    texts = {column: _text(values.get(name)) for column, values in columns.items()}
    return Case(name=name[:_LONGEST], status=int(status), **texts)


def _text(value: Any) -> str:
    return "" if value is None else str(value)[:_LONGEST]
