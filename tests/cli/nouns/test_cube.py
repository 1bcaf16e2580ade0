"""Cubes: understood before they are sent, known by their digest afterwards."""

import json
from pathlib import Path

import pytest

from cubes.digests import digest_of
from cubes.packing import pack_folder
from tests.cli.federation import FNA
from tests.cli.support import Assay, Ended


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A cube whose contract has a typing error."""
    folder = tmp_path / "broken"
    folder.mkdir()
    text = (FNA / "metrics" / "container_config.yaml").read_text(encoding="utf-8")
    (folder / "container_config.yaml").write_text(text.replace("deadline_s", "deadlines"), encoding="utf-8")
    return folder


class TestCheck:
    def test_explains_what_was_understood(self, assay: Assay) -> None:
        out = assay("cube", "check", FNA / "metrics").out
        for expected in (
            "kind",
            "metrics",
            "python3 evaluate.py",
            "predictions, labels",
            "/mlcommons/volumes/predictions",
            "512.0 MiB",
            "auroc",
            "0 to 1",
        ):
            assert expected in out

    def test_the_digest_is_that_of_the_pack(self, assay: Assay, tmp_path: Path) -> None:
        found = assay("cube", "check", FNA / "models" / "sklearn", "--json").json
        assert found["kind"] == "model"
        assert found["pack_digest"] == pack_folder(FNA / "models" / "sklearn", tmp_path / "p.tar").digest

    def test_a_typing_error_is_seven_with_key_and_fix(self, assay: Assay, broken: Path) -> None:
        ended = assay("cube", "check", broken)
        assert ended.code == 7
        assert "deadlines" in ended.err
        assert "look for a typing error" in ended.err

    def test_a_folder_without_a_contract_is_seven(self, assay: Assay, tmp_path: Path) -> None:
        ended = assay("cube", "check", tmp_path)
        assert ended.code == 7
        assert "container_config.yaml" in ended.err


class TestRegister:
    def _register(self, at: Assay, name: str, *words: str | Path) -> Ended:
        return at("mel", "cube", "register", FNA / "models" / "sklearn", "--name", name, *words)

    def test_sends_pack_files_and_parameters(self, at: Assay, tmp_path: Path) -> None:
        parameters = tmp_path / "parameters.yaml"
        parameters.write_text("threshold: 0.5\n", encoding="utf-8")
        files = FNA / "models" / "small_mlp" / "additional_files"
        made = self._register(at, "sent-cube", "--files", files, "--parameters", parameters, "--json").json
        assert made["kind"] == "model"
        assert made["pack_digest"] == pack_folder(FNA / "models" / "sklearn", tmp_path / "a.tar").digest
        assert made["additional_files_digest"] == pack_folder(files, tmp_path / "b.tar").digest
        assert made["parameters_digest"] == digest_of({"threshold": 0.5})

    def test_attaches_what_a_scanner_found(self, at: Assay, tmp_path: Path) -> None:
        report = tmp_path / "report.json"
        report.write_text('{"SchemaVersion": 2, "Results": [{"Vulnerabilities": [{"Severity": "CRITICAL"}]}]}')
        made = self._register(at, "scanned-cube", "--vulnerabilities", report, "--json").json
        assert made["attachments"][0]["counts"]["critical"] == 1
        assert "critical" in at("ada", "cube", "show", "scanned-cube").out

    def test_a_report_that_is_none_is_seven_before_anything_travels(self, at: Assay, tmp_path: Path) -> None:
        report = tmp_path / "report.json"
        report.write_text("<html>")
        ended = self._register(at, "unscanned-cube", "--sbom", report)
        assert ended.code == 7
        assert "not plain JSON" in ended.err
        assert "unscanned-cube" not in at("ada", "cube", "list").out

    def test_says_the_digest_by_which_it_is_known(self, at: Assay) -> None:
        assert "sha256:" in self._register(at, "said-cube").out
        assert "said-cube" in at("ada", "cube", "list", "--kind", "model").out
        assert "said-cube" not in at("ada", "cube", "list", "--kind", "metrics").out

    def test_leaves_nothing_behind(self, at: Assay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        monkeypatch.setattr("tempfile.tempdir", None)
        assert self._register(at, "clean-cube").code == 0
        assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith("assay-")] == []

    def test_another_kind_than_its_tasks_say_is_seven(self, at: Assay) -> None:
        ended = self._register(at, "wrong-kind", "--kind", "metrics")
        assert ended.code == 7
        assert "'model', not a 'metrics'" in ended.err

    def test_a_name_that_is_taken_is_six(self, at: Assay) -> None:
        self._register(at, "taken-cube")
        assert self._register(at, "taken-cube").code == 6

    def test_a_broken_contract_is_not_sent(self, at: Assay, broken: Path) -> None:
        assert at("mel", "cube", "register", broken, "--name", "broken").code == 7
        assert "broken" not in [item["name"] for item in at("mel", "cube", "list", "--json").json]

    def test_parameters_that_are_no_mapping_are_seven(self, at: Assay, tmp_path: Path) -> None:
        parameters = tmp_path / "parameters.yaml"
        parameters.write_text("- a\n- list\n", encoding="utf-8")
        ended = self._register(at, "bad-parameters", "--parameters", parameters)
        assert ended.code == 7
        assert "not a mapping" in ended.err


class TestAttach:
    """A scanner is run again long after a cube was registered."""

    @pytest.fixture
    def cube(self, at: Assay) -> str:
        at("mel", "cube", "register", FNA / "models" / "sklearn", "--name", "rescanned")  # by the first test alone
        return "rescanned"

    def _report(self, folder: Path, *severities: str) -> Path:
        path = folder / "report.json"
        found = [{"Severity": severity} for severity in severities]
        path.write_text(json.dumps({"SchemaVersion": 2, "Results": [{"Vulnerabilities": found}]}), encoding="utf-8")
        return path

    def test_the_newest_is_shown_and_all_are_listed(self, at: Assay, tmp_path: Path, cube: str) -> None:
        for severities in (("CRITICAL",), ("LOW", "LOW")):
            ended = at("mel", "cube", "attach", cube, "--vulnerabilities", self._report(tmp_path, *severities))
            assert ended.code == 0, ended.err
        assert "has the vulnerabilities sha256:" in ended.out
        (shown,) = at("ada", "cube", "show", cube, "--json").json["attachments"]
        assert shown["counts"]["low"] == 2
        listed = at("ada", "cube", "attachments", cube).out
        assert listed.index("1 critical") < listed.index("2 low")

    def test_the_same_again_is_six(self, at: Assay, tmp_path: Path, cube: str) -> None:
        report = self._report(tmp_path, "HIGH")
        at("mel", "cube", "attach", cube, "--vulnerabilities", report)
        ended = at("mel", "cube", "attach", cube, "--vulnerabilities", report)
        assert ended.code == 6
        assert "already" in ended.err

    def test_somebody_else_s_is_four(self, at: Assay, tmp_path: Path, cube: str) -> None:
        ended = at("eve", "cube", "attach", cube, "--vulnerabilities", self._report(tmp_path, "MEDIUM"))
        assert ended.code == 4

    def test_nothing_or_what_is_no_report_is_seven(self, at: Assay, tmp_path: Path, cube: str) -> None:
        assert "nothing to attach" in at("mel", "cube", "attach", cube).err
        broken = tmp_path / "broken.json"
        broken.write_text("<html>", encoding="utf-8")
        ended = at("mel", "cube", "attach", cube, "--sbom", broken)
        assert (ended.code, "not plain JSON" in ended.err) == (7, True)


class TestShow:
    def test_by_name_and_by_number(self, at: Assay) -> None:
        by_name = at("eve", "cube", "show", "fna-metrics", "--json").json
        assert at("eve", "cube", "show", str(by_name["id"]), "--json").json == by_name
        assert "contract" in at("eve", "cube", "show", "fna-metrics").out

    def test_what_is_not_there_is_five(self, at: Assay) -> None:
        assert at("eve", "cube", "show", "nothing").code == 5
        assert at("eve", "cube", "show", "99999").code == 5
