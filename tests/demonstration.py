"""The demonstration, played as a new user would: a program of its own, in an environment that names nobody."""

import os
import subprocess
import sys
from pathlib import Path

MODELS = {"logistic-regression", "random-forest", "gradient-boosting", "k-nearest-neighbours", "small-mlp"}


def play(folder: Path, *words: str, limit_s: float, **environment: str) -> None:
    """Play it to its end; it has to succeed."""
    command = [str(Path(sys.executable).with_name("assay")), "demo", *words, "--folder", str(folder)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("ASSAY_", "PREFECT_"))}
    done = subprocess.run(
        command, capture_output=True, text=True, env={**clean, **environment}, timeout=limit_s, check=False
    )
    assert done.returncode == 0, done.stdout[-2_000:] + done.stderr[-2_000:]
