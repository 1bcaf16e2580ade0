"""Reports of staged preparations, as strangers write them."""

from pathlib import Path

import pytest

from cubes.case_report import MAX_CASES, MAX_REPORT_BYTES, Case, read_case_report
from cubes.errors import ReportError

GOOD = """
status: {a: 2, b: -1, 7: -1.0}
status_name: {a: done, b: needs review, 7: needs review}
comment: {b: "look at <script>alert(1)</script>"}
data_path: {b: /data/b.csv}
unknown column: {a: 1}
"""


@pytest.fixture
def report(tmp_path: Path) -> Path:
    path = tmp_path / "report.yaml"
    path.write_text(GOOD)
    return path


class TestRead:
    def test_one_case_a_row_whatever_its_name_looks_like(self, report: Path) -> None:
        found = read_case_report(report)
        assert [(case.name, case.status, case.is_open) for case in found.cases] == [
            ("a", 2, False),
            ("b", -1, True),
            ("7", -1, True),
        ]
        assert found.cases[1] == Case(
            "b", -1, "needs review", "look at <script>alert(1)</script>", "/data/b.csv", labels_path=""
        )

    def test_open_cases_and_counts_in_words(self, report: Path) -> None:
        found = read_case_report(report)
        assert [case.name for case in found.open_cases] == ["b", "7"]
        assert found.counts == {"done": 1, "needs review": 2}

    def test_fractions_name_statuses_by_number_alone(self, report: Path) -> None:
        assert read_case_report(report).fractions() == {-1: 0.667, 2: 0.333}

    def test_a_status_without_a_name_is_counted_by_its_number(self, report: Path) -> None:
        report.write_text("status: {a: 3}")
        assert read_case_report(report).counts == {"3": 1}

    def test_before_the_first_case_it_is_empty(self, report: Path) -> None:
        report.write_text("")
        assert read_case_report(report).cases == ()
        assert read_case_report(report).fractions() == {}

    def test_in_a_folder_of_its_own(self, report: Path) -> None:
        assert len(read_case_report(report.parent).cases) == 3


class TestRefuse:
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("- a\n- b", "not a table"),
            ("status: 3", "not a table"),
            ("comment: {a: b}", "no column 'status'"),
            ("status: {a: done}", "not a whole number"),
            ("status: {a: true}", "not a whole number"),
            ("status: {a: .nan}", "not a whole number"),
            ("status: {a: .inf}", "not a whole number"),
            ("status: {a: 0.5}", "not a whole number"),
            ("status: {a: 100000}", "not a whole number"),
            ("status: &s {a: 1}\ncomment: *s", "aliases"),
            ("status: !!python/object/apply:os.system ['true']", "not plain data"),
            ("status: {a: 1", "cannot be read"),
            ("status: {" + ", ".join(f"c{n}: {n}" for n in range(21)) + "}", "more than 20 different statuses"),
        ],
    )
    def test_what_is_no_table_of_cases(self, report: Path, text: str, said: str) -> None:
        report.write_text(text)
        with pytest.raises(ReportError, match=said):
            read_case_report(report)

    def test_a_link_is_not_followed(self, report: Path, tmp_path: Path) -> None:
        link = tmp_path / "link.yaml"
        link.symlink_to(report)
        with pytest.raises(ReportError, match="cannot be read"):
            read_case_report(link)

    def test_too_many_bytes(self, report: Path) -> None:
        report.write_bytes(b"#" * (MAX_REPORT_BYTES + 1))
        with pytest.raises(ReportError, match="larger than"):
            read_case_report(report)

    def test_too_many_cases(self, report: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("cubes.case_report.MAX_CASES", 2)
        assert MAX_CASES > 2
        with pytest.raises(ReportError, match="more than 2"):
            read_case_report(report)

    def test_what_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(ReportError, match="cannot be read"):
            read_case_report(tmp_path / "none.yaml")

    def test_two_in_one_folder(self, report: Path) -> None:
        (report.parent / "other.yaml").write_text("")
        with pytest.raises(ReportError, match="cannot be read"):
            read_case_report(report.parent)
