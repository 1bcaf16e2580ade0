"""Whatever happens to a step has a class of its own, with Kubernetes' own words, and leaves nothing running."""

import asyncio
import json
from dataclasses import asdict

import pytest

from api.schemas.border import ErrorClass
from tests.agents.runtimes.kubernetes.incidents import INCIDENTS, Incident, play_all
from tests.agents.runtimes.kubernetes.scene import Told, scene_in
from tests.agents.runtimes.kubernetes.shared import made_once
from tests.clusters import Registry

pytestmark = [pytest.mark.kubernetes, pytest.mark.slow, pytest.mark.timeout(900)]
_AT_ONCE = 8
_OF_OTHERS = {
    "output_missing",
    "output_malformed",
    "dataset_changed",
    "not_isolated",
    "cube_unavailable",
    "internal",
}
"""Not found out by the runtime, or the same in every runtime."""
_each = pytest.mark.parametrize("incident", INCIDENTS.values(), ids=[name.replace(" ", "-") for name in INCIDENTS])


@pytest.fixture(scope="session")
def told(tmp_path_factory: pytest.TempPathFactory, registry: Registry, python_image: str) -> dict[str, Told | str]:
    """All of it happens once, side by side; most of the time somebody waits for somebody."""

    async def play() -> str:
        async with scene_in("incidents", registry, python_image) as scene:
            found = await play_all(scene, at_once=_AT_ONCE)
        return json.dumps({name: each if isinstance(each, str) else asdict(each) for name, each in found.items()})

    found = json.loads(made_once(tmp_path_factory, "incidents", lambda: asyncio.run(play())))
    return {name: each if isinstance(each, str) else Told(**each) for name, each in found.items()}


def _of(told: dict[str, Told | str], incident: Incident) -> Told:
    found = told[incident.what]
    assert isinstance(found, Told), f"it did not come to its end: {found}"
    return found


@_each
def test_it_is_reported_as_what_it_is_with_the_clusters_own_words(
    told: dict[str, Told | str], incident: Incident
) -> None:
    found = _of(told, incident)
    assert (found.error, found.exit_code) == (incident.error, incident.exit_code), found.message
    assert incident.words in found.message


@_each
def test_no_program_is_left_and_there_never_were_two_pods(told: dict[str, Told | str], incident: Incident) -> None:
    found = _of(told, incident)
    assert found.nothing_runs
    assert found.pods <= 1


def test_every_class_that_a_cluster_gives_has_happened() -> None:
    assert {each.error.value for each in INCIDENTS.values()} == {each.value for each in ErrorClass} - _OF_OTHERS
