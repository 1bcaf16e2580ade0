"""What cubes write is read as what strangers write."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cubes.digests import canonical, digest_of, tag_non_finite, untag_non_finite
from cubes.errors import ReportError
from cubes.metrics import MetricSchema
from cubes.reports import read_metrics, read_more, read_statistics

SCHEMAS = [MetricSchema(name="auroc", minimum=0, maximum=1), MetricSchema(name="loss")]


@pytest.fixture
def report(tmp_path: Path) -> Path:
    return tmp_path / "report.yaml"


class TestMetrics:
    @pytest.mark.parametrize(
        ("text", "auroc", "loss"),
        [
            ("auroc: 0.5\nloss: 3", 0.5, 3.0),
            ("{auroc: 1, loss: .inf}", 1, math.inf),
            ("auroc: 0\nloss: float:-inf", 0, -math.inf),
        ],
    )
    def test_numbers(self, report: Path, text: str, auroc: float, loss: float) -> None:
        report.write_text(text)
        assert read_metrics(report, SCHEMAS) == {"auroc": auroc, "loss": loss}

    @pytest.mark.parametrize("text", [".nan", "float:nan"])
    def test_undefined_is_a_value(self, report: Path, text: str) -> None:
        report.write_text(f"auroc: {text}\nloss: 0")
        assert math.isnan(read_metrics(report, SCHEMAS)["auroc"])

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("auroc: 0.5", "'loss' is missing"),
            ("auroc: 1.5\nloss: 1", "outside 0.0 to 1.0"),
            ("auroc: high\nloss: 1", "not a number"),
            ("auroc: true\nloss: 1", "not a number"),
            ("- 1", "not a mapping"),
            ("auroc: [", "not plain YAML"),
            ("", "not a mapping"),
            ("a: " + "x" * 70_000, "larger than"),
        ],
    )
    def test_what_does_not_fit(self, report: Path, text: str, said: str) -> None:
        report.write_text(text)
        with pytest.raises(ReportError, match=said):
            read_metrics(report, SCHEMAS)

    def test_what_the_benchmark_does_not_name_is_no_metric_of_it(self, report: Path) -> None:
        report.write_text("auroc: 0.5\nloss: 1\nf1: .nan\nby_age: {old: 0.4}")
        assert read_metrics(report, SCHEMAS) == {"auroc": 0.5, "loss": 1.0}
        more = read_more(report, SCHEMAS)
        assert (set(more), more["by_age"]) == ({"f1", "by_age"}, {"old": 0.4})

    def test_a_missing_metric_is_named_beside_what_there_is(self, report: Path) -> None:
        report.write_text("auroc: 0.5\nlos: 1")
        with pytest.raises(ReportError, match=r"'loss' is missing.*the report has auroc, los$"):
            read_metrics(report, SCHEMAS)

    def test_a_missing_file(self, report: Path) -> None:
        with pytest.raises(ReportError, match="cannot be read"):
            read_metrics(report, SCHEMAS)

    def test_bytes_that_are_no_text(self, report: Path) -> None:
        report.write_bytes(b"\xff\xfe\x00")
        with pytest.raises(ReportError, match="cannot be read"):
            read_metrics(report, SCHEMAS)

    def test_a_folder_with_one_report(self, tmp_path: Path, report: Path) -> None:
        report.write_text("auroc: 0.5\nloss: 1")
        assert read_metrics(tmp_path, SCHEMAS)["auroc"] == 0.5


class TestStatistics:
    def test_plain_nested_data(self, report: Path) -> None:
        report.write_text("cases: 3\nage: {mean: 50.5, bins: [1, 2]}")
        assert read_statistics(report) == {"cases": 3, "age": {"mean": 50.5, "bins": [1, 2]}}

    @pytest.mark.parametrize("text", ["note: " + "x" * 201, "a: [" + "'" + "x" * 300 + "']", "born: 1990-01-01"])
    def test_what_could_be_a_record_is_refused(self, report: Path, text: str) -> None:
        report.write_text(text)
        with pytest.raises(ReportError):
            read_statistics(report)

    @pytest.mark.parametrize("text", ['"cases\\U000e004a": 1', 'note: "37\\u202e%"', '"a\\r\\rb": {}', 'a: ["\\x00"]'])
    def test_what_nobody_sees_is_refused(self, report: Path, text: str) -> None:
        report.write_text(text)
        with pytest.raises(ReportError, match="see"):
            read_statistics(report)


_texts = st.text(max_size=9).filter(lambda text: "float:" not in text)
_plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats() | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=9,
)


@given(_plain)
def test_tags_come_back_and_digests_are_stable(value: object) -> None:
    assert repr(untag_non_finite(tag_non_finite(value))) == repr(value)
    assert digest_of(value) == digest_of(untag_non_finite(tag_non_finite(value)))
    assert canonical(value) == canonical(tag_non_finite(value))
