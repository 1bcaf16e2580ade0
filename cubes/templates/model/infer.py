"""Predict something for each case: here, how many lines its file has. Put your model in its place."""

import json
from pathlib import Path

DATA = Path("/mlcommons/volumes/data")
PREDICTIONS = Path("/mlcommons/volumes/predictions")


def predict(case: Path) -> int:
    return len(case.read_bytes().splitlines())


def main() -> None:
    cases = sorted(path for path in DATA.rglob("*") if path.is_file())
    predictions = {path.relative_to(DATA).as_posix(): predict(path) for path in cases}
    (PREDICTIONS / "predictions.json").write_text(json.dumps(predictions, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
