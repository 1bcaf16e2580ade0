"""Look over prepared tables as if somebody else had written them."""

import argparse
from pathlib import Path

from schema import FEATURES, RANGES
from tables import Problems, read_table

VOLUMES = "/mlcommons/volumes"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("data", "labels", "metadata"):
        parser.add_argument(f"--{name}", type=Path, default=Path(VOLUMES, name))
    arguments = parser.parse_args()
    problems = Problems()
    cases = _check_cases(arguments.data / "cases.csv", problems)
    labels = _check_labels(arguments.labels / "labels.csv", problems)
    if set(cases) != set(labels):
        problems.add("cases and labels are not about the same cases")
    if not cases:
        problems.add("there is no case")
    problems.stop_if_any()
    print(f"{len(cases)} cases are sane")


def _check_cases(path: Path, problems: Problems) -> list[str]:
    cases: list[str] = []
    for line, row in read_table(path, ["case_id", *FEATURES], problems):
        cases.append(row["case_id"])
        for name in FEATURES:
            low, high = RANGES[name]
            try:
                sane = low <= float(row[name]) <= high
            except ValueError:
                sane = False
            if not sane:
                problems.add(f"cases.csv line {line}: {name} is not a number from {low:g} to {high:g}")
    if cases != sorted(set(cases)):
        problems.add("cases.csv is not sorted by case, each once")
    return cases


def _check_labels(path: Path, problems: Problems) -> list[str]:
    rows = list(read_table(path, ["case_id", "malignant"], problems))
    for line, row in rows:
        if row["malignant"] not in {"0", "1"}:
            problems.add(f"labels.csv line {line}: malignant must be 0 or 1")
    return [row["case_id"] for _, row in rows]


if __name__ == "__main__":
    main()
