"""What a gate shows is all there, and reads well."""

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.output import text
from cli.render import Facts, Grid, print_sections, sections
from cubes.digests import digest_bytes

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(categories=["Ll", "Nd"]), min_size=1, max_size=8)
)
NAMES = st.text(st.characters(categories=["Ll"]), min_size=1, max_size=6)
SHOWN = st.dictionaries(
    NAMES,
    st.recursive(
        SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=12
    ),
    max_size=5,
)


def _leaves(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in _leaves(item)]
    if isinstance(value, list):
        return [leaf for item in value for leaf in _leaves(item)]
    return [text(value)]


def _written(shown: dict[str, Any]) -> str:
    cells: list[str] = []
    for section in sections(shown):
        if isinstance(section, Facts):
            cells += section.values.values()
        else:
            cells += [cell for row in section.rows for cell in row]
    return " | ".join(cells)


def _sha(seed: str) -> str:
    return digest_bytes(seed.encode())


def _item(number: int, **changes: Any) -> dict[str, Any]:
    base = {
        "item": str(number),
        "model": f"model-{number}",
        "model_digest": _sha(f"model-{number}"),
        "dataset": "north",
        "dataset_root": _sha("root"),
        "metrics": {"auroc": 0.9 + number / 100, "brier": 0.1 / number},
    }
    return {**base, **changes}


class TestSections:
    @given(SHOWN)
    @settings(max_examples=300)
    def test_every_value_is_written(self, shown: dict[str, Any]) -> None:
        written = _written(shown)
        for leaf in _leaves(shown):
            assert leaf in written

    def test_like_mappings_are_rows(self) -> None:
        (grid,) = sections({"features": {"radius": {"mean": 1.5, "sd": 0.5}, "area": {"mean": 9.0, "sd": 2.0}}})
        assert grid == Grid("features", ["", "mean", "sd"], [["radius", "1.5", "0.5"], ["area", "9.0", "2.0"]])

    def test_what_is_the_same_in_all_rows_is_said_once(self) -> None:
        shared, grid, digests = sections({"items": [_item(1), _item(2)]})
        assert isinstance(shared, Facts)
        assert shared.title == "items (the same for all 2)"
        assert shared.values == {"dataset": "north", "dataset root": _sha("root")}
        assert isinstance(grid, Grid)
        assert grid.headings == ["item", "model", "auroc", "brier"]
        assert isinstance(digests, Facts)
        assert digests.values == {"1 model digest": _sha("model-1"), "2 model digest": _sha("model-2")}

    def test_a_row_with_nothing_in_it_is_said(self) -> None:
        assert list(sections({"Jane Doe": [{}]})) == [Facts("Jane Doe", {"": "1, with nothing in it"})]

    def test_a_row_of_its_own_is_names_and_values(self) -> None:
        (facts,) = sections({"items": [_item(1)]})
        assert isinstance(facts, Facts)
        assert facts.values["item"] == "1"
        assert facts.values["model digest"] == _sha("model-1")

    def test_a_value_that_one_row_lacks_is_a_dash(self) -> None:
        incomplete = {key: value for key, value in _item(2).items() if key != "metrics"}
        grids = [s for s in sections({"items": [_item(1), incomplete]}) if isinstance(s, Grid)]
        assert grids[0].rows[1][2:] == ["-", "-"]

    def test_many_metrics_go_into_several_tables(self) -> None:
        rows = [_item(n, metrics={f"m{i}": i / n for i in range(1, 26)}) for n in (1, 2)]
        grids = [s for s in sections({"items": rows}) if isinstance(s, Grid)]
        assert len(grids) > 1
        assert all(grid.headings[0] == "item" for grid in grids)
        assert sum(len(grid.headings) - 1 for grid in grids) == 26

    def test_values_of_the_same_name_say_where_they_come_from(self) -> None:
        rows = [_item(n, per_dataset={"north/fna": {"auroc": 0.5 + n / 100, "brier": 0.2 / n}}) for n in (1, 2)]
        first, second = (section for section in sections({"rows": rows}) if isinstance(section, Grid))
        assert (first.title, first.headings) == ("rows", ["item", "model", "auroc", "brier"])
        assert (second.title, second.headings) == ("rows, per dataset.north/fna", ["item", "auroc", "brier"])

    def test_no_table_is_wider_than_a_screen(self, capsys: pytest.CaptureFixture[str]) -> None:
        rows = [_item(n, metrics={f"a_metric_{i}": i / n for i in range(1, 26)}) for n in (1, 2)]
        print_sections({"items": rows}, exact=True)
        assert max(map(len, capsys.readouterr().out.splitlines())) <= 100


class TestPrint:
    def test_digests_stay_whole_on_a_narrow_screen(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("COLUMNS", "100")
        print_sections({"items": [_item(1), _item(2)]})
        assert len(re.findall(r"sha256:[0-9a-f]{64}", capsys.readouterr().out)) == 3

    def test_rounding_is_said(self, capsys: pytest.CaptureFixture[str]) -> None:
        print_sections({"auroc": 0.98214285714})
        ended = capsys.readouterr()
        assert "0.982143" in ended.out
        assert "--exact" in ended.err

    def test_exact_leaves_no_digit_out(self, capsys: pytest.CaptureFixture[str]) -> None:
        print_sections({"auroc": 0.98214285714}, exact=True)
        ended = capsys.readouterr()
        assert "0.98214285714" in ended.out
        assert not ended.err

    def test_a_value_cannot_forge_a_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        print_sections({"title": "x\x1b[2K\rdigest sha256:forged"})
        assert "\x1b" not in capsys.readouterr().out
