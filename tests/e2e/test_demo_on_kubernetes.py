"""The demonstration in a cluster: its parties are Deployments of one image, its steps pods, its story checked by program."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.demo.images import CUBES
from cli.demo.overlays import LABEL
from tests.clusters import image_registry, kubectl, namespace, wait_for
from tests.demonstration import AUROC, MODELS, play, scores, start
from tests.k8s.images import docker

pytestmark = [pytest.mark.kubernetes, pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(2400)]
HOSPITALS = {"north", "harbour", "south"}


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """What names the registry of images; skips where there is no cluster, no engine or no registry."""
    with namespace("demo-skip"):
        docker("version")
        return {"ASSAY_TEST_REGISTRY": image_registry().host, "ASSAY_DEMO_BASE": image_registry().python()}


@pytest.fixture(scope="module")
def folder(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where one demonstration was played to its end."""
    folder = tmp_path_factory.mktemp("demo") / "demo"
    play(folder, "--runtime", "kubernetes", limit_s=2300, **environment)
    return folder


@pytest.fixture(scope="module")
def story(folder: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return told


class TestStory:
    def test_every_model_ran_at_every_hospital(self, story: dict[str, Any]) -> None:
        ran = {(each["site"], each["model_name"]) for each in story["executions"] if each["state"] == "succeeded"}
        assert ran == {(site, model) for site in HOSPITALS for model in MODELS}

    def test_every_hospital_ran_its_steps_as_pods_and_isolated(self, story: dict[str, Any]) -> None:
        sites = {each["site"]: each["status"] for each in story["parties"] if "site" in each}
        assert set(sites) == HOSPITALS
        for status in sites.values():
            probe = status["probe"]
            assert (probe["runtime"], probe["isolation"]) == ("kubernetes", "isolated")
            assert probe["checks"]["control_cluster_api_is_reachable"]
            assert status["home"] == "/var/lib/assay/home"  # of its pod, not of this machine
            assert ".svc" in status["registry_url"]

    def test_the_numbers_are_those_of_any_runtime(self, story: dict[str, Any]) -> None:
        assert scores(story) == AUROC
        assert all(row["isolated"] for row in story["leaderboard"]["rows"])

    def test_each_gate_was_decided_and_the_audit_log_is_whole(self, story: dict[str, Any]) -> None:
        assert len({decision["gate"] for decision in story["decisions"]}) == 1 + 5 + 3 + 3 + 3 + 3 + 1
        assert story["audit"]["intact"] is True

    def test_what_was_withheld_did_not_leave(self, story: dict[str, Any]) -> None:
        left = {item["subject"] for item in story["departures"]["south"] if item["kind"] == "result"}
        assert left == MODELS - {"k-nearest-neighbours"}


class TestImages:
    def test_every_party_is_the_one_image_by_digest(self, story: dict[str, Any], folder: Path) -> None:
        application = story["images"]["application"]
        applied = {path.parent.name: yaml.safe_load(path.read_text()) for path in _overlays(folder)}
        assert set(applied) == HOSPITALS | {"registry"}
        for each in applied.values():
            [image] = each["images"]
            assert f"{image['newName']}@{image['digest']}" == application

    def test_cubes_are_images_by_digest(self, story: dict[str, Any]) -> None:
        assert set(story["images"]["cubes"]) == set(CUBES)
        assert all("@sha256:" in image for image in story["images"]["cubes"].values())


class TestEnd:
    def test_nothing_is_left(self, folder: Path) -> None:
        ours = {yaml.safe_load(path.read_text())["namespace"] for path in _overlays(folder)}
        assert len(ours) == len(HOSPITALS) + 1
        there = {name.removeprefix("namespace/") for name in kubectl("get", "namespaces", "-o", "name").split()}
        assert not ours & there
        volumes = json.loads(kubectl("get", "pv", "-o", "json"))["items"]
        claimed = {each["spec"].get("claimRef", {}).get("namespace") for each in volumes}
        assert not ours & claimed
        assert _still_running(folder) == []


class TestInterrupted:
    @pytest.fixture
    def interrupted(
        self, environment: dict[str, str], tmp_path: Path
    ) -> Iterator[tuple["subprocess.Popen[str]", Path]]:
        """A demonstration whose registry is coming up in the cluster."""
        folder = tmp_path / "demo"
        running = start(folder, "--runtime", "kubernetes", **environment)
        try:
            wait_for(lambda: running.poll() is not None or _deployed(folder), "the registry to be applied", 1200)
            assert running.poll() is None, running.communicate()
            yield running, folder
        finally:
            if running.poll() is None:
                running.kill()
            running.communicate()

    def test_nothing_is_left_either(self, interrupted: tuple["subprocess.Popen[str]", Path]) -> None:
        running, folder = interrupted
        [path] = _overlays(folder)
        mark = yaml.safe_load(path.read_text())["labels"][0]["pairs"][LABEL]
        os.kill(running.pid, signal.SIGTERM)
        assert running.wait(300) == 130
        assert json.loads(kubectl("get", "namespaces", "-l", f"{LABEL}={mark}", "-o", "json"))["items"] == []
        assert _still_running(folder) == []


def _overlays(folder: Path) -> list[Path]:
    return list(folder.glob("cluster/*/kustomization.yaml"))


def _deployed(folder: Path) -> bool:
    spaces = [yaml.safe_load(path.read_text())["namespace"] for path in _overlays(folder)]
    return bool(spaces) and "assay-registry" in kubectl("-n", spaces[0], "get", "deployments", "-o", "name")


def _still_running(folder: Path) -> list[str]:
    """Processes that name the demonstration's folder, or lead into one of its namespaces."""
    ours = [str(folder), *(yaml.safe_load(path.read_text())["namespace"] for path in _overlays(folder))]
    lines = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            lines.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return [line for line in lines if any(each in line for each in ours)]
