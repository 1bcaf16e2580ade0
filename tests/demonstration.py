"""The demonstration, played as a new user would: a program of its own, in an environment that names nobody."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

AUROC = {
    "logistic-regression": {"north": 0.995868, "harbour": 0.993455, "south": 0.981772},
    "small-mlp": {"north": 0.99518, "harbour": 0.992, "south": 0.981772},
    "random-forest": {"north": 0.980719, "harbour": 0.979636, "south": 0.985229},
    "gradient-boosting": {"north": 0.988087, "harbour": 0.967152, "south": 0.981144},
    "k-nearest-neighbours": {"north": 0.985126, "harbour": 0.966788},
}
"""By model and hospital, whatever runs the steps: weights and cases are always the same. One number is kept back."""
MODELS = set(AUROC)


def scores(story: dict[str, Any]) -> dict[str, dict[str, float]]:
    """The leaderboard's AUROC by model and hospital, to six digits."""
    return {
        row["model_name"]: {
            name.partition("/")[0]: round(metrics["auroc"], 6) for name, metrics in row["per_dataset"].items()
        }
        for row in story["leaderboard"]["rows"]
    }


def start(folder: Path, *words: str, **environment: str) -> "subprocess.Popen[str]":
    """Start it, and let it play."""
    command = [str(Path(sys.executable).with_name("assay")), "demo", *words, "--folder", str(folder)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("ASSAY_", "PREFECT_"))}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env={**clean, **environment})


def play(folder: Path, *words: str, limit_s: float, **environment: str) -> None:
    """Play it to its end; it has to succeed."""
    with start(folder, *words, **environment) as running:
        try:
            out, err = running.communicate(timeout=limit_s)
        except BaseException:
            running.terminate()  # it takes away what it has made
            raise
    assert running.returncode == 0, out[-2_000:] + err[-2_000:]
