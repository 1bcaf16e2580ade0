"""Tables for people, JSON for machines: the same data, and nothing that a terminal would obey."""

import json
import math
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.schemas.people import OrganizationPublic
from cli import output
from cli.output import Column

RECORDS = [
    {"name": "a", "deep": {"er": 1}, "value": 0.123456789},
    {"name": "b", "deep": {"er": 22}, "value": None},
]
COLUMNS = (Column("name", "name"), Column("deeper", ("deep", "er")), Column("value", "value", output.number))


class Colour(StrEnum):
    RED = "red"


class TestList:
    def test_people_get_a_line_each(self, capsys: pytest.CaptureFixture[str]) -> None:
        output.emit_list(RECORDS, COLUMNS, as_json=False, empty="none")
        heading, rule, *rows = capsys.readouterr().out.splitlines()
        assert heading.split() == ["name", "deeper", "value"]
        assert set(rule) == {"─"}
        assert [row.split() for row in rows] == [["a", "1", "0.1235"], ["b", "22", "-"]]

    def test_machines_get_everything(self, capsys: pytest.CaptureFixture[str]) -> None:
        output.emit_list(RECORDS, COLUMNS, as_json=True, empty="none")
        assert json.loads(capsys.readouterr().out) == RECORDS

    def test_nothing_is_said_in_words(self, capsys: pytest.CaptureFixture[str]) -> None:
        output.emit_list([], COLUMNS, as_json=False, empty="Nothing here.")
        assert capsys.readouterr().out == "Nothing here.\n"

    def test_nothing_is_an_empty_array_for_machines(self, capsys: pytest.CaptureFixture[str]) -> None:
        output.emit_list([], COLUMNS, as_json=True, empty="Nothing here.")
        assert json.loads(capsys.readouterr().out) == []

    def test_a_file_gets_whole_lines(self, capsys: pytest.CaptureFixture[str]) -> None:
        long = "word " * 40
        output.emit_list([{"name": long}], COLUMNS[:1], as_json=False, empty="")
        assert long.strip() in capsys.readouterr().out

    def test_a_file_gets_no_spaces_at_the_ends_of_lines(self, capsys: pytest.CaptureFixture[str]) -> None:
        output.emit_list(RECORDS, COLUMNS, as_json=False, empty="")
        output.print_facts({"a": "b", "long name": "c"})
        lines = capsys.readouterr().out.splitlines()
        assert lines == [line.rstrip() for line in lines]

    def test_a_narrow_screen_folds_texts_and_no_numbers(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("COLUMNS", "30")
        output.emit_list([{"name": "x" * 60, "value": 123.25}], (COLUMNS[0], COLUMNS[2]), as_json=False, empty="")
        out = capsys.readouterr().out
        assert "123.2" in out
        assert out.count("x") == 60


class TestColour:
    @pytest.mark.parametrize("no_color", ["1", None])
    def test_is_off_without_a_terminal(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, no_color: str | None
    ) -> None:
        if no_color is not None:
            monkeypatch.setenv("NO_COLOR", no_color)
        output.emit_list(RECORDS, COLUMNS, as_json=False, empty="")
        output.print_title("title")
        assert "\x1b" not in capsys.readouterr().out


class TestVisible:
    @pytest.mark.parametrize(
        ("given_text", "shown"),
        [
            ("\x1b[2Jgone", "\\x1b[2Jgone"),
            ("a\rb", "a\\rb"),
            ("evil\u202etxt.exe", "evil\\u202etxt.exe"),
            ("zero\u200bwidth", "zero\\u200bwidth"),
            ("\x9b31m", "\\x9b31m"),
            ("two\nlines\tand a tab", "two\nlines\tand a tab"),
            ("Krankenhaus Süd 病院", "Krankenhaus Süd 病院"),
        ],
    )
    def test_what_a_terminal_would_obey_is_written_out(self, given_text: str, shown: str) -> None:
        assert output.visible(given_text) == shown

    @given(st.text(st.characters(categories=["Cc", "Cf", "Cs", "Lu", "Nd"])))
    def test_nothing_invisible_is_left(self, text: str) -> None:
        assert all(letter in "\n\t" or letter.isprintable() for letter in output.visible(text))

    def test_markup_is_text(self, capsys: pytest.CaptureFixture[str]) -> None:
        output.emit_list([{"name": "[red]x[/red] :smile:"}], COLUMNS[:1], as_json=False, empty="")
        assert "[red]x[/red] :smile:" in capsys.readouterr().out

    def test_a_model_cannot_repaint_the_screen(self, capsys: pytest.CaptureFixture[str]) -> None:
        output.emit_list([{"name": "good\x1b[1A\x1b[2Kforged"}], COLUMNS[:1], as_json=False, empty="")
        assert "\x1b" not in capsys.readouterr().out


class TestPlain:
    def test_shapes_dates_and_enums_become_json(self) -> None:
        moment = datetime(2026, 11, 25, tzinfo=UTC)
        shape = OrganizationPublic(id=1, created_at=moment, name="north", title="North")
        found = output.plain({"shape": shape, "moment": moment, "word": Colour.RED, "several": (1, {2})})
        assert found == {
            "shape": {"id": 1, "created_at": "2026-11-25T00:00:00Z", "name": "north", "title": "North"},
            "moment": "2026-11-25T00:00:00+00:00",
            "word": "red",
            "several": [1, [2]],
        }

    def test_what_is_not_a_number_is_tagged(self, capsys: pytest.CaptureFixture[str]) -> None:
        output.emit_json({"auroc": math.nan, "loss": -math.inf})
        assert json.loads(capsys.readouterr().out) == {"auroc": "float:nan", "loss": "float:-inf"}


class TestWrite:
    @pytest.mark.parametrize(
        ("value", "shown"),
        [
            (0.98214285, "0.9821"),
            (1283.4, "1283"),
            (1e300, "1.000e+300"),
            (7, "7"),
            (True, "yes"),
            ("float:nan", "nan"),
        ],
    )
    def test_numbers(self, value: Any, shown: str) -> None:
        assert output.number(value) == shown

    @pytest.mark.parametrize(
        ("value", "shown"),
        [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (41 << 20, "41.0 MiB"), (3 << 50, "3072.0 TiB")],
    )
    def test_sizes(self, value: int, shown: str) -> None:
        assert output.size(value) == shown

    def test_moments_digests_and_lists(self) -> None:
        assert output.when("2026-11-25T04:31:47.1+00:00") == "2026-11-25 04:31"
        assert output.digest("sha256:" + "ab" * 32) == "abababababab"
        assert output.joined(["a", 1]) == "a, 1"
        assert [output.when(None), output.digest(None), output.joined([]), output.text(None)] == ["-"] * 4
