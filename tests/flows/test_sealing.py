"""A step's failure: whole for its caller, by its class alone for Prefect; and no result that another's arguments find."""

import asyncio
import traceback
from typing import Any

import pytest
from prefect import flow
from prefect.cache_policies import NO_CACHE
from prefect.settings import temporary_settings

from agents.errors import HomeError, StepFailedError
from api.schemas.border import ErrorClass
from flows import evaluate, pipeline
from flows.sealing import SealedError, Step, step

SECRET = "case 842302 is malignant"


@step("fails")
async def fails(label: str) -> None:
    """Fail with words that must not travel."""
    raise StepFailedError(f"{label}: {SECRET}", ErrorClass.EXIT_CODE, 3)


class TestSeal:
    def test_its_text_is_class_and_code(self) -> None:
        sealed = SealedError(StepFailedError(SECRET, ErrorClass.DEADLINE))
        assert str(sealed) == "StepFailedError (deadline); what was said is kept at the site: see `assay job show`"
        assert str(SealedError(HomeError(SECRET))).startswith("HomeError; ")

    def test_no_traceback_leads_back(self) -> None:
        with pytest.raises(SealedError) as caught:
            asyncio.run(fails.task.fn("d1"))
        assert isinstance(caught.value.error, StepFailedError)
        assert SECRET not in "".join(traceback.format_exception(caught.value))


class TestStep:
    def test_the_caller_gets_the_failure_itself(self, prefect_url: str) -> None:
        @flow(persist_result=False)
        async def calls() -> Any:
            with pytest.raises(StepFailedError, match=SECRET) as caught:
                await fails("d1")
            return caught.value.exit_code

        with temporary_settings({"api.url": prefect_url}):
            assert asyncio.run(calls()) == 3

    def test_steps_with_equal_arguments_share_nothing(self, prefect_url: str) -> None:
        """Prefect's own key, run and inputs, would give the second the first one's result."""

        @step("first")
        async def first(label: str) -> str:
            return "first " + label

        @step("second")
        async def second(label: str) -> str:
            return "second " + label

        @flow(persist_result=False)
        async def calls() -> list[str]:
            return [await first("a"), await second("a"), await first("a")]

        with temporary_settings({"api.url": prefect_url}):
            assert asyncio.run(calls()) == ["first a", "second a", "first a"]

    def test_every_step_is_its_own_cache(self) -> None:
        found = {
            name: value
            for module in (pipeline, evaluate)
            for name, value in vars(module).items()
            if isinstance(value, Step)
        }
        assert set(found) == {"prepare", "sanity_check", "compute_statistics", "infer", "evaluate", "execution"}
        for each in found.values():
            assert each.task.cache_policy is NO_CACHE
            assert each.task.cache_key_fn is None
            assert each.task.persist_result is False
            assert each.task.retries == 0
