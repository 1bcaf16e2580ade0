"""Probability of malignancy for each case, by the trained scikit-learn pipeline in the additional files."""

import argparse
import csv
from pathlib import Path

import joblib
import numpy as np

VOLUMES = "/mlcommons/volumes"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("data", "additional_files", "predictions"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=Path, default=Path(VOLUMES, name))
    arguments = parser.parse_args()
    with (arguments.data / "cases.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = list(csv.reader(file))
    # A pickle runs code when it is loaded: it does so here, in the step's isolation, and nowhere else.
    saved = joblib.load(arguments.additional_files / "weights.joblib")
    order = [header.index(name) for name in saved["features"]]
    values = np.array([[float(row[column]) for column in order] for row in rows])
    probabilities = saved["pipeline"].predict_proba(values)[:, 1]
    with (arguments.predictions / "predictions.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["case_id", "probability"])
        case_column = header.index("case_id")
        writer.writerows([row[case_column], repr(float(p))] for row, p in zip(rows, probabilities, strict=True))
    print(f"{len(rows)} predictions")


if __name__ == "__main__":
    main()
