"""`assay cube test`: one task of a cube, by hand, isolated as at a site."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import uuid4

import typer

from cli.errors import FailedError, InvalidInputError
from cli.images import Logins, PlainHttp, access, images_in, pinned
from cli.output import say

if TYPE_CHECKING:
    from agents.environments import EnvironmentCache
    from agents.images.cube_images import CubeImages
    from agents.runtimes.protocol import StepOutcome, StepRequest
    from cubes.contract import Contract, TaskName

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder with the cube's contract at its root.")]
TaskArgument = Annotated[str, typer.Argument(metavar="TASK", help="Such as infer.")]
Inputs = Annotated[
    list[str] | None, typer.Option("--input", metavar="NAME=PATH", help="What an input volume is. May be repeated.")
]
Output = Annotated[
    Path, typer.Option("--output", metavar="FOLDER", help="A new folder: one entry for each output volume.")
]
Docker = Annotated[
    bool, typer.Option("--docker", help="In the container engine that DOCKER_HOST names, which pulls the image itself.")
]


def run_by_hand(
    folder: Folder,
    task: TaskArgument,
    *,
    inputs: Inputs = None,
    output: Output,
    docker: Docker = False,
    plain_http: PlainHttp = None,
    logins: Logins = None,
) -> None:
    """Run one task by hand, without a network and within limits. Exit code 10: it failed; its log's end is shown."""
    import asyncio

    from cli.progress import scratch
    from cubes.contract import load_contract

    with scratch() as space, pinned(folder, plain_http, logins) as cube:
        contract = load_contract(cube.folder)
        request = _request(cube.folder, contract, _named(contract, task), inputs or [], output)
        images = images_in(space / "images", access(plain_http, logins))
        outcome = asyncio.run(_run(request, space, images, docker=docker))
    if not outcome.ok:
        raise FailedError(outcome.message)
    seconds = (outcome.finished_at - outcome.started_at).total_seconds()
    say(f"{task} ended well after {seconds:.1f} s; its outputs are in {output}.")


async def _run(request: "StepRequest", space: Path, images: "CubeImages", *, docker: bool) -> "StepOutcome":
    from agents.environments import EnvironmentCache
    from agents.runtimes.process import ProcessRuntime

    (space / "work").mkdir()
    environments = EnvironmentCache(space / "environments")
    if docker:
        return await _run_in_engine(request, space / "work", environments, images)
    return await ProcessRuntime(space / "work", environments, images=images).run(request)


async def _run_in_engine(
    request: "StepRequest", work: Path, environments: "EnvironmentCache", images: "CubeImages"
) -> "StepOutcome":
    from agents.runtimes.docker.runtime import DockerRuntime
    from agents.runtimes.docker.settings import DockerSettings
    from cubes.contract import ContainerType

    if request.cube.contract.container_type == ContainerType.FOLDER:
        raise InvalidInputError("a cube that is a folder has no image to run in an engine: leave --docker out")
    with closing(DockerRuntime(work, f"by-hand-{uuid4().hex[:12]}", DockerSettings(), environments, images)) as runtime:
        return await runtime.run(request)


def _named(contract: "Contract", task: str) -> "TaskName":
    for name in contract.tasks:
        if name.value == task:
            return name
    raise InvalidInputError(f"the cube has no task {task!r}; it has: {', '.join(contract.tasks)}")


def _request(folder: Path, contract: "Contract", task: "TaskName", inputs: list[str], output: Path) -> "StepRequest":
    from agents.runtimes.protocol import CubeBundle, Limits, StepRequest

    wanted = contract.tasks[task]
    given = dict(_pair(text) for text in inputs)
    if set(given) != set(wanted.input_volumes):
        raise InvalidInputError(
            f"the task {task.value!r} reads {', '.join(wanted.input_volumes) or 'nothing'}: give each with --input NAME=PATH"
        )
    output.mkdir(mode=0o700, parents=True)
    volumes = {name: Path(path).resolve() for name, path in given.items()}
    for name, volume in wanted.output_volumes.items():
        volumes[name] = output.resolve() / name
        volumes[name].mkdir(mode=0o700) if volume.type == "directory" else volumes[name].touch(mode=0o600)
    return StepRequest(
        key="by-hand",
        cube=CubeBundle(contract=contract, pack_digest="", folder=folder.resolve()),
        task=task,
        volumes=volumes,
        log=output.resolve() / "log",
        limits=Limits(deadline_s=wanted.deadline_s, memory_bytes=wanted.resources.memory_bytes),
    )


def _pair(text: str) -> tuple[str, str]:
    name, equals, path = text.partition("=")
    if not equals or not Path(path).exists():
        raise InvalidInputError(f"{text!r} is not NAME=PATH of something that exists")
    return name, path
