"""Templates as images: each one's Dockerfile builds as it is, and the tasks run in an engine from what was built."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from cubes.contract import load_contract
from cubes.reports import read_metrics, read_statistics
from tests.cli.support import Assay, run_task
from tests.clusters import Registry, image_registry
from tests.k8s.images import docker

pytestmark = pytest.mark.docker
Build = Callable[[str], Path]


@pytest.fixture(scope="module")
def registry() -> Registry:
    docker("version")
    return image_registry()


@pytest.fixture(scope="module")
def base(registry: Registry) -> str:
    return registry.python()


@pytest.fixture
def build(assay: Assay, tmp_path: Path, registry: Registry, base: str) -> Iterator[Build]:
    """Init a template, build and push its image, and make its contract that of the image as the Dockerfile says."""
    tmp_path.chmod(0o755)
    made: list[str] = []

    def make(kind: str) -> Path:
        cube, name = tmp_path / kind, f"{registry.host}/template-{kind}:{uuid4().hex[:8]}"
        assert assay("cube", "init", cube, "--kind", kind).code == 0
        docker("build", "--quiet", "--build-arg", f"BASE={base}", "--tag", name, cube)
        docker("push", "--quiet", name)
        docker("rmi", name)  # what runs is pulled again, by digest
        made.append(name.rpartition(":")[0])
        contract = tmp_path / f"{kind}-image" / "container_config.yaml"
        contract.parent.mkdir()
        text = (cube / contract.name).read_text().replace("command: python3 ", "command: python3 /cube/")
        contract.write_text(text.replace("container_type: Folder", f"container_type: DockerImage\nimage: {name}"))
        return contract.parent

    yield make
    for name in made:
        docker("rmi", "--force", *docker("images", "--quiet", name).split())


def _test(assay: Assay, cube: Path, task: str, output: Path, **inputs: Path) -> Path:
    assert "@sha256:" in run_task(assay, cube, task, output, "--docker", **inputs).err
    return output


def test_a_preparator_prepares_checks_and_counts(assay: Assay, build: Build, tmp_path: Path, export: Path) -> None:
    cube = build("data_preparator")
    raw = {"data_path": export / "data", "labels_path": export / "labels"}
    prepared = _test(assay, cube, "prepare", tmp_path / "prepared", **raw)
    parts = {"data_path": prepared / "output_path", "labels_path": prepared / "output_labels_path"}
    _test(assay, cube, "sanity_check", tmp_path / "checked", **parts)
    counted = _test(assay, cube, "statistics", tmp_path / "counted", **parts)
    assert read_statistics(counted / "output_path") == {"cases": 2, "labels": {"1": 2}}


def test_a_model_and_its_metrics(assay: Assay, build: Build, tmp_path: Path, export: Path) -> None:
    predicted = _test(assay, build("model"), "infer", tmp_path / "predicted", data_path=export / "data")
    assert json.loads((predicted / "output_path" / "predictions.json").read_text()) == {"a.txt": 1, "b.txt": 2}
    metrics = build("metrics")
    inputs = {"predictions": predicted / "output_path", "labels": export / "labels"}
    measured = _test(assay, metrics, "evaluate", tmp_path / "measured", **inputs)
    assert read_metrics(measured / "output_path", load_contract(metrics).metrics) == {"accuracy": 0.5}


def test_a_script_runs_a_model_s_files(assay: Assay, build: Build, tmp_path: Path, export: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "threshold.txt").write_text("1")
    inputs = {"data_path": export / "data", "model_files": tmp_path / "files"}
    ran = _test(assay, build("script"), "run_script", tmp_path / "ran", **inputs)
    assert json.loads((ran / "results_path" / "predictions.json").read_text()) == {"a.txt": 0, "b.txt": 1}
