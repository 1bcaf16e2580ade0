"""Compare predictions with labels, both `case name to value` as JSON. Put your metrics in their place."""

import json
from pathlib import Path

VOLUMES = Path("/mlcommons/volumes")


def main() -> None:
    predictions = json.loads((VOLUMES / "predictions" / "predictions.json").read_text(encoding="utf-8"))
    labels = json.loads((VOLUMES / "labels" / "labels.json").read_text(encoding="utf-8"))
    right = {case: predictions.get(case) == label for case, label in labels.items()}
    accuracy = sum(right.values()) / len(right) if right else float("nan")
    (VOLUMES / "metrics" / "metrics.yaml").write_text(f"accuracy: {accuracy}\n", encoding="utf-8")
    (VOLUMES / "local_outputs" / "cases.json").write_text(json.dumps(right), encoding="utf-8")


if __name__ == "__main__":
    main()
