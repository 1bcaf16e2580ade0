"""One cube, registered as two models or in two benchmarks, on one dataset: one execution, and nobody is in another's way."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agents.measured import execution_folder
from agents.site import Site
from agents.store.executions import list_executions
from cubes.contract import TaskName
from flows import pipeline
from tests.hospital import Hospital


def test_one_infers_and_the_other_finds_what_it_left(registered: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    model = registered.model()
    registered.offer(model, model)
    inferred: list[str] = []
    read: list[Path] = []
    real: Any = vars(pipeline)["run_step"]

    async def watched(
        site: Site, cube: Any, task: TaskName, inputs: dict[str, Path], label: str, **options: Any
    ) -> Any:
        if task == TaskName.INFER:
            inferred.append(label)
            await asyncio.sleep(0.2)  # the other one comes up meanwhile
        else:
            read.append(inputs["predictions"])
        return await real(site, cube, task, inputs, label, **options)

    monkeypatch.setattr(pipeline, "run_step", watched)
    job = registered.evaluate(1, 2)
    assert (job.outcome or {})["failed"] == []
    assert len(inferred) == 1
    with registered.site.store.read() as session:
        [identity] = {row.identity for row in list_executions(session)}
    assert read == [execution_folder(registered.site.home, identity) / "predictions"] * 2
