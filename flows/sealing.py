"""What Prefect hears of a failure: its class, and where its words are.

Prefect keeps the text of every exception, in states, events and logs, for ever, and shows it to whoever may see the run. But
the words of a cube, or the name of a file, may be a patient's: they stay in the site's store.
"""

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Generic, ParamSpec, TypeVar

from prefect import Task, task
from prefect.cache_policies import NO_CACHE

from agents.errors import StepFailedError

_P = ParamSpec("_P")
_R = TypeVar("_R")


class SealedError(Exception):
    """A failure as Prefect may keep it.

    Attributes:
        error: the failure itself, for whoever called.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(f"{_class_of(error)}; what was said is kept at the site: see `assay job show`")
        self.error = error


class Step(Generic[_P, _R]):
    """A Prefect task whose failure Prefect knows by its class alone, while its caller gets the failure itself.

    Prefect's own caching is off: its keys know nothing of digests, and two tasks with the same arguments share one.

    Args:
        name: of the task.
        function: what it does.
    """

    def __init__(self, name: str, function: Callable[_P, Coroutine[Any, Any, _R]]) -> None:
        self.fn = function
        self.task: Task[_P, Coroutine[Any, Any, _R]] = task(
            name=name, task_run_name=name.replace("_", " ") + " {label}", cache_policy=NO_CACHE, persist_result=False
        )(_sealed(function))

    async def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return await self.task(*args, **kwargs)
        except SealedError as sealed:
            failure = sealed.error
        raise failure


def step(name: str) -> Callable[[Callable[_P, Coroutine[Any, Any, _R]]], Step[_P, _R]]:
    """Make an async function, one of whose arguments is a `label` for people, a step of a flow."""
    return lambda function: Step(name, function)


def _sealed(function: Callable[_P, Coroutine[Any, Any, _R]]) -> Callable[_P, Coroutine[Any, Any, _R]]:
    @wraps(function)
    async def run(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return await function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - raised below, where no traceback leads back to it
            failure = error
        raise SealedError(failure)

    return run


def _class_of(error: Exception) -> str:
    if isinstance(error, StepFailedError):
        code = "" if error.exit_code is None else f", exit code {error.exit_code}"
        return f"{type(error).__name__} ({error.error_class.value}{code})"
    return type(error).__name__
