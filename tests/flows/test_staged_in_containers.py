"""Staged preparation where steps are containers of an engine, and where they are pods: the report, people, a resume."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.errors import StepFailedError
from agents.staging import mark_case, read_stage, report_of, unmarked
from agents.store.tables import DatasetState, JobState
from api.schemas.border import ErrorClass
from tests.agents.runtimes.kubernetes.places import place_in
from tests.clusters import CLAIM, DENY, image_registry, namespace
from tests.flows.ward import CASES, Ward, staged_ward

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def _in_an_engine(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Ward]:
    if "DOCKER_HOST" not in os.environ:
        pytest.skip("no container engine: set DOCKER_HOST to one that these tests may use")
    settings = {"runtime": "docker", "docker": {"image": image_registry().python()}}
    with staged_ward(folder / "h", "", patch, **settings) as ward:
        ward.here.site.probe()
        yield ward


def _in_a_cluster(patch: pytest.MonkeyPatch) -> Iterator[Ward]:
    with namespace("staged") as own:
        image = image_registry().python()
        own.kubectl("apply", "-f", "-", stdin=f"{DENY}---{CLAIM}")
        place = place_in(own, image)
        with staged_ward(place.home / "h", "", patch, **place.site_settings()) as ward:
            ward.here.site.probe()
            yield ward


@pytest.fixture(
    params=[
        pytest.param("docker", marks=pytest.mark.docker),
        pytest.param("kubernetes", marks=pytest.mark.kubernetes),
    ]
)
def ward(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ward]:
    yield from _in_an_engine(tmp_path, monkeypatch) if request.param == "docker" else _in_a_cluster(monkeypatch)


def test_it_stops_for_people_is_broken_off_and_goes_on(ward: Ward) -> None:
    """One test: a place to run in is dear."""
    seen: list[list[str]] = []

    def mark() -> None:
        (ward.folder / "labels" / "drafts" / "stopped").unlink()  # of the break
        mark_case(ward.folder, "stop", by="Ann", note="looks right")
        seen.append(unmarked(ward.folder))

    ward.raw("a", "stop", "z")
    with pytest.raises(StepFailedError) as failed:
        ward.here.prepare()
    assert failed.value.error_class == ErrorClass.EXIT_CODE
    assert [case.name for case in report_of(ward.folder).cases] == ["a"]
    assert (ward.dataset.state, read_stage(ward.folder).runs) == (DatasetState.FAILED, 0)

    ward.reviews = [mark, ward.review("a", "stop"), ward.review("z")]
    assert ward.here.prepare().state == JobState.DONE
    assert [gate.shown["open"] for gate in ward.gates()] == [3, 3, 1]
    assert seen == [["a", "z"]]
    assert (ward.folder / "labels" / "labels.csv").read_text() == "a,B\nstop,B\nz,M\n"
    assert (ward.dataset.state, ward.dataset.statistics) == (DatasetState.PREPARED, {"cases": 3, "malignant": 1})
    said = [log.read_text() for log in sorted((ward.here.site.home.path / "logs").glob("d1-prepare-*.log"))]
    assert ["a was None" in log for log in said] == [True, *[False] * (len(said) - 1)]
    assert ["a was -1" in log for log in said] == [False, True, True, True, False]


def test_what_people_leave_that_is_no_file_is_refused(ward: Ward) -> None:
    ward.reviews = [lambda: (ward.folder / "labels" / "link").symlink_to("/etc/passwd")]
    with pytest.raises(StepFailedError, match="links and devices are not accepted") as failed:
        ward.here.prepare()
    assert failed.value.error_class == ErrorClass.OUTPUT_MALFORMED
    assert len(report_of(ward.folder).open_cases) == len(CASES)
