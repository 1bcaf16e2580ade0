"""The demonstration with every step as a pod of a real cluster, and its story checked by program."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.clusters import image_registry, kubectl, namespace, wait_for
from tests.demonstration import MODELS, play

pytestmark = [pytest.mark.kubernetes, pytest.mark.slow, pytest.mark.timeout(2400)]
HOSPITALS = {"north", "harbour", "south"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where one demonstration was played; skips where there is no cluster."""
    with namespace("demo-skip"):
        image = image_registry().python()
    folder = tmp_path_factory.mktemp("demo") / "demo"
    play(folder, "--runtime", "kubernetes", limit_s=2300, ASSAY_DEMO_IMAGE=image)
    return folder


@pytest.fixture(scope="module")
def story(folder: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return told


class TestStory:
    def test_every_model_ran_at_every_hospital(self, story: dict[str, Any]) -> None:
        ran = {(each["site"], each["model_name"]) for each in story["executions"] if each["state"] == "succeeded"}
        assert ran == {(site, model) for site in HOSPITALS for model in MODELS}

    def test_every_hospital_ran_its_steps_in_the_cluster_and_isolated(self, story: dict[str, Any]) -> None:
        probes = {each["site"]: each["status"]["probe"] for each in story["parties"] if "site" in each}
        assert set(probes) == HOSPITALS
        for probe in probes.values():
            assert (probe["runtime"], probe["isolation"]) == ("kubernetes", "isolated")
            assert probe["checks"]["control_cluster_api_is_reachable"]

    def test_the_numbers_are_those_of_any_runtime(self, story: dict[str, Any]) -> None:
        rows = {row["model_name"]: row for row in story["leaderboard"]["rows"]}
        assert set(rows) == MODELS
        assert all(0.9 < row["metrics"]["auroc"] <= 1 and row["isolated"] for row in rows.values())

    def test_nothing_is_left_in_the_cluster(self, folder: Path) -> None:
        applied = [json.loads(path.read_text()) for path in folder.glob("cluster/*/kustomization.yaml")]
        ours = {f"namespace/{each['namespace']}" for each in applied}
        assert len(ours) == len(HOSPITALS)
        wait_for(lambda: not ours & set(kubectl("get", "namespaces", "-o", "name").split()), "namespaces to go")
