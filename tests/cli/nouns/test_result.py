"""Results at a site: all that were computed here, whatever became of them."""

import pytest

from tests.cli.support import Assay, Here


@pytest.fixture
def _scores(here: Here) -> None:
    here.tell("forest", "logistic")
    here.score("forest", 1, auroc=0.98214285714)
    here.score("logistic", 2, auroc="float:nan")


@pytest.mark.usefixtures("owner", "_scores")
class TestList:
    def test_a_column_for_each_metric(self, assay: Assay) -> None:
        heading, _, first, second = assay("result", "list").out.splitlines()
        assert heading.split() == ["result", "model", "dataset", "state", "cases", "auroc"]
        assert first.split() == ["1", "forest", "north-fna", "new", "120", "0.9821"]
        assert second.split()[-1] == "nan"

    def test_machines_get_all_digits(self, assay: Assay) -> None:
        found = assay("result", "list", "--json").json
        assert [item["metrics"]["auroc"] for item in found] == [0.98214285714, "float:nan"]

    @pytest.mark.parametrize(
        ("words", "models"),
        [
            (("--model", "forest"), ["forest"]),
            (("--model", "2"), ["logistic"]),
            (("--benchmark", "breast-fna"), ["forest", "logistic"]),
            (("--benchmark", "other"), []),
            (("--dataset", "south-fna"), []),
        ],
        ids=["model by name", "model by number", "benchmark", "no benchmark", "no dataset"],
    )
    def test_narrowed(self, assay: Assay, words: tuple[str, ...], models: list[str]) -> None:
        assert [item["model_name"] for item in assay("result", "list", *words, "--json").json] == models


@pytest.mark.usefixtures("owner", "_scores")
class TestShow:
    def test_digests_and_the_probe(self, assay: Assay) -> None:
        out = assay("result", "show", "1").out
        assert "probe" in out
        assert "isolated" in out
        assert assay("result", "show", "1", "--json").json["model_name"] == "forest"

    def test_what_is_not_there_is_five(self, assay: Assay) -> None:
        assert assay("result", "show", "99").code == 5
