"""`compatibility` to its end: the whole pipeline on public demo cases, with nothing asked and nothing sent."""

from pathlib import Path

import pytest

from agents.orders import CompatibilityOrder
from agents.store.tables import Job, JobKind, JobState
from api.schemas.benchmarks import Compatibility
from api.schemas.cubes import CubeRef
from cubes.contract import load_contract
from cubes.packing import pack_folder
from tests.flows.agency import Agency
from tests.hospital import FNA


@pytest.fixture(scope="module")
def demo(north: Agency, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of the benchmark's demo dataset, which the registry has."""
    archive = tmp_path_factory.mktemp("demo") / "demo.tar"
    pack_folder(FNA / "demo_dataset", archive)
    return north.here.registry.add_blob(archive)


def _order(north: Agency, demo: str, model: CubeRef) -> Job:
    order = CompatibilityOrder(
        demo_dataset_digest=demo,
        preparator=north.here.preparator,
        metrics_cube=north.here.metrics,
        metrics=list(load_contract(FNA / "metrics").metrics),
        model=model,
    )
    return north.order(JobKind.COMPATIBILITY, model.name, **order.model_dump(mode="json"))


class TestTry:
    def test_a_model_that_fits_gets_its_numbers(self, north: Agency, demo: str) -> None:
        model = north.here.model()
        job = north.end(_order(north, demo, model))
        outcome = Compatibility.model_validate(job.outcome)
        assert (job.state, outcome.model_digest, outcome.demo_dataset_digest) == (
            JobState.DONE,
            model.pack_digest,
            demo,
        )
        assert 0.5 < outcome.metrics["auroc"] <= 1
        assert north.executions("demo") == {}
        assert north.here.registry.taken == []

    def test_another_model_finds_the_demo_cases_prepared(self, north: Agency, demo: str) -> None:
        north.end(_order(north, demo, north.here.model("# one\n" + north.here.program_text)))
        before = north.steps()
        north.end(_order(north, demo, north.here.model("# two\n" + north.here.program_text)))
        assert north.steps() - before == {"infer": 1, "evaluate": 1}

    def test_a_model_that_fails_says_why_and_leaves_no_files(self, north: Agency, demo: str) -> None:
        job = north.end(_order(north, demo, north.here.broken_model("exit_1")))
        assert job.state == JobState.FAILED
        assert "giving up" in job.message
        assert [path for path in north.here.site.home.folder("attempts").iterdir() if path.is_dir()] == []

    def test_a_demo_dataset_that_names_no_folders_is_refused(self, north: Agency, tmp_path: Path) -> None:
        (tmp_path / "demo").mkdir()
        (tmp_path / "demo" / "paths.yaml").write_text("data_path: ../../secrets\n")
        pack_folder(tmp_path / "demo", tmp_path / "demo.tar")
        digest = north.here.registry.add_blob(tmp_path / "demo.tar")
        job = north.end(_order(north, digest, north.here.model()))
        assert "no folder of its own under 'data_path'" in job.message
