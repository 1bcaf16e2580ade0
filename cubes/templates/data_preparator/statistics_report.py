"""Describe a dataset by numbers alone: a person at the hospital sees them before they leave."""

import json
from collections import Counter
from pathlib import Path

VOLUMES = Path("/mlcommons/volumes")


def main() -> None:
    labels = json.loads((VOLUMES / "labels" / "labels.json").read_text(encoding="utf-8"))
    lines = [f"cases: {len(labels)}", "labels:"]
    lines += [f"  {json.dumps(str(label))}: {count}" for label, count in sorted(Counter(labels.values()).items())]
    (VOLUMES / "statistics" / "statistics.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
