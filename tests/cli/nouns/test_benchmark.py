"""Benchmarks from a draft to a leaderboard that was released, decided at gates of the registry."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.federation import FNA, Federation
from tests.cli.support import Assay, Ended


@pytest.fixture
def specification(tmp_path: Path) -> Callable[[str], Path]:
    """The reference benchmark's specification under another name."""

    def write(name: str, extra: str = "") -> Path:
        text = (FNA / "benchmark.yaml").read_text(encoding="utf-8").replace("name: breast-fna", f"name: {name}")
        path = tmp_path / f"{name}.yaml"
        path.write_text(text + extra, encoding="utf-8")
        return path

    return write


@pytest.fixture
def register(at: Assay, specification: Callable[[str], Path]) -> Callable[[str], Ended]:
    """Register a benchmark of Ada's as a draft."""

    def run(name: str) -> Ended:
        words = ("--preparator", "fna-preparator", "--metrics", "fna-metrics", "--demo-dataset", FNA / "demo_dataset")
        return at("ada", "benchmark", "register", specification(name), *words, "--json")

    return run


class TestRegister:
    def test_takes_its_metrics_from_the_metrics_cube(self, register: Callable[[str], Ended]) -> None:
        made = register("draft-one").json
        assert made["state"] == "draft"
        assert [metric["name"] for metric in made["metrics"]][:2] == ["auroc", "auprc"]
        assert made["demo_dataset_digest"] != "sha256:" + "0" * 64

    def test_a_key_that_is_not_known_is_seven_before_anything_is_sent(
        self, at: Assay, specification: Callable[..., Path]
    ) -> None:
        spec = specification("draft-two", "surprise: 1\n")
        words = ("--preparator", "fna-preparator", "--metrics", "fna-metrics", "--demo-dataset", "/nowhere")
        ended = at("ada", "benchmark", "register", spec, *words)
        assert ended.code == 7
        assert "surprise" in ended.err

    def test_a_cube_that_is_not_there_is_five(self, at: Assay, specification: Callable[..., Path]) -> None:
        words = ("--preparator", "nothing", "--metrics", "fna-metrics", "--demo-dataset", FNA / "demo_dataset")
        assert at("ada", "benchmark", "register", specification("draft-three"), *words).code == 5

    def test_a_draft_can_be_rewritten(self, at: Assay, register: Callable[[str], Ended], tmp_path: Path) -> None:
        register("draft-four")
        change = tmp_path / "change.yaml"
        change.write_text("title: A better title\n", encoding="utf-8")
        assert at("ada", "benchmark", "update", "draft-four", change).code == 0
        assert at("ada", "benchmark", "show", "draft-four", "--json").json["title"] == "A better title"


class TestApprove:
    def test_an_administrator_decides_what_was_shown(
        self, at: Assay, register: Callable[[str], Ended], registry: Federation
    ) -> None:
        register("to-approve")
        gate = at("ada", "benchmark", "submit", "to-approve", "--json").json
        assert str(gate["id"]) in [str(item["id"]) for item in at("root", "gate", "list", "--json").json]
        shown = at("root", "gate", "show", str(gate["id"])).out
        assert gate["digest"] in shown
        assert "to-approve" in shown
        ended = at("root", "gate", "approve", str(gate["id"]), "-r", "well described", "--yes")
        assert ended.code == 0
        assert gate["digest"] in ended.out
        assert "approve by Root" in at("root", "gate", "show", str(gate["id"])).out
        registry.decide(registry.gate_of("root", kind="benchmark", subject_id=gate["subject_id"]))
        assert at("eve", "benchmark", "show", "to-approve", "--json").json["state"] == "approved"

    def test_who_asked_does_not_decide(self, at: Assay, register: Callable[[str], Ended]) -> None:
        register("own-request")
        gate = at("ada", "benchmark", "submit", "own-request", "--json").json
        assert at("ada", "gate", "approve", str(gate["id"]), "-r", "mine", "--yes").code == 4

    def test_another_digest_is_six(self, at: Assay, register: Callable[[str], Ended]) -> None:
        register("other-digest")
        gate = at("ada", "benchmark", "submit", "other-digest", "--json").json
        ended = at("root", "gate", "approve", str(gate["id"]), "-r", "x", "--digest", "sha256:" + "0" * 64)
        assert ended.code == 6
        assert gate["digest"] in ended.err

    def test_nothing_is_left_out_of_a_gate_of_the_registry(self, at: Assay, register: Callable[[str], Ended]) -> None:
        register("whole-gate")
        gate = at("ada", "benchmark", "submit", "whole-gate", "--json").json
        assert at("root", "gate", "approve", str(gate["id"]), "-r", "x", "--yes", "--withhold", "1").code == 7
        assert at("root", "gate", "show", "abcd").code == 7

    def test_submitting_twice_is_six(self, at: Assay, register: Callable[[str], Ended]) -> None:
        register("twice")
        at("ada", "benchmark", "submit", "twice")
        assert at("ada", "benchmark", "submit", "twice").code == 6


class TestRun:
    @pytest.fixture
    def approved(self, register: Callable[[str], Ended], registry: Federation) -> Callable[[str], None]:
        def make(name: str) -> None:
            register(name)
            with registry.client("ada") as ada:
                (found,) = ada.benchmarks.list(name=name).items
                registry.decide(ada.benchmarks.submit(found.id), "root")

        return make

    def test_the_committee_is_named_by_address(self, at: Assay, approved: Callable[[str], None]) -> None:
        approved("with-committee")
        assert at("ada", "benchmark", "committee", "add", "with-committee", "bob@university.example").code == 0
        listed = at("ada", "benchmark", "committee", "list", "with-committee").out
        assert "ada@university.example" in listed
        assert "bob@university.example" in listed
        removed = at("ada", "benchmark", "committee", "remove", "with-committee", "bob@university.example")
        assert "no longer" in removed.out
        assert at("ada", "benchmark", "committee", "add", "with-committee", "nobody@x.example").code == 5

    def test_a_policy_changes_only_what_is_named(self, at: Assay, approved: Callable[[str], None]) -> None:
        approved("with-policy")
        words = ("--models", "allow_list", "--allow-model", "mel@company.example")
        changed = at("ada", "benchmark", "policy", "with-policy", *words, "--json").json
        assert changed["model_policy"] == {
            "auto_approval": "allow_list",
            "allow_list": ["mel@company.example"],
            "quorum": 1,
        }
        assert changed["dataset_policy"]["auto_approval"] == "never"
        again = at("ada", "benchmark", "policy", "with-policy", "--datasets", "always", "--json").json
        assert again["model_policy"] == changed["model_policy"]
        assert again["dataset_policy"]["auto_approval"] == "always"
        assert at("ada", "benchmark", "policy", "with-policy").code == 0

    def test_another_metrics_cube(self, at: Assay, approved: Callable[[str], None]) -> None:
        approved("with-metrics")
        at("ada", "cube", "register", FNA / "metrics", "--name", "second-metrics")
        ended = at("ada", "benchmark", "replace-metrics", "with-metrics", "second-metrics")
        assert ended.code == 0
        assert "'second-metrics'" in ended.out

    def test_closing(self, at: Assay, approved: Callable[[str], None]) -> None:
        approved("to-close")
        assert at("eve", "benchmark", "close", "to-close").code == 4
        assert at("ada", "benchmark", "close", "to-close").code == 0
        assert "closed" in at("eve", "benchmark", "list").out


class TestLeaderboard:
    def test_the_committee_sees_it_as_it_is(self, at: Assay) -> None:
        out = at("ada", "benchmark", "leaderboard", "breast-fna").out
        lines = out.splitlines()
        assert "ranked by auroc (higher is better)" in lines[0]
        assert lines[1].split()[:3] == ["rank", "model", "auroc"]
        assert [line.split()[:2] for line in lines[3:5]] == [["1", "random-forest"], ["2", "logistic-regression"]]
        assert lines[3].split()[2:6] == ["0.92", "0.92", "to", "0.92"]
        assert "1 site(s), 120 cases." in lines
        assert "Of all cases together: accuracy, brier." in lines
        assert "Means over datasets, weighted by cases: auprc, auroc, sensitivity, specificity." in lines
        assert "hold a difference against the range of auroc over datasets" in " ".join(lines)

    def test_for_machines(self, at: Assay) -> None:
        board = at("ada", "benchmark", "leaderboard", "breast-fna", "--json").json
        assert [row["model_name"] for row in board["rows"]] == ["random-forest", "logistic-regression"]

    def test_for_spreadsheets(self, at: Assay) -> None:
        rows = list(csv.DictReader(io.StringIO(at("ada", "benchmark", "leaderboard", "breast-fna", "--csv").out)))
        assert [(row["rank"], row["model"], row["auroc"]) for row in rows] == [
            ("1", "random-forest", "0.92"),
            ("2", "logistic-regression", "0.9"),
        ]

    def test_others_see_it_once_it_was_released(self, at: Assay, registry: Federation) -> None:
        assert at("eve", "benchmark", "leaderboard", "breast-fna").code == 5
        gate = at("ada", "benchmark", "release", "breast-fna", "--json").json
        assert "random-forest" in at("bob", "gate", "show", str(gate["id"])).out
        assert at("bob", "gate", "approve", str(gate["id"]), "-r", "go", "--yes").code == 0
        registry.decide(registry.gate_of("bob", kind="leaderboard"))
        assert "random-forest" in at("eve", "benchmark", "leaderboard", "breast-fna").out
        assert ", released 20" in at("ada", "benchmark", "leaderboard", "breast-fna", "--released").out.splitlines()[0]
