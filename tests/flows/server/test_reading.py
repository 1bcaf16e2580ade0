"""What a gate shows, as the tables that people read: all of it, in the order of what they decide about."""

from typing import Any

from api.schemas.sign_in import GateCard
from api.storage.columns import now
from flows.server.pages.reading import Section, as_cell, sections

DIGEST = "sha256:" + "ab12cd34" * 8


def _sections(shown: dict[str, Any], earlier: dict[str, dict[str, Any]] | None = None) -> dict[str, Section]:
    card = GateCard(
        id="1",
        name="release_results",
        title="Send?",
        subject="x",
        shown=shown,
        digest=DIGEST,
        state="open",
        opened_at=now(),
        flow_run_id=None,
        open=True,
        decided=False,
        earlier=earlier or {},
    )
    return {section.title: section for section in sections(card)}


def _words(section: Section) -> list[list[str]]:
    return [[cell.text for cell in row] for row in section.rows]


def _item(number: int, **metrics: Any) -> dict[str, Any]:
    return {"item": str(number), "model": f"net-{number}", "dataset": "north", "metrics": metrics}


class TestResults:
    def test_they_stand_first_one_row_each(self) -> None:
        found = _sections({"benchmark": {"name": "fna"}, "items": [_item(1, auc=0.91234), _item(2, auc=0.5)]})
        assert next(iter(found)) == "results"
        assert [cell.text for cell in found["results"].header] == ["item", "model", "auc"]
        assert _words(found["results"]) == [["1", "net-1", "0.9123"], ["2", "net-2", "0.5"]]

    def test_what_all_share_is_said_once(self) -> None:
        found = _sections({"items": [_item(1, auc=0.9), _item(2, auc=0.9)]})
        assert _words(found["results: the same for all 2"]) == [["dataset", "north"]]
        assert "auc" in [cell.text for cell in found["results"].header]

    def test_of_one_alone_only_its_numbers_are_in_the_row(self) -> None:
        """All that is decided about in one line would be wider than any screen."""
        found = _sections({"items": [_item(1, auc=0.9)]})
        assert [cell.text for cell in found["results"].header] == ["item", "model", "auc"]
        assert _words(found["results: besides"]) == [["dataset", "north"]]

    def test_what_changed_since_the_last_release(self) -> None:
        items = [_item(1, auc=0.95, brier=0.1), _item(2, auc=0.5)]
        found = _sections({"items": items}, {"1": {"auc": 0.9, "brier": 0.1}, "2": {}})["results"]
        remarks = {cell.text: cell.remark for row in found.rows for cell in row if cell.number}
        assert remarks == {"0.95": "+0.05 (was 0.9)", "0.1": "as before", "0.5": ""}
        assert "Not released before: net-2." in found.notes

    def test_what_is_in_it_no_longer(self) -> None:
        rows = [{"rank": 1, "model_name": "net", "metrics": {"auc": 0.9}}]
        found = _sections({"leaderboard": {"sites": 1, "rows": rows}}, {"net": {"auc": 0.9}, "old": {"auc": 0.8}})
        assert "Released last time, and no longer in it: old." in found["results"].notes
        assert list(found) == ["results", "leaderboard"]

    def test_the_first_release_says_so(self) -> None:
        assert _sections({"items": [_item(1, auc=0.9)]})["results"].notes == ["Nothing of this was released before."]

    def test_a_metric_that_was_not_measured_before(self) -> None:
        found = _sections({"items": [_item(1, auc=0.9, f1=0.8)]}, {"1": {"auc": 0.9}})["results"]
        assert [cell.remark for cell in found.rows[0]] == ["", "", "as before", "new"]

    def test_numbers_of_each_dataset_are_a_table_of_their_own(self) -> None:
        per = {"north/a": {"auc": 0.8}, "south/b": {"auc": 0.9}}
        rows = [{"rank": 1, "model_name": "net", "metrics": {"auc": 0.85}, "per_dataset": per}]
        found = _sections({"leaderboard": {"rows": rows}})
        assert _words(found["results: per dataset"]) == [["net", "north/a", "0.8"], ["net", "south/b", "0.9"]]


class TestStatistics:
    def test_like_rows_are_a_table(self) -> None:
        statistics = {"cases": 120, "features": {"radius": {"mean": 14.1, "sd": 3.5}, "area": {"mean": 655, "sd": 352}}}
        found = _sections({"statistics": statistics})
        assert _words(found["statistics"]) == [["cases", "120"]]
        assert _words(found["statistics: features"]) == [["radius", "14.1", "3.5"], ["area", "655", "352"]]

    def test_unlike_ones_are_names_and_values(self) -> None:
        found = _sections({"statistics": {"a": {"mean": 1}, "b": {"count": 2}}})
        assert _words(found["statistics: a"]) == [["mean", "1"]]
        assert _words(found["statistics: b"]) == [["count", "2"]]

    def test_nothing_is_left_out(self) -> None:
        shown = {
            "a": {"b": {"c": [{"d": 1001, "e": [1002, {"f": 1003}]}]}, "g": 1004},
            "h": [1005, [1006]],
            "items": [{"item": "1007", "deep": {"er": {"est": 1008}}, "rows": [{"x": 1009}]}],
            "empty": {},
            "none": [],
        }
        text = str([_words(section) for section in _sections(shown).values()])
        assert all(str(number) in text.replace(",", "") for number in range(1001, 1010))


class TestCell:
    def test_a_digest_is_short_and_whole_where_one_points(self) -> None:
        cell = as_cell(DIGEST)
        assert (cell.text, cell.whole) == ("ab12cd34ab12", DIGEST)

    def test_a_rounded_number_too(self) -> None:
        assert (as_cell(0.123456).text, as_cell(0.123456).whole) == ("0.1235", "0.123456")
        assert as_cell(0.5).whole == ""
        assert as_cell(1_234_567).text == "1,234,567"

    def test_what_is_no_number_says_so(self) -> None:
        assert as_cell("float:nan").text == "not a number"
        assert as_cell("float:nan").alarming

    def test_what_ran_without_isolation_stands_out(self) -> None:
        assert as_cell("not_isolated", "probe.isolation").alarming
        assert as_cell(False, "isolated").alarming
        assert not as_cell("isolated", "isolation").alarming

    def test_names_say_what_they_are_of(self) -> None:
        rows = [{"item": str(n), "model": f"m{n}", "title": "M", "cube": {"name": f"c{n}", "id": n}} for n in (1, 2)]
        found = _sections({"items": rows})
        assert [cell.text for cell in found["models"].header] == ["item", "model", "cube: name", "number"]

    def test_words_of_machines_are_told_in_ours(self) -> None:
        assert as_cell("not_isolated", "isolation").text == "not isolated"
        assert _words(_sections({"asked": "nobody"})["In short"]) == [["services asked meanwhile", "nobody"]]

    def test_words_for_yes_no_and_nothing(self) -> None:
        values: tuple[Any, ...] = (True, False, None, [], {})
        assert [as_cell(value).text for value in values] == ["yes", "no", "-", "none", "none"]
