"""Models: cards, results, and the check before an association is asked for."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import structlog

from api.schemas.benchmarks import BenchmarkPublic, Compatibility
from api.schemas.cubes import CubeCreate, CubeKind, ModelPublic
from api.storage.columns import now
from cubes.packing import pack_folder
from tests.cli.federation import FNA, Federation
from tests.cli.support import ROOT, Assay, sha


class TestRegister:
    def test_a_card_and_a_cube(self, at: Assay) -> None:
        at("mel", "cube", "register", FNA / "models" / "sklearn", "--name", "mlp-cube")
        ended = at("mel", "model", "register", FNA / "cards" / "small_mlp.yaml", "--cube", "mlp-cube")
        assert ended.code == 0
        shown = at("eve", "model", "show", "small-mlp").out
        assert "One hidden layer of 8 units" in shown
        assert "small-mlp" in at("eve", "model", "list").out

    def test_a_card_that_lacks_something_is_seven_and_names_it(self, at: Assay, tmp_path: Path) -> None:
        card = tmp_path / "card.yaml"
        card.write_text("name: half-a-card\ntitle: Half\n", encoding="utf-8")
        ended = at("mel", "model", "register", card, "--cube", "logistic-regression-cube")
        assert ended.code == 7
        assert "intended_use" in ended.err

    def test_a_card_that_names_its_cube_itself_is_seven(self, at: Assay, tmp_path: Path) -> None:
        card = tmp_path / "card.yaml"
        card.write_text(
            (FNA / "cards" / "small_mlp.yaml").read_text(encoding="utf-8") + "cube_id: 1\n", encoding="utf-8"
        )
        ended = at("mel", "model", "register", card, "--cube", "logistic-regression-cube")
        assert ended.code == 7
        assert "'cube_id'" in ended.err

    @pytest.mark.parametrize("content", ["a: [", "a: 1\na: 2\n", "x: !!python/object:os.system {}"])
    def test_what_is_not_plain_yaml_is_seven_with_the_line(self, at: Assay, tmp_path: Path, content: str) -> None:
        card = tmp_path / "card.yaml"
        card.write_text(content, encoding="utf-8")
        ended = at("mel", "model", "register", card, "--cube", "logistic-regression-cube")
        assert ended.code == 7
        assert "line" in ended.err

    def test_a_card_that_is_not_there_is_seven(self, at: Assay) -> None:
        ended = at("mel", "model", "register", "/nowhere/card.yaml", "--cube", "logistic-regression-cube")
        assert ended.code == 7
        assert "'/nowhere/card.yaml'" in ended.err


@pytest.fixture(scope="module")
def script(registry: Federation, tmp_path_factory: pytest.TempPathFactory) -> str:
    pack = tmp_path_factory.mktemp("script") / "pack.tar"
    pack_folder(ROOT / "cubes" / "templates" / "script", pack)
    with registry.client("ada") as ada:
        name = "line-counter"
        ada.cubes.create(CubeCreate(name=name, kind=CubeKind.SCRIPT, pack_digest=ada.blobs.upload(pack)))
    return name


class TestRegisterFiles:
    """A model without a container of its own: somebody's script runs its files."""

    @pytest.fixture
    def files(self, tmp_path: Path) -> Path:
        folder = tmp_path / "files"
        folder.mkdir()
        (folder / "threshold.txt").write_text("3")
        return folder

    def _card(self, tmp_path: Path, name: str) -> Path:
        card = tmp_path / f"{name}.yaml"
        text = (FNA / "cards" / "small_mlp.yaml").read_text(encoding="utf-8")
        card.write_text(text.replace("name: small-mlp", f"name: {name}"), encoding="utf-8")
        return card

    def test_a_script_and_files_become_a_model(self, at: Assay, tmp_path: Path, script: str, files: Path) -> None:
        made = at("mel", "model", "register", self._card(tmp_path, "files-3"), "--script", script, "--files", files)
        assert made.code == 0, made.err
        cube = at("mel", "cube", "show", "files-3", "--json").json
        assert cube["kind"] == "model"
        assert cube["pack_digest"] == at("ada", "cube", "show", script, "--json").json["pack_digest"]
        assert cube["additional_files_digest"] == pack_folder(files, tmp_path / "f.tar").digest

    def test_half_of_it_is_seven(self, at: Assay, tmp_path: Path, script: str) -> None:
        card = self._card(tmp_path, "files-4")
        for words in (["--script", script], [], ["--cube", "logistic-regression-cube", "--script", script]):
            ended = at("mel", "model", "register", card, *words)
            assert ended.code == 7
            assert "both --script and --files" in ended.err

    def test_a_cube_that_is_no_script_is_seven(self, at: Assay, tmp_path: Path, files: Path) -> None:
        card = self._card(tmp_path, "files-5")
        ended = at("mel", "model", "register", card, "--script", "fna-metrics", "--files", files)
        assert ended.code == 7
        assert "not a 'script'" in ended.err


class TestResults:
    def test_the_committee_sees_each_site(self, at: Assay) -> None:
        (found,) = at("ada", "model", "results", "random-forest", "--json").json
        assert (found["dataset_name"], found["cases"]) == ("north-fna", 120)
        assert "north-fna" in at("ada", "model", "results", "random-forest").out

    def test_a_stranger_sees_none(self, at: Assay) -> None:
        assert at("eve", "model", "results", "random-forest").out == "No results that you may see.\n"


Outcomes = Callable[[dict[str, Compatibility | str]], None]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Outcomes:
    """The bench's own work is tested with it; here it answers as it is told, by model."""
    module = ModuleType("cli.processes.bench")
    monkeypatch.setitem(sys.modules, "cli.processes.bench", module)
    import cli.processes  # noqa: PLC0415 - beside its only use

    monkeypatch.setattr(cli.processes, "bench", module, raising=False)

    def answer(outcomes: dict[str, Compatibility | str]) -> None:
        def check_models(
            _client: Any, _benchmark: BenchmarkPublic, models: list[ModelPublic], *, tell: Callable[[str], None]
        ) -> list[Compatibility | str]:
            tell("preparing")
            structlog.get_logger().info("what a workbench says of itself")
            return [outcomes[model.name] for model in models]

        module.check_models = check_models  # type: ignore[attr-defined]  # a module made here

    return answer


def _measured(**metrics: float) -> Compatibility:
    return Compatibility(
        demo_dataset_digest=sha("demo"),
        model_digest=sha("model"),
        metrics_digest=sha("metrics"),
        metrics=metrics,
        finished_at=now(),
    )


class TestCheck:
    def test_writes_a_report_that_an_association_takes(self, at: Assay, bench: Outcomes, tmp_path: Path) -> None:
        measured = _measured(auroc=0.97)
        bench({"random-forest": measured})
        ended = at("mel", "model", "check", "random-forest", "-b", "breast-fna", "--reports", tmp_path / "reports")
        assert ended.code == 0
        assert "0.97" in ended.out
        report = tmp_path / "reports" / "random-forest.breast-fna.compatibility.json"
        assert Compatibility.model_validate_json(report.read_bytes()) == measured

    def test_one_that_fails_is_ten_and_the_others_have_reports(
        self, at: Assay, bench: Outcomes, tmp_path: Path
    ) -> None:
        bench({"random-forest": _measured(auroc=0.97), "logistic-regression": "infer ended with exit code 3"})
        words = ("model", "check", "random-forest", "logistic-regression", "-b", "breast-fna", "--reports", tmp_path)
        ended = at("mel", *words, "--json")
        assert ended.code == 10
        assert [item["problem"] for item in ended.json] == [None, "infer ended with exit code 3"]
        assert [entry.name for entry in tmp_path.glob("*.json")] == ["random-forest.breast-fna.compatibility.json"]
