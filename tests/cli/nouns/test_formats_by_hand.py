"""Both formats as a newcomer meets them: cubes of other federations' kinds, understood and run by commands, from nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cubes.reports import read_statistics
from tests.cli.formats import CONTAINER, format_image, write_cube, write_files
from tests.cli.support import Assay
from tests.small_images import image_registry


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    """The reference of a tiny image in a registry of its own."""
    with image_registry() as registry:
        yield str(registry.push(format_image()))


@pytest.fixture
def export(tmp_path: Path) -> Path:
    return write_files(tmp_path / "export")


def _test(assay: Assay, cube: Path, task: str, output: Path, **inputs: Path) -> Path:
    words = [word for name, path in inputs.items() for word in ("--input", f"{name}={path}")]
    ended = assay("cube", "test", cube, task, "--output", output, *words)
    assert ended.code == 0, ended.err
    return output


def _report(place: Path) -> Path:
    """MLCube mounts the folder that a file lies in."""
    return next(place.iterdir()) if place.is_dir() else place


@pytest.mark.parametrize("form", ["container_config", "mlcube"])
class TestByHand:
    @pytest.mark.parametrize("kind", sorted(CONTAINER))
    def test_each_kind_is_understood(self, assay: Assay, tmp_path: Path, image: str, form: str, kind: str) -> None:
        found = assay("cube", "validate", write_cube(tmp_path / "cube", form, kind, image), "--json")
        assert found.code == 0, found.err
        assert found.json["kind"] == kind
        assert found.json["contract"]["image"] == image

    def test_a_whole_pipeline(self, assay: Assay, tmp_path: Path, image: str, export: Path, form: str) -> None:
        cubes = {kind: write_cube(tmp_path / kind, form, kind, image) for kind in CONTAINER}
        preparator = cubes["data_preparator"]
        raw = {"data_path": export / "data", "labels_path": export / "labels"}
        prepared = _test(assay, preparator, "prepare", tmp_path / "1", **raw)
        data, labels = prepared / "output_path", prepared / "output_labels_path"
        _test(assay, preparator, "sanity_check", tmp_path / "2", data_path=data)
        counted = _test(assay, preparator, "statistics", tmp_path / "3", data_path=data)
        assert read_statistics(_report(counted / "output_path")) == {"cases": 2}
        files = {"additional_files": export / "files"}
        predicted = _test(assay, cubes["model"], "infer", tmp_path / "4", data_path=data, **files)
        assert (predicted / "output_path" / "predicted").read_text() == "w\na\nb\n"
        inputs = {"predictions": predicted / "output_path", "labels": labels}
        scored = _test(assay, cubes["metrics"], "evaluate", tmp_path / "5", **inputs)
        assert read_statistics(_report(scored / "output_path")) == {"accuracy": 1}
