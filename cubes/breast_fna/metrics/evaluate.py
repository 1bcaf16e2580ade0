"""Accuracy, AUROC, AUPRC, sensitivity, specificity and Brier score of predicted probabilities.

AUROC is the Mann-Whitney statistic with half a point for ties; AUPRC is average precision (sum of precision over the
recall gained at each distinct threshold). With one class only, what is undefined is `.nan`. Standard library alone.
"""

import argparse
import csv
import math
from pathlib import Path

VOLUMES = "/mlcommons/volumes"
THRESHOLD = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--predictions", type=Path, default=Path(VOLUMES, "predictions"))
    parser.add_argument("--labels", type=Path, default=Path(VOLUMES, "labels"))
    parser.add_argument("--report", type=Path, default=Path(VOLUMES, "metrics.yaml"))
    parser.add_argument("--local-outputs", type=Path, default=Path(VOLUMES, "local_outputs"))
    arguments = parser.parse_args()
    labels = {case: int(value) for case, value in _column(arguments.labels / "labels.csv", "malignant").items()}
    predictions = _predictions(arguments.predictions / "predictions.csv", labels)
    pairs = [(predictions[case], labels[case]) for case in sorted(labels)]
    lines = [f"{name}: {_yaml(value)}" for name, value in metrics(pairs).items()]
    arguments.report.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with (arguments.local_outputs / "cases.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["case_id", "probability", "malignant", "squared_error"])
        writer.writerows([c, predictions[c], labels[c], (predictions[c] - labels[c]) ** 2] for c in sorted(labels))


def metrics(pairs: list[tuple[float, int]]) -> dict[str, float]:
    """All metrics of (probability, label) pairs."""
    calls = [(int(probability >= THRESHOLD), label) for probability, label in pairs]
    positives = sum(label for _, label in pairs)
    negatives = len(pairs) - positives
    hits = sum(call == label == 1 for call, label in calls)
    passes = sum(call == label == 0 for call, label in calls)
    return {
        "auroc": auroc(pairs),
        "auprc": auprc(pairs),
        "accuracy": (hits + passes) / len(pairs),
        "sensitivity": hits / positives if positives else math.nan,
        "specificity": passes / negatives if negatives else math.nan,
        "brier": math.fsum((probability - label) ** 2 for probability, label in pairs) / len(pairs),
    }


def auroc(pairs: list[tuple[float, int]]) -> float:
    positives = sum(label for _, label in pairs)
    negatives = len(pairs) - positives
    if not positives or not negatives:
        return math.nan
    points = 0.0
    below = 0
    for group in _by_probability(pairs, reverse=False):
        ups = sum(group)
        downs = len(group) - ups
        points += ups * (below + downs / 2)
        below += downs
    return points / (positives * negatives)


def auprc(pairs: list[tuple[float, int]]) -> float:
    positives = sum(label for _, label in pairs)
    if not positives:
        return math.nan
    seen = found = 0
    pieces: list[float] = []
    for group in _by_probability(pairs, reverse=True):
        ups = sum(group)
        seen, found = seen + len(group), found + ups
        pieces.append(ups * found / seen)
    return min(1.0, math.fsum(pieces) / positives)


def _by_probability(pairs: list[tuple[float, int]], *, reverse: bool) -> list[list[int]]:
    """Labels grouped by equal probability, in order."""
    groups: dict[float, list[int]] = {}
    for probability, label in sorted(pairs, key=lambda pair: pair[0], reverse=reverse):
        groups.setdefault(probability, []).append(label)
    return list(groups.values())


def _predictions(path: Path, labels: dict[str, int]) -> dict[str, float]:
    found = {case: float(value) for case, value in _column(path, "probability").items()}
    missing, extra = len(labels.keys() - found.keys()), len(found.keys() - labels.keys())
    if missing or extra:
        raise SystemExit(f"error: {missing} case(s) have no prediction, {extra} prediction(s) belong to no case")
    bad = sum(not 0 <= value <= 1 for value in found.values())
    if bad:
        raise SystemExit(f"error: {bad} prediction(s) are not probabilities from 0 to 1")
    return found


def _column(path: Path, column: str) -> dict[str, str]:
    if not path.is_file():
        raise SystemExit(f"error: {path.name} is missing")
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if not {"case_id", column} <= set(reader.fieldnames or []):
            raise SystemExit(f"error: {path.name} must have the columns case_id and {column}")
        rows = [(row["case_id"], row[column]) for row in reader]
    found = dict(rows)
    if len(found) < len(rows):
        raise SystemExit(f"error: {path.name} has {len(rows) - len(found)} case(s) more than once")
    return found


def _yaml(value: float) -> str:
    return ".nan" if math.isnan(value) else repr(value)


if __name__ == "__main__":
    main()
