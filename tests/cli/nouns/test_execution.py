"""Executions at a site: what ran, what is outstanding, what is asked for again."""

from collections.abc import Callable
from typing import Any

import pytest

from agents.orders import Choice, chosen_units
from agents.site import Site
from agents.store.executions import begin_step, end_step, list_executions
from agents.store.jobs import finish
from agents.store.tables import Execution, JobState, Role
from api.schemas.border import ErrorClass, Step
from tests.cli.support import Assay, Here, sha


def _fail(here: Here, model: str) -> None:
    """Let a model's execution fail, as the flow would note it."""
    site = Site(here.home.path)
    (unit,) = chosen_units(site, Choice(model=model))
    site.close()
    with here.store.write() as session:
        row = begin_step(
            session,
            Execution(
                identity=unit.identity,
                score=unit.score,
                benchmark_id=4,
                model_id=unit.model.model_id,
                model_name=model,
                model_digest=sha(model),
                dataset_id=7,
                dataset_name="north-fna",
            ),
            Step.INFER,
        )
        end_step(session, row, error=ErrorClass.EXIT_CODE, exit_code=3, message="it fell over")


def _ordered(assay: Assay, *words: str) -> list[Any]:
    return [job["parameters"]["models"] for job in assay("execution", *words, "--json").json]


@pytest.mark.usefixtures("operator")
class TestRun:
    def test_asks_for_all_that_is_outstanding_in_one_job(self, assay: Assay, here: Here) -> None:
        here.tell("forest", "logistic")
        (job,) = assay("execution", "run", "--json").json
        assert (job["kind"], job["subject"], job["parameters"]["models"]) == ("evaluate", "north-fna", [1, 2])
        assert job["requested_by"] == here.ids[Role.OPERATOR]

    def test_twice_asks_once(self, assay: Assay, here: Here) -> None:
        here.tell("forest")
        assay("execution", "run")
        assert assay("execution", "run").out == "Nothing is outstanding.\n"

    def test_a_choice_narrows_it(self, assay: Assay, here: Here) -> None:
        here.tell("forest", "logistic")
        assert _ordered(assay, "run", "--model", "logistic", "-b", "breast-fna", "-d", "north-fna") == [[2]]
        assert _ordered(assay, "run") == [[1]]

    def test_a_choice_that_fits_nothing_is_five(self, assay: Assay, here: Here) -> None:
        here.tell("forest")
        ended = assay("execution", "run", "--model", "mlp")
        assert ended.code == 5
        assert "'mlp'" in ended.err

    def test_what_has_a_score_is_not_asked_for(self, assay: Assay, here: Here) -> None:
        here.tell("forest", "logistic")
        site = Site(here.home.path)
        (unit,) = chosen_units(site, Choice(model="forest"))
        site.close()
        score = here.score("forest", 1, auroc=0.9)
        with here.store.write() as session:
            score.identity = unit.score
            session.add(score)
        assert _ordered(assay, "run") == [[2]]

    def test_what_failed_is_asked_for_only_when_told(self, assay: Assay, here: Here) -> None:
        here.tell("forest", "logistic")
        _fail(here, "forest")
        assert _ordered(assay, "run") == [[2]]
        assert _ordered(assay, "retry") == [[1]]

    def test_before_the_registry_was_heard_it_is_eleven(self, assay: Assay) -> None:
        ended = assay("execution", "run")
        assert ended.code == 11
        assert "start the agent" in ended.err

    def test_waiting_ends_as_the_job_ends(self, assay: Assay, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
        here.tell("forest")

        def reject(store: Any, job_id: str, **_: Any) -> Any:
            with store.write() as session:
                finish(session, job_id, JobState.REJECTED, message="rejected by somebody: not now")
            return original(store, job_id, through_gates=True, timeout_s=60)

        from cli import waiting  # noqa: PLC0415 - patched where the command looks it up

        original = waiting.wait_for_job
        monkeypatch.setattr(waiting, "wait_for_job", reject)
        ended = assay("execution", "run", "--wait")
        assert ended.code == 9
        assert "not now" in ended.err

    def test_a_viewer_may_not(self, assay: Assay, here: Here, signed_in: Callable[[Role], None]) -> None:
        here.tell("forest")
        signed_in(Role.VIEWER)
        assert assay("execution", "run").code == 4


@pytest.mark.usefixtures("operator")
class TestList:
    def test_what_ran_with_the_message_that_never_leaves(self, assay: Assay, here: Here) -> None:
        here.tell("forest")
        _fail(here, "forest")
        (found,) = assay("execution", "list", "--json").json
        assert (found["error_class"], found["exit_code"], found["message"]) == ("exit_code", 3, "it fell over")
        assert "exit_code" in assay("execution", "list", "-b", "breast-fna").out
        assert assay("execution", "list", "--model", "other").out == "No executions.\n"

    def test_what_is_outstanding(self, assay: Assay, here: Here) -> None:
        here.tell("forest", "logistic")
        found = assay("execution", "list", "--outstanding", "--json").json
        assert [item["model_name"] for item in found] == ["forest", "logistic"]
        assay("execution", "run")
        assert assay("execution", "list", "--outstanding").out == "Nothing is outstanding.\n"


@pytest.mark.usefixtures("operator")
class TestTrail:
    def test_each_link_with_its_digest(self, assay: Assay, here: Here) -> None:
        here.tell("forest")
        _fail(here, "forest")
        (identity,) = [each["identity"] for each in assay("execution", "list", "--json").json]
        found = assay("execution", "trail", identity[7:17], "--json").json
        assert [(link["moment"], link["what"]) for link in found] == [
            ("registered", "cube"),
            ("registered", "preparator"),
            ("registered", "metrics cube"),
            ("registered", "dataset"),
            ("registered", "execution"),
            ("fetched", "cube"),
            ("fetched", "metrics cube"),
            ("ran", "cube"),
        ]
        assert {link["digest"] for link in found if link["what"] == "cube"} == {sha("forest")}
        assert sha("forest") in assay("execution", "trail", identity).out

    def test_what_ran_as_something_else_than_registered_is_ten(self, assay: Assay, here: Here) -> None:
        here.tell("forest")
        _fail(here, "forest")
        with here.store.write() as session:
            (row,) = list_executions(session)
            row.model_digest = sha("another")
            session.add(row)
        ended = assay("execution", "trail", row.identity)
        assert ended.code == 10
        assert "the cube that was registered does not fit" in ended.err
        assert "NO" in ended.out

    def test_an_execution_that_is_not_there_is_five(self, assay: Assay, here: Here) -> None:
        here.tell("forest")
        assert assay("execution", "trail", "0123456789").code == 5
