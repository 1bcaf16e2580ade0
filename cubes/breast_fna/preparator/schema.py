"""What a case is: thirty measurements of cell nuclei and a diagnosis, with the ranges in which they are plausible.

Source: W. H. Wolberg, W. N. Street, O. L. Mangasarian, "Breast Cancer Wisconsin (Diagnostic)", UCI Machine Learning
Repository, 1995, CC BY 4.0. Ten features of the nuclei of one fine-needle aspirate, each as mean, standard error and
mean of the three largest values ("worst"). A range is about five times what the published cases span: it finds wrong
units and shifted columns, not unusual patients.
"""

BASE = {
    "radius": (1.0, 180.0),
    "texture": (1.0, 250.0),
    "perimeter": (5.0, 1300.0),
    "area": (20.0, 22000.0),
    "smoothness": (0.001, 1.0),
    "compactness": (0.0, 6.0),
    "concavity": (0.0, 7.0),
    "concave_points": (0.0, 2.0),
    "symmetry": (0.0, 4.0),
    "fractal_dimension": (0.0, 1.5),
}
FEATURES = [f"{name}_{kind}" for kind in ("mean", "error", "worst") for name in BASE]
# A standard error may be as small as zero.
RANGES = {
    f"{name}_{kind}": ((0.0 if kind == "error" else low), high)
    for kind in ("mean", "error", "worst")
    for name, (low, high) in BASE.items()
}
LABELS = {"M": 1, "MALIGNANT": 1, "B": 0, "BENIGN": 0}
"""Spellings of the diagnosis, upper case, to the label: 1 is malignant."""

MAX_PROBLEMS = 20
"""So many problems are listed before the rest is counted."""
