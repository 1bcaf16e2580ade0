"""The deny probe is run again while others wait or compute, and finds that steps are no longer isolated."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agents.errors import StepFailedError
from agents.home import write_private
from agents.runtimes.protocol import CubeBundle
from agents.site import Site
from agents.steps import make_ready, run_step
from agents.store.executions import list_executions
from api.schemas.border import ErrorClass, ExecutionState, Isolation
from cubes.contract import TaskName
from flows import pipeline
from tests.hospital import Hospital


def _lose(site: Site) -> None:
    held = site.last_probe()
    lost = held.model_copy(update={"isolation": Isolation.NOT_ISOLATED, "checks": {**held.checks, "no_network": False}})
    write_private(site.home.probe_file, lost.model_dump_json())


def test_a_step_that_waited_for_its_slot_does_not_begin(
    make_hospital: Callable[..., Hospital], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = make_hospital(slots=1)
    site, model = here.site, here.model()
    (tmp_path / "cases.csv").write_text("case_id,radius_mean\na,1\n")

    async def story() -> None:
        waits = asyncio.Event()

        async def made_ready(_cube: CubeBundle) -> None:
            waits.set()

        monkeypatch.setattr(site.runtime, "make_ready", made_ready)
        cube = await make_ready(site, model)
        async with site.slots.of(cube.contract.tasks[TaskName.INFER]):
            step = asyncio.create_task(run_step(site, cube, TaskName.INFER, {"data_path": tmp_path}, "m"))
            await asyncio.wait_for(waits.wait(), 60)
            _lose(site)
        await step

    with pytest.raises(StepFailedError, match="no_network") as caught:
        asyncio.run(story())
    assert caught.value.error_class == ErrorClass.NOT_ISOLATED


def test_an_execution_under_way_ends_with_that_reason(registered: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    registered.offer(registered.model())
    real: Any = vars(pipeline)["run_step"]

    async def lost_meanwhile(site: Site, cube: Any, task: TaskName, *rest: Any, **options: Any) -> Any:
        outputs = await real(site, cube, task, *rest, **options)
        if task == TaskName.EVALUATE:
            _lose(site)
        return outputs

    monkeypatch.setattr(pipeline, "run_step", lost_meanwhile)
    registered.evaluate(1)
    with registered.site.store.read() as session:
        [execution] = list_executions(session)
    assert (execution.state, execution.error_class) == (ExecutionState.FAILED, ErrorClass.NOT_ISOLATED)
