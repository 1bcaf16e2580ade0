"""Images of the demonstration: what they need, and that cubes built from their Dockerfiles do what their folders do."""

import json
import os
from pathlib import Path

import pytest

from cli.demo.clone import REFERENCE
from cli.demo.images import CUBES, contract_of_image, find_builder
from cli.errors import NotSetUpError
from cubes.contract import load_contract
from cubes.reports import read_metrics, read_statistics
from tests.cli.support import Assay, run_task
from tests.clusters import Registry, image_registry
from tests.k8s.images import builder, docker

REGISTRY = os.environ.get("ASSAY_TEST_REGISTRY")
"""Before the tests' own environment takes it away."""
IMAGE = f"registry.example.org/cube@sha256:{'a' * 64}"


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    if REGISTRY is not None:
        monkeypatch.setenv("ASSAY_TEST_REGISTRY", REGISTRY)
    docker("version")
    return image_registry()


class TestContract:
    @pytest.mark.parametrize("cube", CUBES)
    def test_it_asks_for_the_same_tasks_of_an_image(self, cube: str, tmp_path: Path) -> None:
        folder, image = (
            load_contract(REFERENCE / cube),
            load_contract(contract_of_image(REFERENCE / cube, tmp_path / cube, IMAGE)),
        )
        assert (image.container_type.value, image.image, image.requirements) == ("DockerImage", IMAGE, None)
        assert image.metrics == folder.metrics
        for name, task in folder.tasks.items():
            there = image.tasks[name]
            assert there.run_args.command == ("python3", f"/cube/{task.run_args.command[1]}")
            assert there.model_copy(update={"run_args": task.run_args}) == task


class TestFind:
    def test_without_a_registry_it_says_what_to_set(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("ASSAY_TEST_REGISTRY", raising=False)
        with pytest.raises(NotSetUpError, match="set ASSAY_TEST_REGISTRY"):
            find_builder()

    def test_without_docker_it_says_what_it_is_for(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ASSAY_TEST_REGISTRY", "127.0.0.1:1")
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(NotSetUpError, match="docker is not on PATH"):
            find_builder()

    @pytest.mark.docker
    @pytest.mark.usefixtures("registry")
    def test_an_engine_that_does_not_answer_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
        with pytest.raises(NotSetUpError, match=r"set DOCKER_HOST.*nobody\.sock"):
            find_builder()

    @pytest.mark.docker
    def test_a_base_that_is_not_there_is_named(self, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ASSAY_DEMO_BASE", f"{registry.host}/nobody:none")
        with pytest.raises(NotSetUpError, match=r"cannot be found.*ASSAY_DEMO_BASE"):
            find_builder()

    @pytest.mark.docker
    def test_the_base_is_found_by_digest(self, registry: Registry) -> None:
        assert find_builder().base == registry.python()


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("registry")
class TestCubes:
    def test_a_hospital_s_export_becomes_a_score(self, assay: Assay, tmp_path: Path) -> None:
        """Each cube from its Dockerfile, on a base by digest; every task in the engine, which pulls by digest."""
        made = builder()
        cubes = {cube: contract_of_image(REFERENCE / cube, tmp_path / cube, made.cube(cube)) for cube in CUBES}
        tmp_path.chmod(0o755)
        raw = REFERENCE / "demo_dataset" / "raw"

        def run(cube: str, task: str, **inputs: Path) -> Path:
            run_task(assay, cubes[cube], task, tmp_path / task, "--docker", **inputs)
            return tmp_path / task

        prepared = run("preparator", "prepare", data_path=raw / "data", labels_path=raw / "labels")
        data, labels = prepared / "output_path", prepared / "output_labels_path"
        run("preparator", "sanity_check", data_path=data, labels_path=labels, metadata_path=prepared / "metadata_path")
        counted = run("preparator", "statistics", data_path=data, labels_path=labels)
        assert read_statistics(counted / "output_path")["cases"] == 24
        weights = REFERENCE / "models" / "logistic_regression" / "additional_files"
        predicted = run("models/sklearn", "infer", data_path=data, additional_files=weights)
        measured = run("metrics", "evaluate", predictions=predicted / "output_path", labels=labels)
        schema = load_contract(cubes["metrics"]).metrics
        assert 0.9 < read_metrics(measured / "output_path", schema)["auroc"] <= 1

    def test_they_run_as_nobody_in_particular(self) -> None:
        for cube in CUBES:
            image = builder().cube(cube)
            [known] = json.loads(docker("image", "inspect", image))
            assert known["Config"]["User"] == "10001:10001"
