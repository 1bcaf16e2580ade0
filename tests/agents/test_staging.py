"""What people say of the cases of a staged preparation."""

from pathlib import Path

import pytest

from agents import staging
from agents.staging import Stage, mark_case, marks_of, write_stage
from tests.meanwhile import second_at

REPORT = """
status: {a: -1, b: -1}
status_name: {a: x, b: x}
comment: {a: c, b: c}
data_path: {a: /d, b: /d}
labels_path: {a: /l, b: /l}
"""


class TestMark:
    def test_of_two_at_once_both_count(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "report.yaml").write_text(REPORT)
        write_stage(tmp_path, Stage(runs=1, waits=True))
        second = second_at(
            monkeypatch, staging, "write_private", lambda: mark_case(tmp_path, "b", by="Bob", note="fine")
        )
        mark_case(tmp_path, "a", by="Ann", note="fine")
        second.result(60)
        assert {case: mark.by for case, mark in marks_of(tmp_path).items()} == {"a": "Ann", "b": "Bob"}
