"""The Wisconsin data, split: a public part to train on, and three hospitals' exports of what nobody trained on.

Reads scikit-learn's own copy of the data as a file (`sklearn/datasets/data/breast_cancer.csv`); scikit-learn itself is
not imported. In that file 0 is malignant.
"""

import csv
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PUBLIC_CASES: Final = 169
SEED: Final = 1995
_KINDS: Final = ("mean", "error", "worst")
_NAMES: Final = (
    "radius", "texture", "perimeter", "area", "smoothness", "compactness", "concavity", "concave_points", "symmetry",
    "fractal_dimension",
)  # fmt: skip
FEATURES: Final = tuple(f"{name}_{kind}" for kind in _KINDS for name in _NAMES)
HOSPITALS: Final = (("north", "Hospital North", 190, 0.28), ("harbour", "Hospital Harbour", 130, 0.42))
"""Name, title, cases, share of malignant cases; the third hospital has the rest."""


@dataclass(frozen=True, slots=True)
class Case:
    """One aspirate: an identifier of ours (its line in the file), thirty measurements as written, the diagnosis."""

    case_id: str
    values: tuple[str, ...]
    malignant: bool


@dataclass(frozen=True, slots=True)
class Hospital:
    name: str
    title: str
    cases: int
    folder: Path
    """Holds `data/cases.csv` and `labels/labels.csv`."""


def read_cases(wdbc: Path) -> list[Case]:
    """All 569 cases."""
    with wdbc.open(newline="", encoding="utf-8") as file:
        _header, *rows = list(csv.reader(file))
    return [Case(f"FNA-{line:04d}", tuple(row[:30]), row[30] == "0") for line, row in enumerate(rows, start=1)]


def split(cases: list[Case]) -> tuple[list[Case], list[list[Case]]]:
    """The public part, and one list for each hospital: disjoint, together everything, the same each time."""
    shuffled = sorted(cases, key=lambda case: case.case_id)
    random.Random(SEED).shuffle(shuffled)  # noqa: S311 - a reproducible split, not a secret
    public, rest = shuffled[:PUBLIC_CASES], shuffled[PUBLIC_CASES:]
    malignant, benign = [c for c in rest if c.malignant], [c for c in rest if not c.malignant]
    hospitals = []
    for _name, _title, size, share in HOSPITALS:
        many = round(size * share)
        hospitals.append(malignant[:many] + benign[: size - many])
        malignant, benign = malignant[many:], benign[size - many :]
    return public, [*hospitals, malignant + benign]


def hospital_exports(wdbc: Path, target: Path) -> list[Hospital]:
    """Write each hospital's raw export below `target`."""
    _, parts = split(read_cases(wdbc))
    names = [*((name, title) for name, title, _, _ in HOSPITALS), ("south", "Hospital South")]
    return [
        Hospital(name, title, len(cases), write_export(cases, target / name))
        for (name, title), cases in zip(names, parts, strict=True)
    ]


def write_export(cases: list[Case], folder: Path) -> Path:
    """Two CSV files as a hospital's system exports them: measurements here, diagnoses there."""
    for part in ("data", "labels"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    with (folder / "data" / "cases.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["case_id", *FEATURES])
        writer.writerows([case.case_id, *case.values] for case in cases)
    with (folder / "labels" / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["case_id", "diagnosis"])
        writer.writerows([case.case_id, "M" if case.malignant else "B"] for case in cases)
    return folder
