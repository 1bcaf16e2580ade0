"""Cubes that other federations wrote, from registration to a released result: real servers, real flows, commands alone."""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.cli.campaign import METRIC, Campaign, agent, new_site
from tests.cli.federation import Federation
from tests.cli.formats import format_image
from tests.clusters import Registry
from tests.clusters import image_registry as engines_registry
from tests.small_images import image_registry, push

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@dataclass
class Released:
    """A campaign that is over, and what was seen on the way."""

    campaign: Campaign
    image: str
    questions: dict[str, dict[str, Any]] = field(default_factory=dict)
    dataset: dict[str, Any] = field(default_factory=dict)
    results: dict[str, dict[str, Any]] = field(default_factory=dict)

    def cube(self, name: str) -> dict[str, Any]:
        return dict(self.campaign.at("ada", "cube", "show", name, "--json").json)

    @property
    def scorer(self) -> dict[str, Any]:
        return self.cube(f"{self.campaign.name}-metrics")

    @property
    def preparator(self) -> dict[str, Any]:
        return self.cube(f"{self.campaign.name}-data-preparator")

    def trail(self, model: str) -> list[dict[str, Any]]:
        return list(self.campaign.here("execution", "trail", self.results[model]["execution"], "--json").json)


@dataclass(frozen=True)
class Runs:
    """A runtime, an image by its tag in a registry that it can pull from, and settings of the site."""

    runtime: str
    form: str
    image: str
    settings: tuple[str, ...] = ()


@pytest.fixture(scope="session")
def engine_registry() -> Registry | None:
    """What an engine here pulls from; asked for before tests lose the environment."""
    return engines_registry() if "DOCKER_HOST" in os.environ and "ASSAY_TEST_REGISTRY" in os.environ else None


@pytest.fixture(params=["process", pytest.param("docker", marks=pytest.mark.docker)])
def runs(request: pytest.FixtureRequest, engine_registry: Registry | None) -> Iterator[Runs]:
    """In namespaces the benchmark's cubes are MLCubes, in an engine they are MedPerf containers; models are of both."""
    image = format_image()
    if request.param == "process":
        with image_registry() as own:
            yield Runs("process", "mlcube", str(own.push(image)))
        return
    if engine_registry is None:
        pytest.skip("no container engine: set DOCKER_HOST and ASSAY_TEST_REGISTRY to those that tests may use")
    name = f"formats-{uuid4().hex[:8]}"
    push(image, engine_registry.host, name)
    table = f"docker = {{image = {json.dumps(engine_registry.python())}}}"
    yield Runs("docker", "container_config", f"{engine_registry.host}/{name}:1", ('runtime = "docker"', table))


class TestRelease:
    def test_what_was_registered_is_what_ran_and_what_everybody_sees(
        self, runs: Runs, registry: Federation, prefect_database: str, tmp_path: Path
    ) -> None:
        """One test: a campaign is half a minute of servers, and is played once."""
        campaign = Campaign(
            registry, tmp_path, runs.form, f"formats-{runs.runtime}", tmp_path / "home", prefect_database
        )
        story = _play(campaign, runs)
        _everybody_sees_the_scores(story)
        _each_cube_is_named_by_digest(story)
        _what_ran_is_what_was_registered(story)
        for model in campaign.models.values():
            _the_trail_leads_from_registration_to_what_left(story, model)
            _what_left_is_what_the_registry_holds(story, model)
        if runs.runtime == "process":
            _an_image_that_changed_on_disk_does_not_fit(story)


def _play(campaign: Campaign, runs: Runs) -> Released:
    story = Released(campaign, runs.image)
    campaign.register(runs.image)
    campaign.check()
    new_site(campaign, *runs.settings)
    with agent(campaign):
        campaign.prepare()
        story.questions["register_dataset"] = campaign.answer("register_dataset")
        story.dataset = campaign.registered()
        campaign.join("dan", campaign.name)
        for gate in ("run_models", "release_results"):
            story.questions[gate] = campaign.answer(gate)
        story.results = campaign.results()
        campaign.release()
    return story


def _everybody_sees_the_scores(story: Released) -> None:
    board = story.campaign.at("eve", "benchmark", "leaderboard", story.campaign.name, "--json").json
    assert board["released_at"] is not None
    assert {row["model_name"] for row in board["rows"]} == set(story.campaign.models.values())
    for row in board["rows"]:
        assert (row["metrics"], row["isolated"], row["cases"]) == ({METRIC: 1.0}, True, 2)


def _each_cube_is_named_by_digest(story: Released) -> None:
    models = [story.cube(f"{model}-cube") for model in story.campaign.models.values()]
    for cube in (story.preparator, story.scorer, *models):
        assert cube["contract"]["image"] == f"{story.image}@{format_image().digest}"


def _what_ran_is_what_was_registered(story: Released) -> None:
    scorer, preparator = story.scorer["pack_digest"], story.preparator["pack_digest"]
    assert story.dataset["preparator_digest"] == preparator
    shown = {item["model"]: item["cube"]["pack_digest"] for item in story.questions["run_models"]["shown"]["items"]}
    for model, result in story.results.items():
        registered = story.cube(f"{model}-cube")["pack_digest"]
        assert (result["model_digest"], result["metrics_digest"]) == (registered, scorer)
        assert shown[model] == registered


def _the_trail_leads_from_registration_to_what_left(story: Released, model: str) -> None:
    links = story.trail(model)
    assert all(link["fits"] for link in links)
    found = {(link["moment"], link["what"]): link["digest"] for link in links}
    cube, scorer, preparator = story.cube(f"{model}-cube"), story.scorer, story.preparator
    for moment in ("registered", "approved", "fetched", "ran"):
        assert found[moment, "cube"] == cube["pack_digest"]
    assert found["registered", "files"] == found["fetched", "files"] == cube["additional_files_digest"]
    assert found["registered", "metrics cube"] == found["scored", "metrics cube"] == scorer["pack_digest"]
    assert found["registered", "preparator"] == found["prepared", "preparator"] == preparator["pack_digest"]
    assert found["fetched", "image"] == format_image().digest
    assert found["scored", "dataset"] == story.dataset["root"]
    moments = ["registered", "prepared", "approved", "fetched", "ran", "scored", "left"]
    assert list(dict.fromkeys(link["moment"] for link in links)) == moments


def _what_left_is_what_the_registry_holds(story: Released, model: str) -> None:
    (left,) = [link for link in story.trail(model) if link["moment"] == "left"]
    with closing(sqlite3.connect(story.campaign.home / "store.sqlite")) as store:
        (body,) = store.execute("SELECT body FROM outbox WHERE sha256 = ?", (left["digest"],)).fetchone()
    sent, held = json.loads(body), story.results[model]
    assert (sent["execution"], sent["metrics"]) == (held["execution"], held["metrics"])


def _an_image_that_changed_on_disk_does_not_fit(story: Released) -> None:
    (program,) = (story.campaign.home / "images").glob("*/*/run.sh")
    program.write_bytes(program.read_bytes() + b"#")
    (execution, *_) = (result["execution"] for result in story.results.values())
    ended = story.campaign.here("execution", "trail", execution, may_fail=True)
    assert ended.code == 10
    assert "the image that was fetched does not fit" in ended.err
