"""Associations: asked for by one side, decided by the other, their history kept."""

from pathlib import Path

import pytest

from api.schemas.benchmarks import Compatibility
from api.storage.columns import now
from tests.cli.federation import FNA, Federation
from tests.cli.support import Assay, Ended


@pytest.fixture
def report(registry: Federation, tmp_path: Path) -> Path:
    """A compatibility report of Mel's logistic regression, as `assay model check` writes it."""
    with registry.client("ada") as ada:
        benchmark = ada.benchmarks.get(registry.ids["benchmark"])
        cube = ada.cubes.get(ada.models.get(registry.ids["logistic-regression"]).cube_id)
        measured = Compatibility(
            demo_dataset_digest=benchmark.demo_dataset_digest,
            model_digest=cube.pack_digest,
            metrics_digest=ada.cubes.get(benchmark.metrics_cube_id).pack_digest,
            metrics={metric.name: 0.9 for metric in benchmark.metrics},
            finished_at=now(),
        )
    path = tmp_path / "report.json"
    path.write_text(measured.model_dump_json(), encoding="utf-8")
    return path


def _ask(at: Assay, report: Path, name: str) -> Ended:
    """Register another model of Mel's with the reference cube, and ask for its place."""
    card = report.parent / f"{name}.yaml"
    text = (FNA / "cards" / "logistic_regression.yaml").read_text(encoding="utf-8")
    card.write_text(text.replace("name: logistic-regression", f"name: {name}"), encoding="utf-8")
    made = at("mel", "model", "register", card, "--cube", "logistic-regression-cube")
    assert made.code == 0, made.err
    return at("mel", "association", "request", name, "-b", "breast-fna", "--compatibility", report, "--json")


class TestRequest:
    def test_finds_out_what_is_meant(self, at: Assay, report: Path) -> None:
        asked = _ask(at, report, "model-a").json
        assert (asked["kind"], asked["subject_name"], asked["state"]) == ("model", "model-a", "requested")
        assert "model-a" in at("ada", "association", "list", "--state", "requested").out

    def test_twice_is_six(self, at: Assay, report: Path) -> None:
        _ask(at, report, "model-b")
        again = at("mel", "association", "request", "model-b", "-b", "breast-fna", "--compatibility", report)
        assert again.code == 6

    def test_what_is_not_there_is_five(self, at: Assay) -> None:
        ended = at("mel", "association", "request", "nothing", "-b", "breast-fna")
        assert ended.code == 5
        assert "neither a model nor a dataset" in ended.err
        assert at("mel", "association", "request", "random-forest", "-b", "nothing", "--kind", "model").code == 5

    def test_a_report_that_is_none_is_seven(self, at: Assay, tmp_path: Path) -> None:
        path = tmp_path / "report.json"
        path.write_text('{"metrics": {}}', encoding="utf-8")
        words = ("association", "request", "random-forest", "-b", "breast-fna", "--compatibility", path)
        ended = at("mel", *words)
        assert ended.code == 7
        assert "demo_dataset_digest" in ended.err

    def test_somebody_elses_model_is_four(self, at: Assay, report: Path) -> None:
        words = ("association", "request", "random-forest", "-b", "breast-fna", "--compatibility", report)
        assert at("eve", *words).code == 4


class TestDecide:
    def test_the_committee_reads_the_report_before_it_decides(
        self, at: Assay, report: Path, registry: Federation
    ) -> None:
        asked = _ask(at, report, "model-c").json
        gate = registry.gate_of("ada", kind="association", subject_id=asked["id"])
        shown = at("ada", "gate", "show", str(gate.id)).out
        assert "model-c" in shown
        assert "auroc" in shown
        assert at("mel", "gate", "approve", str(gate.id), "-r", "my own", "--yes").code == 4
        assert at("ada", "gate", "reject", str(gate.id), "-r", "trained on the test set", "--yes").code == 0
        registry.decide(gate)
        history = at("mel", "association", "history", str(asked["id"])).out
        assert "requested" in history
        assert "rejected" in history
        assert "trained on the test set" in history


class TestChange:
    def test_priority_is_for_the_committee(self, at: Assay, registry: Federation) -> None:
        number = str(registry.ids["association:random-forest"])
        assert at("mel", "association", "priority", number, "5").code == 4
        assert at("ada", "association", "priority", number, "5", "--json").json["priority"] == 5
        assert at("ada", "association", "priority", "--json", number, "--", "-5").json["priority"] == -5
        assert at("ada", "association", "priority", number, "5000").code == 2

    def test_withdrawing_takes_a_reason(self, at: Assay, report: Path) -> None:
        number = str(_ask(at, report, "model-d").json["id"])
        assert at("mel", "association", "withdraw", number).code == 2
        assert at("eve", "association", "withdraw", number, "-r", "x").code in {4, 5}
        assert at("mel", "association", "withdraw", number, "-r", "a bug", "--json").json["state"] == "withdrawn"
        changes = at("mel", "association", "history", number, "--json").json
        assert [(change["state"], change["reason"]) for change in changes][-1] == ("withdrawn", "a bug")

    def test_consent_is_given_and_taken_back(self, at: Assay, registry: Federation) -> None:
        number = str(registry.ids["association:random-forest"])
        assert at("ada", "association", "consent", number).code == 4
        assert at("mel", "association", "consent", number, "--json").json["consented_at"]
        assert at("mel", "association", "show", number, "--json").json["consented_at"]
        assert at("mel", "association", "consent", number, "--revoke", "--json").json["consented_at"] is None


class TestList:
    @pytest.mark.parametrize(("kind", "name"), [("model", "random-forest"), ("dataset", "north-fna")])
    def test_narrowed(self, at: Assay, kind: str, name: str) -> None:
        found = at("ada", "association", "list", "-b", "breast-fna", "--kind", kind, "--json").json
        assert name in [item["subject_name"] for item in found]
        assert {item["kind"] for item in found} == {kind}
        assert {item["benchmark_name"] for item in found} == {"breast-fna"}
