"""Stage one drafts a label a case; people write `reviewed` below it; stage two makes labels of what they reviewed.

The report is written after each case, so that a run that is stopped loses one case at most. A raw case called `stop`
ends its first run at once, as a power cut would.
"""

import csv
import json
import os
import sys
from pathlib import Path

VOLUMES = Path("/mlcommons/volumes")
DATA, LABELS, REPORT = VOLUMES / "data", VOLUMES / "labels", VOLUMES / "report.yaml"
DRAFTED, REVIEWED, DONE = -1, 1, 2
NAMES = {DRAFTED: "needs review", REVIEWED: "reviewed", DONE: "done"}


def main() -> None:
    report = json.loads(REPORT.read_text() or "{}") or {
        c: {} for c in ("status", "status_name", "comment", "labels_path")
    }
    with (VOLUMES / "raw_data" / "cases.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        case = row["case_id"]
        status = report["status"].get(case)
        sys.stdout.write(f"{case} was {status}\n")
        if status is None:
            _draft(case, row, report)
        elif status == DRAFTED:
            _finish(case, report)


def _draft(case: str, row: dict[str, str], report: dict[str, dict[str, object]]) -> None:
    drafts = LABELS / "drafts"
    drafts.mkdir(exist_ok=True)
    if case == "stop" and not (drafts / "stopped").exists():
        (drafts / "stopped").touch()
        sys.stdout.flush()
        os._exit(1)  # the first process of a container cannot kill itself
    (drafts / f"{case}.txt").write_text("M\n" if float(row["radius_mean"]) > 15 else "B\n")
    (DATA / f"{case}.json").write_text(json.dumps(row, sort_keys=True))
    _note(report, case, DRAFTED, "write `reviewed` below the label", str(drafts / f"{case}.txt"))


def _finish(case: str, report: dict[str, dict[str, object]]) -> None:
    draft = LABELS / "drafts" / f"{case}.txt"
    label, *rest = draft.read_text().split()
    if rest != ["reviewed"]:
        return
    with (LABELS / "labels.csv").open("a") as file:
        file.write(f"{case},{label}\n")
    draft.unlink()
    _note(report, case, DONE, "", "")


def _note(report: dict[str, dict[str, object]], case: str, status: int, comment: str, path: str) -> None:
    values = {"status": status, "status_name": NAMES[status], "comment": comment, "labels_path": path}
    for column, value in values.items():
        report[column][case] = value
    REPORT.write_text(json.dumps(report))  # JSON is YAML


if __name__ == "__main__":
    main()
