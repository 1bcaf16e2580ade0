"""What gates show in Markdown: strangers' words as words, and what an owner reports of vulnerabilities."""

from typing import Any

import pytest

from flows.describe import describe_cases, describe_evaluation, describe_registration, describe_release

AT = "2026-11-03T08:00:00Z"
CUBE: dict[str, Any] = {"pack_digest": "sha256:" + "a" * 64}


def _evaluation(cube: dict[str, Any]) -> str:
    return describe_evaluation(
        {
            "benchmark": {"title": "B"},
            "dataset": {"name": "d1", "root": "sha256:0"},
            "items": [{"model": "m", "organization": "o", "priority": 0, "cube": cube}],
        }
    )


class TestEvaluation:
    def test_a_model_without_a_report_says_so(self) -> None:
        assert "| no report |" in _evaluation(CUBE)

    def test_counts_by_severity_with_their_day(self) -> None:
        counts = {"critical": 0, "high": 2, "medium": 0, "low": 1}
        report = {"kind": "vulnerabilities", "counts": counts, "dated": "2026-11-02", "attached_at": AT}
        assert "| 2 high, 1 low; 2026-11-02, attached 2026-11-03 |" in _evaluation({**CUBE, "attachments": [report]})

    def test_a_report_that_found_nothing_is_not_taken_for_none(self) -> None:
        report = {"kind": "vulnerabilities", "counts": {"high": 0}, "dated": None, "attached_at": AT}
        assert "| none found; undated, attached 2026-11-03 |" in _evaluation({**CUBE, "attachments": [report]})


class TestRegistration:
    def _described(self, statistics: dict[str, Any]) -> str:
        roots = dict.fromkeys(("dataset", "data", "labels", "metadata"), "sha256:0")
        dataset = {"name": "d1", "title": "D", "cases": 40}
        return describe_registration(
            {
                "benchmark": {"id": 1, "name": "b", "title": "B"},
                "dataset": dataset,
                "preparator": {"name": "p", **CUBE},
                "roots": roots,
                "sanity_check": "passed",
                "statistics": statistics,
            }
        )

    @pytest.mark.parametrize("nothing", [{}, []])
    def test_a_name_with_nothing_behind_it_is_shown(self, nothing: object) -> None:
        assert "Jane Doe" in self._described({"Jane Doe": nothing})

    def test_letters_that_nobody_sees_are_shown_by_number(self) -> None:
        assert r"cases{U+E004A}" in self._described({"cases\U000e004a": 40})

    def test_nothing_ends_the_row(self) -> None:
        ends = self._described({"a\r\rReviewed and cleared.\n\nb": 1}).splitlines()
        assert "| a  Reviewed and cleared.  b | 1 |" in ends

    def test_digits_that_are_left_out_are_marked(self) -> None:
        described = self._described({"mean": 0.93120012345, "sd": 0.5, "q10": 12.3456})
        assert "| mean | 0.9312…" in described
        assert "| sd | 0.5 |" in described
        assert "| q10 | 12.3456 |" in described


class TestRelease:
    def test_the_benchmarks_are_named_to_whose_committees_the_numbers_go(self) -> None:
        item = {"item": "1", "model": "m", "dataset": "d1", "cases": 3, "metrics": {"auroc": 0.5}}
        found = describe_release(
            {"items": [{**item, "benchmark": {"id": 1, "name": name}} for name in ("fna", "a_b", "fna")]}
        )
        assert r"the committee of **a\_b** and of **fna**." in found
        assert "| 1 | fna | m | d1 | 3 |" in found


class TestCases:
    def test_comments_of_a_preparator_are_words(self) -> None:
        found = describe_cases(
            {
                "dataset": {"name": "d1"},
                "open": 1,
                "counts": {"needs review": 1},
                "cases": [["c1", "needs review", "<img src=x> [here](http://x)"]],
            }
        )
        assert "<img" not in found
        assert "](http" not in found
        assert "1 cases wait" in found
