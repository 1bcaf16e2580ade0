"""Train the reference models on the public part and write their weights.

    python train.py --wdbc .../sklearn/datasets/data/breast_cancer.csv --models ../models

Run it in an environment made from `../models/sklearn/requirements.lock`. Seeds are fixed and everything runs in one
thread, so that the same environment gives the same weights.
"""

import argparse
import hashlib
import sys
from pathlib import Path

import joblib
import numpy as np
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from split import FEATURES, SEED, read_cases, split

MODELS = {
    "logistic_regression": LogisticRegression(C=0.5, max_iter=2_000),
    "random_forest": RandomForestClassifier(n_estimators=60, max_depth=6, random_state=SEED, n_jobs=1),
    "gradient_boosting": GradientBoostingClassifier(n_estimators=60, max_depth=2, random_state=SEED),
    "k_nearest_neighbours": KNeighborsClassifier(n_neighbors=7),
    "small_mlp": MLPClassifier(hidden_layer_sizes=(8,), alpha=1.0, max_iter=3_000, random_state=SEED),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wdbc", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True)
    arguments = parser.parse_args()
    public, _ = split(read_cases(arguments.wdbc))
    values = np.array([[float(value) for value in case.values] for case in public])
    labels = np.array([int(case.malignant) for case in public])
    for name, model in MODELS.items():
        pipeline = make_pipeline(StandardScaler(), model).fit(values, labels)
        folder = arguments.models / name / "additional_files"
        folder.mkdir(parents=True, exist_ok=True)
        joblib.dump({"features": list(FEATURES), "pipeline": pipeline}, folder / "weights.joblib", compress=9)
        digest = hashlib.sha256((folder / "weights.joblib").read_bytes()).hexdigest()
        (folder.parent / "SHA256SUMS").write_text(f"{digest}  additional_files/weights.joblib\n", encoding="utf-8")
        print(f"{name}: {(folder / 'weights.joblib').stat().st_size} bytes, sha256 {digest}")


if __name__ == "__main__":
    main()
