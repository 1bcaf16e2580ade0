"""Datasets, executions and results as the registry answers them; and which place a command means."""

from collections.abc import Callable

import pytest

from agents.store.tables import Role
from tests.cli.federation import Federation
from tests.cli.support import Assay, Here


class TestDataset:
    def test_listed_with_site_and_benchmark(self, at: Assay) -> None:
        out = at("dan", "dataset", "list").out
        assert "north-fna" in out
        assert "north-site" in out
        assert "breast-fna" in out

    def test_statistics_for_those_who_may_see_them(self, at: Assay) -> None:
        assert at("ada", "dataset", "show", "north-fna", "--json").json["statistics"]["malignant"] == 44
        assert "malignant" in at("dan", "dataset", "show", "north-fna").out

    def test_what_is_not_there_is_five(self, at: Assay) -> None:
        assert at("ada", "dataset", "show", "nothing").code == 5


class TestResult:
    def test_with_the_decision_that_let_it_go(self, at: Assay) -> None:
        found = at("dan", "result", "list", "--benchmark", "breast-fna", "--json").json
        assert [item["model_name"] for item in found] == ["logistic-regression", "random-forest"]
        shown = at("dan", "result", "show", str(found[0]["id"])).out
        assert "Dan <dan@north.example>" in shown
        assert "aggregates only" in shown

    def test_a_stranger_sees_none(self, at: Assay) -> None:
        assert at("eve", "result", "list").out == "No results.\n"


class TestExecution:
    def test_none_was_told_of(self, at: Assay) -> None:
        assert at("dan", "execution", "list").out == "No executions.\n"


class TestPlace:
    @pytest.fixture
    def both(self, at: Assay, here: Here, signed_in: Callable[[Role], None]) -> Assay:
        """Somebody who has a site on this host and an account at the registry."""
        here.tell("forest")
        here.gate({"x": 1}, title="A question of the site")
        signed_in(Role.DATA_OWNER)
        return at

    def test_the_site_comes_first_where_one_is_named(self, both: Assay) -> None:
        assert "A question of the site" in both("dan", "gate", "list").out
        assert both("dan", "dataset", "list", "--json").json == []

    def test_the_registry_when_asked_for(self, both: Assay) -> None:
        assert "A question of the site" not in both("dan", "gate", "list", "--registry").out
        assert [item["name"] for item in both("dan", "dataset", "list", "--registry", "--json").json] == ["north-fna"]
        assert both("dan", "result", "list", "--registry", "--json").json

    def test_who_one_is_at_both(self, both: Assay, registry: Federation) -> None:
        found = both("dan", "whoami", "--json").json
        assert found["registry"]["url"] == registry.url
        assert found["site"]["role"] == "data_owner"

    def test_a_site_that_is_asked_for_and_not_named_is_eleven(self, at: Assay) -> None:
        assert at("dan", "gate", "list", "--site").code == 11
