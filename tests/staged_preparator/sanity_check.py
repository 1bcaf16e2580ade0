"""Every case has a label, and no draft is left."""

import sys
from pathlib import Path

VOLUMES = Path("/mlcommons/volumes")
labels = VOLUMES / "labels" / "labels.csv"
cases = {path.stem for path in (VOLUMES / "data").iterdir()}
labelled = {line.split(",")[0] for line in labels.read_text().splitlines()} if labels.exists() else set()
if cases != labelled:
    sys.exit(f"{len(cases - labelled)} case(s) have no label yet")
