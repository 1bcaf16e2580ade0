"""Raw `cases.csv` and `labels.csv` to checked tables, sorted by case, numbers in one form, labels 0 and 1."""

import argparse
import math
from pathlib import Path

from schema import FEATURES, LABELS, RANGES
from tables import Problems, read_table, write_table

VOLUMES = "/mlcommons/volumes"


def main() -> None:
    arguments = _arguments()
    problems = Problems()
    cases = _cases(arguments.raw_data / "cases.csv", problems)
    labels = _labels(arguments.raw_labels / "labels.csv", problems)
    _compare(cases, labels, problems)
    problems.stop_if_any()
    order = sorted(cases)
    write_table(arguments.data / "cases.csv", ["case_id", *FEATURES], [[case, *cases[case]] for case in order])
    write_table(
        arguments.labels / "labels.csv", ["case_id", "malignant"], [[case, str(labels[case])] for case in order]
    )
    metadata = f"preparator: breast_fna 1\ncases: {len(order)}\nmalignant: {sum(labels.values())}\n"
    (arguments.metadata / "metadata.yaml").write_text(metadata, encoding="utf-8")
    print(f"prepared {len(order)} cases")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("raw_data", "raw_labels", "data", "labels", "metadata"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=Path, default=Path(VOLUMES, name))
    return parser.parse_args()


def _cases(path: Path, problems: Problems) -> dict[str, list[str]]:
    cases: dict[str, list[str]] = {}
    for line, row in read_table(path, ["case_id", *FEATURES], problems):
        case = row["case_id"]
        if not case:
            problems.add(f"cases.csv line {line}: no case_id")
        elif case in cases:
            problems.add(f"cases.csv line {line}: case_id appears a second time")
        else:
            cases[case] = [_number(line, name, row[name], problems) for name in FEATURES]
    if not cases:
        problems.add("cases.csv holds no case: an empty dataset cannot be prepared")
    return cases


def _number(line: int, name: str, text: str, problems: Problems) -> str:
    low, high = RANGES[name]
    try:
        value = float(text)
    except ValueError:
        problems.add(f"cases.csv line {line}: {name} is {'empty' if not text else 'not a number'}")
        return ""
    if not math.isfinite(value) or not low <= value <= high:
        problems.add(f"cases.csv line {line}: {name} is outside {low:g} to {high:g}: wrong unit or shifted column?")
    return repr(value)


def _labels(path: Path, problems: Problems) -> dict[str, int]:
    labels: dict[str, int] = {}
    for line, row in read_table(path, ["case_id", "diagnosis"], problems):
        value = LABELS.get(row["diagnosis"].upper())
        if value is None:
            problems.add(f"labels.csv line {line}: diagnosis must be M or B (malignant or benign)")
        elif row["case_id"] in labels:
            problems.add(f"labels.csv line {line}: case_id appears a second time")
        else:
            labels[row["case_id"]] = value
    return labels


def _compare(cases: dict[str, list[str]], labels: dict[str, int], problems: Problems) -> None:
    without, extra = len(cases.keys() - labels.keys()), len(labels.keys() - cases.keys())
    if without:
        problems.add(f"{without} case(s) have no label in labels.csv")
    if extra:
        problems.add(f"{extra} label(s) belong to no case in cases.csv")


if __name__ == "__main__":
    main()
