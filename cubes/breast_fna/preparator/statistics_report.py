"""Statistics of a prepared dataset: enough for a committee to judge it, nothing that is a single patient's value.

Quantiles at 10, 50 and 90 % stand in for minimum and maximum, which belong to one person each, and are means of the cases
around them: the median proper of an odd number of cases is somebody's own value. Of fewer than twenty cases only their number
is told, and of a diagnosis that fewer than five have, that they are few. Features have three digits: with more, the values of one
patient who came later could be computed from what was told before and after. That somebody came, and with which diagnosis, the
counts of two versions still tell.
"""

import argparse
import csv
import statistics
from pathlib import Path

from schema import FEATURES

VOLUMES = "/mlcommons/volumes"
SMALLEST_GROUP = 20
SMALLEST_CELL = 5
AROUND = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(VOLUMES, "data"))
    parser.add_argument("--labels", type=Path, default=Path(VOLUMES, "labels"))
    parser.add_argument("--report", type=Path, default=Path(VOLUMES, "statistics.yaml"))
    arguments = parser.parse_args()
    with (arguments.labels / "labels.csv").open(newline="", encoding="utf-8") as file:
        labels = {row["case_id"]: int(row["malignant"]) for row in csv.DictReader(file)}
    with (arguments.data / "cases.csv").open(newline="", encoding="utf-8") as file:
        cases = list(csv.DictReader(file))
    lines = [f"cases: {len(cases)}"]
    if len(cases) >= SMALLEST_GROUP:
        lines += _diagnoses(len(cases), sum(labels.values()))
        lines.append("features:")
        for name in FEATURES:
            lines += _feature(name, [float(case[name]) for case in cases])
    else:
        lines.append(f"note: fewer than {SMALLEST_GROUP} cases, nothing else is told of them")
    arguments.report.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _diagnoses(cases: int, malignant: int) -> list[str]:
    if min(malignant, cases - malignant) < SMALLEST_CELL:
        return [f"note: fewer than {SMALLEST_CELL} cases have one of the diagnoses, which one is not told"]
    counts = [f"malignant: {malignant}", f"benign: {cases - malignant}"]
    return [*counts, f"malignant_share: {malignant / cases:.4f}"]


def _feature(name: str, values: list[float]) -> list[str]:
    ordered = sorted(values)
    summary = {
        "mean": statistics.fmean(values),
        "sd": statistics.stdev(values),
        "q10": _quantile(ordered, 0.1),
        "median": _quantile(ordered, 0.5),
        "q90": _quantile(ordered, 0.9),
    }
    return [f"  {name}:", *(f"    {key}: {value:.3g}" for key, value in summary.items())]


def _quantile(ordered: list[float], share: float) -> float:
    """The mean of the five cases around a quantile: close to it, and nobody's own value."""
    first = round(share * (len(ordered) - 1)) - AROUND // 2
    first = max(0, min(first, len(ordered) - AROUND))
    return statistics.fmean(ordered[first : first + AROUND])


if __name__ == "__main__":
    main()
