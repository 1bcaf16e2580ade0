"""The reference benchmark's programs, run as a hospital's data would meet them."""

import csv
import hashlib
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import yaml

from api.schemas.benchmarks import BenchmarkCreate
from api.schemas.cubes import ModelCreate
from cubes.breast_fna.split import HOSPITALS, PUBLIC_CASES, read_cases, split, write_export
from cubes.contract import load_contract
from cubes.reports import read_metrics, read_statistics

FNA = Path(__file__).parents[2] / "cubes" / "breast_fna"
MODELS = ["logistic_regression", "random_forest", "gradient_boosting", "k_nearest_neighbours", "small_mlp"]


def _run(program: str, **paths: Path) -> subprocess.CompletedProcess[str]:
    options = [word for name, path in paths.items() for word in (f"--{name.replace('_', '-')}", str(path))]
    return subprocess.run(
        [sys.executable, "-B", str(FNA / program), *options], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A copy of the public demo cases as a hospital exports them."""
    for part in ("data/cases.csv", "labels/labels.csv"):
        target = tmp_path / "raw" / part
        target.parent.mkdir(parents=True)
        target.write_bytes((FNA / "demo_dataset" / "raw" / part).read_bytes())
    return tmp_path / "raw"


@pytest.fixture
def prepare(raw: Path, tmp_path: Path) -> Callable[[], subprocess.CompletedProcess[str]]:
    for name in ("data", "labels", "metadata"):
        (tmp_path / name).mkdir()

    def run() -> subprocess.CompletedProcess[str]:
        return _run(
            "preparator/prepare.py",
            raw_data=raw / "data",
            raw_labels=raw / "labels",
            **{name: tmp_path / name for name in ("data", "labels", "metadata")},
        )

    return run


def _edit(path: Path, change: Callable[[list[list[str]]], Any]) -> None:
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    change(rows)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


class TestPrepare:
    def test_real_cases(self, prepare: Callable[..., Any], tmp_path: Path) -> None:
        assert prepare().returncode == 0
        with (tmp_path / "labels/labels.csv").open() as file:
            labels = list(csv.DictReader(file))
        assert len(labels) == 24
        assert sum(int(row["malignant"]) for row in labels) == 19

    def test_the_same_input_gives_the_same_bytes(self, prepare: Callable[..., Any], tmp_path: Path, raw: Path) -> None:
        prepare()
        first = (tmp_path / "data/cases.csv").read_bytes()
        _edit(raw / "data/cases.csv", lambda rows: rows.__setitem__(slice(1, None), rows[:0:-1]))
        prepare()
        assert (tmp_path / "data/cases.csv").read_bytes() == first

    @pytest.mark.parametrize(
        ("file", "change", "said"),
        [
            ("data/cases.csv", lambda rows: [row.pop(3) for row in rows], "missing column(s) perimeter_mean"),
            ("data/cases.csv", lambda rows: rows[2].__setitem__(1, "99999"), "line 3: radius_mean is outside 1 to 180"),
            ("data/cases.csv", lambda rows: rows[2].__setitem__(1, "12,5"), "line 3: radius_mean is not a number"),
            ("data/cases.csv", lambda rows: rows[2].__setitem__(1, ""), "line 3: radius_mean is empty"),
            ("data/cases.csv", lambda rows: rows[2].__setitem__(1, "nan"), "line 3: radius_mean is outside"),
            ("data/cases.csv", lambda rows: rows.append(rows[1]), "line 26: case_id appears a second time"),
            ("data/cases.csv", lambda rows: rows.__delitem__(slice(1, None)), "empty dataset"),
            ("labels/labels.csv", lambda rows: rows[1].__setitem__(1, "2"), "line 2: diagnosis must be M or B"),
            ("labels/labels.csv", lambda rows: rows.pop(), "1 case(s) have no label"),
            ("labels/labels.csv", lambda rows: rows.append(["X", "M"]), "1 label(s) belong to no case"),
        ],
    )
    def test_what_is_wrong_is_said(
        self, prepare: Callable[..., Any], raw: Path, file: str, change: Callable[..., Any], said: str
    ) -> None:
        _edit(raw / file, change)
        result = prepare()
        assert result.returncode == 1
        assert said in result.stderr
        assert "Traceback" not in result.stderr
        assert list((raw.parent / "data").iterdir()) == []

    def test_everything_that_is_wrong_is_said_at_once(self, prepare: Callable[..., Any], raw: Path) -> None:
        _edit(raw / "data/cases.csv", lambda rows: [row.__setitem__(1, "x") for row in rows[1:]])
        assert prepare().stderr.count("error:") == 21

    def test_a_missing_file_is_named(self, prepare: Callable[..., Any], raw: Path) -> None:
        (raw / "labels/labels.csv").unlink()
        assert "labels.csv is missing" in prepare().stderr

    def test_messages_name_no_case(self, prepare: Callable[..., Any], raw: Path) -> None:
        _edit(raw / "data/cases.csv", lambda rows: rows[2].__setitem__(1, "x"))
        assert "FNA-" not in prepare().stderr


class TestSanityAndStatistics:
    def _paths(self, tmp_path: Path) -> dict[str, Path]:
        return {name: tmp_path / name for name in ("data", "labels")}

    def test_what_was_prepared_is_sane(self, prepare: Callable[..., Any], tmp_path: Path) -> None:
        prepare()
        assert _run("preparator/sanity_check.py", **self._paths(tmp_path)).returncode == 0

    @pytest.mark.parametrize(
        ("file", "change"),
        [
            ("data/cases.csv", lambda rows: rows[1].__setitem__(2, "1e9")),
            ("data/cases.csv", lambda rows: rows.pop()),
            ("data/cases.csv", lambda rows: rows.insert(1, rows.pop())),
            ("labels/labels.csv", lambda rows: rows[1].__setitem__(1, "M")),
        ],
    )
    def test_what_was_edited_is_not(
        self, prepare: Callable[..., Any], tmp_path: Path, file: str, change: Callable[..., Any]
    ) -> None:
        prepare()
        _edit(tmp_path / file, change)
        assert _run("preparator/sanity_check.py", **self._paths(tmp_path)).returncode == 1

    def test_statistics_describe_and_do_not_show(self, prepare: Callable[..., Any], tmp_path: Path) -> None:
        prepare()
        report = tmp_path / "statistics.yaml"
        assert _run("preparator/statistics_report.py", **self._paths(tmp_path), report=report).returncode == 0
        statistics = read_statistics(report)
        assert (statistics["cases"], statistics["malignant"]) == (24, 19)
        assert set(statistics["features"]["radius_mean"]) == {"mean", "sd", "q10", "median", "q90"}

    @pytest.mark.parametrize("cases", [20, 21, 24])
    def test_no_statistic_is_one_patients_value(
        self, prepare: Callable[..., Any], raw: Path, tmp_path: Path, cases: int
    ) -> None:
        """The median of an odd number of cases would be, and so would be a quantile that falls on a case."""
        for file in ("data/cases.csv", "labels/labels.csv"):
            _edit(raw / file, lambda rows: rows.__delitem__(slice(cases + 1, None)))
        prepare()
        report = tmp_path / "statistics.yaml"
        assert _run("preparator/statistics_report.py", **self._paths(tmp_path), report=report).returncode == 0
        with (tmp_path / "data" / "cases.csv").open(newline="") as prepared:
            rows = list(csv.DictReader(prepared))
        assert len(rows) == cases
        for name, found in read_statistics(report)["features"].items():
            values = sorted(float(row[name]) for row in rows)
            # Rounded to three digits it may look like somebody's value; it is the mean of five cases all the same.
            means = [float(f"{fmean(values[n : n + 5]):.3g}") for n in range(cases - 4)]
            for quantile, share in (("q10", 0.1), ("median", 0.5), ("q90", 0.9)):
                middle = round(share * (cases - 1)) - 2
                assert found[quantile] == means[max(0, min(middle, cases - 5))], (name, quantile)

    def test_the_next_patient_cannot_be_computed_from_two_versions(
        self, prepare: Callable[..., Any], raw: Path, tmp_path: Path
    ) -> None:
        """Two means and two numbers of cases give the values of whoever came in between, if they have digits enough."""

        def means() -> tuple[int, dict[str, float]]:
            prepare()
            report = tmp_path / "statistics.yaml"
            _run("preparator/statistics_report.py", **self._paths(tmp_path), report=report)
            found = read_statistics(report)
            return found["cases"], {name: summary["mean"] for name, summary in found["features"].items()}

        cases, after = means()
        with (tmp_path / "data" / "cases.csv").open(newline="") as prepared:
            everybody = list(csv.DictReader(prepared))
        for file in ("data/cases.csv", "labels/labels.csv"):
            _edit(raw / file, lambda rows: rows.pop())
        _, before = means()
        with (tmp_path / "data" / "cases.csv").open(newline="") as prepared:
            earlier = {row["case_id"] for row in csv.DictReader(prepared)}
        [late] = [row for row in everybody if row["case_id"] not in earlier]
        computed = {name: cases * after[name] - (cases - 1) * before[name] for name in after}
        close = [name for name, value in computed.items() if abs(value / float(late[name]) - 1) < 0.001]
        assert len(close) <= len(computed) / 10, close

    def test_few_cases_are_only_counted(self, prepare: Callable[..., Any], raw: Path, tmp_path: Path) -> None:
        for file in ("data/cases.csv", "labels/labels.csv"):
            _edit(raw / file, lambda rows: rows.__delitem__(slice(10, None)))
        prepare()
        report = tmp_path / "statistics.yaml"
        _run("preparator/statistics_report.py", **self._paths(tmp_path), report=report)
        assert set(read_statistics(report)) == {"cases", "note"}

    @pytest.mark.parametrize("malignant", [0, 4, 5, 20])
    def test_a_diagnosis_of_few_is_not_counted(
        self, prepare: Callable[..., Any], raw: Path, tmp_path: Path, malignant: int
    ) -> None:
        def diagnose(rows: list[list[str]]) -> None:
            column = rows[0].index("diagnosis")
            for number, row in enumerate(rows[1:]):
                row[column] = "M" if number < malignant else "B"

        _edit(raw / "labels/labels.csv", diagnose)
        prepare()
        report = tmp_path / "statistics.yaml"
        _run("preparator/statistics_report.py", **self._paths(tmp_path), report=report)
        found = read_statistics(report)
        counted = {"malignant", "benign", "malignant_share"} & set(found)
        assert bool(counted) == (5 <= malignant <= 24 - 5)
        assert ("note" in found) != bool(counted)


class TestEvaluate:
    def _evaluate(self, tmp_path: Path, pairs: list[tuple[str, int]]) -> subprocess.CompletedProcess[str]:
        for name in ("predictions", "labels", "local"):
            (tmp_path / name).mkdir(exist_ok=True)
        rows = "".join(f"c{n},{p}\n" for n, (p, _) in enumerate(pairs) if p)
        (tmp_path / "predictions/predictions.csv").write_text("case_id,probability\n" + rows)
        rows = "".join(f"c{n},{label}\n" for n, (_, label) in enumerate(pairs))
        (tmp_path / "labels/labels.csv").write_text("case_id,malignant\n" + rows)
        return _run(
            "metrics/evaluate.py",
            predictions=tmp_path / "predictions",
            labels=tmp_path / "labels",
            report=tmp_path / "metrics.yaml",
            local_outputs=tmp_path / "local",
        )

    def _metrics(self, tmp_path: Path) -> dict[str, float]:
        return read_metrics(tmp_path / "metrics.yaml", load_contract(FNA / "metrics").metrics)

    def test_numbers_that_scikit_learn_gives(self, tmp_path: Path) -> None:
        """Oracle: sklearn.metrics 1.9.1 on these ten cases, ties included."""
        probabilities = [0.1, 0.4, 0.4, 0.8, 0.35, 0.9, 0.5, 0.2, 0.5, 0.7]
        labels = [0, 0, 1, 1, 1, 1, 0, 0, 1, 0]
        assert self._evaluate(tmp_path, list(zip(map(str, probabilities), labels, strict=True))).returncode == 0
        assert self._metrics(tmp_path) == pytest.approx(
            {
                "auroc": 0.72,
                "auprc": 0.7592857143,
                "accuracy": 0.6,
                "sensitivity": 0.6,
                "specificity": 0.6,
                "brier": 0.20325,
            }
        )

    def test_one_class_leaves_what_is_undefined_undefined(self, tmp_path: Path) -> None:
        self._evaluate(tmp_path, [("0.9", 1), ("0.2", 1)])
        metrics = self._metrics(tmp_path)
        assert math.isnan(metrics["auroc"])
        assert math.isnan(metrics["specificity"])
        assert metrics["sensitivity"] == 0.5

    @pytest.mark.parametrize(
        ("pairs", "said"),
        [
            ([("0.9", 1), ("", 0)], "1 case(s) have no prediction"),
            ([("nan", 1), ("0.1", 0)], "1 prediction(s) are not probabilities"),
            ([("1.5", 1), ("0.1", 0)], "1 prediction(s) are not probabilities"),
            ([("0.9\nc0,0.1", 1), ("0.1", 0)], "predictions.csv has 1 case(s) more than once"),
        ],
    )
    def test_predictions_that_do_not_fit(self, tmp_path: Path, pairs: list[tuple[str, int]], said: str) -> None:
        result = self._evaluate(tmp_path, pairs)
        assert result.returncode != 0
        assert said in result.stderr

    def test_cases_stay_in_the_local_outputs(self, tmp_path: Path) -> None:
        self._evaluate(tmp_path, [("0.9", 1), ("0.2", 0)])
        assert "c0" in (tmp_path / "local/cases.csv").read_text()
        assert "c0" not in (tmp_path / "metrics.yaml").read_text()


class TestSplit:
    @pytest.fixture
    def wdbc(self, tmp_path: Path) -> Path:
        """As many cases as the real file has, in its layout."""
        rows = ["569,30,malignant,benign"]
        rows += [",".join([f"{n}.5"] * 30 + [str(int(n % 8 >= 3))]) for n in range(569)]
        (tmp_path / "wdbc.csv").write_text("\n".join(rows) + "\n")
        return tmp_path / "wdbc.csv"

    def test_parts_are_disjoint_and_together_everything(self, wdbc: Path) -> None:
        public, hospitals = split(read_cases(wdbc))
        everything = [case.case_id for part in (public, *hospitals) for case in part]
        assert len(everything) == len(set(everything)) == 569
        assert len(public) == PUBLIC_CASES
        assert [len(part) for part in hospitals] == [*(size for _, _, size, _ in HOSPITALS), 80]

    def test_hospitals_differ_in_their_cases(self, wdbc: Path) -> None:
        _, hospitals = split(read_cases(wdbc))
        shares = [sum(case.malignant for case in part) / len(part) for part in hospitals]
        assert shares[0] < shares[1]

    def test_an_export_holds_what_the_file_held(self, wdbc: Path, tmp_path: Path) -> None:
        cases = read_cases(wdbc)[:3]
        write_export(cases, tmp_path / "export")
        assert (tmp_path / "export/data/cases.csv").read_text().splitlines()[1].startswith("FNA-0001,0.5,")
        assert (tmp_path / "export/labels/labels.csv").read_text().splitlines()[1] == "FNA-0001,M"


class TestDescribe:
    def test_the_specification_is_complete(self) -> None:
        specification = yaml.safe_load((FNA / "benchmark.yaml").read_text())
        BenchmarkCreate.model_validate(
            {
                **specification,
                "metrics": [metric.model_dump() for metric in load_contract(FNA / "metrics").metrics],
                "preparator_cube_id": 1,
                "metrics_cube_id": 2,
                "demo_dataset_digest": "sha256:" + "0" * 64,
            }
        )

    @pytest.mark.parametrize("model", MODELS)
    def test_a_model_has_a_card_and_weights_that_are_what_they_say(self, model: str) -> None:
        ModelCreate.model_validate({**yaml.safe_load((FNA / f"cards/{model}.yaml").read_text()), "cube_id": 1})
        digest, path = (FNA / "models" / model / "SHA256SUMS").read_text().split()
        assert hashlib.sha256((FNA / "models" / model / path).read_bytes()).hexdigest() == digest
