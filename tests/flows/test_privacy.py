"""Prefect keeps what it hears for ever: nothing of a patient is among it, however a job went."""

import csv
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url

from agents.store.tables import JobState
from tests.flows.agency import Agency


def _dump(database_url: str, folder: Path) -> str:
    """Every row of every table of a database, as text."""
    url = make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url) as connection:
        tables = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"
        ).fetchall()
        with (folder / "dump").open("wb") as out:
            for (table,) in tables:
                with connection.cursor().copy(sql.SQL("COPY {} TO STDOUT").format(sql.Identifier(table))) as rows:
                    for row in rows:
                        out.write(row)
    return (folder / "dump").read_text(encoding="utf-8", errors="replace")


@pytest.fixture(scope="module")
def patients(north: Agency) -> set[str]:
    """Who the hospital's cases are, by names that are nowhere else; and what was measured of one alone."""
    raw, mark = north.here.raw, f"patient-{uuid4().hex[:12]}-"
    known: set[str] = set()
    for path in (raw / "data" / "cases.csv", raw / "labels" / "labels.csv"):
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        for number, row in enumerate(rows):
            row["case_id"] = mark + row["case_id"]
            if "radius_mean" in row:  # with so many digits it is nobody else's, nor a time that something took
                row["radius_mean"] = f"{float(row['radius_mean']) + number / 7e5 + 1e-7:.7f}"
                known |= {row["case_id"], row["radius_mean"]}
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return known


def test_what_prefect_keeps_names_no_patient(
    north: Agency, patients: set[str], prefect_database: str, tmp_path: Path
) -> None:
    """A job that went well, one whose model said more than it should, and one whose preparator failed."""
    here = north.here
    some = next(each for each in patients if each.startswith("patient-"))
    assert north.approve(north.prepare("went-well")).state == JobState.DONE
    here.site.border.flush()
    talking = "import csv, sys\nsys.exit(next(csv.DictReader(open('/data/cases.csv')))['case_id'] + ' is ill')\n"
    here.offer(here.model(talking), here.model())
    assert north.run(1, 2, name="went-well").outcome["failed"] == ["model-1"]
    said = north.executions("went-well")["model-1"].message
    assert said.rpartition(" is ill")[0].splitlines()[-1] in patients, "the site's own people read what the model said"
    labels = here.raw / "labels" / "labels.csv"
    labels.write_text(labels.read_text().replace(some, some + "-twin", 1))
    assert north.end(north.prepare("went-wrong")).state == JobState.FAILED

    kept = _dump(prefect_database, tmp_path)
    assert "went-well" in kept, "the dump holds what Prefect was told"
    assert "StepFailedError (exit_code, exit code 1)" in kept
    # A quantile may be somebody's value: people see it at the gate, and may say no.
    statistics = str(north.dataset("went-well").statistics)
    assert {each for each in patients if each in kept and each not in statistics} == set()
