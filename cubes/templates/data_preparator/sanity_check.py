"""Refuse a dataset that no model should see: here, one where cases and labels do not match."""

import json
import sys
from pathlib import Path

VOLUMES = Path("/mlcommons/volumes")


def main() -> None:
    cases = {path.name for path in (VOLUMES / "data").iterdir()}
    labels = set(json.loads((VOLUMES / "labels" / "labels.json").read_text(encoding="utf-8")))
    if cases != labels:
        sys.exit(f"{len(cases - labels)} case(s) have no label, {len(labels - cases)} label(s) have no case")


if __name__ == "__main__":
    main()
