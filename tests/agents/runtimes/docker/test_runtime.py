"""A step in a container: gets its inputs, leaves its outputs, keeps its limits, and nothing of it stays."""

import asyncio
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from docker.types import HostConfig

from agents.images.cube_images import CubeImages
from agents.runtimes.docker.engine import Engine, Said
from agents.runtimes.docker.runtime import DockerRuntime
from agents.runtimes.docker.settings import DockerSettings
from agents.runtimes.outputs import safe_outputs
from agents.runtimes.protocol import Limits, RuntimeSetupError, StepRequest
from api.schemas.border import ErrorClass, Isolation
from tests.agents.runtimes.docker.conftest import LIMITS
from tests.small_images import Image

pytestmark = [pytest.mark.anyio, pytest.mark.docker]
RequestFor = Callable[..., StepRequest]


class TestProbe:
    def test_every_check_holds(self, runtime: DockerRuntime) -> None:
        outcome = runtime.probe()
        assert {name for name, held in outcome.checks.items() if not held} == set()
        assert (outcome.isolation, outcome.runtime) == (Isolation.ISOLATED, "docker")
        assert {"no_network", "no_capabilities", "calls_are_filtered", "control_listener_is_reachable"} <= set(
            outcome.checks
        )

    @pytest.mark.parametrize(
        ("weakened", "noticed"),
        [
            ({"network_mode": "bridge"}, "no_network"),
            ({"network_mode": "host"}, "no_loopback_of_the_host"),
            ({"pid_mode": "host"}, "no_other_processes"),
            ({"cap_drop": []}, "no_capabilities"),
            ({"security_opt": ["seccomp=unconfined"]}, "calls_are_filtered"),
            ({"security_opt": []}, "no_new_privileges"),
        ],
    )
    def test_a_missing_protection_is_noticed(
        self, runtime: DockerRuntime, monkeypatch: pytest.MonkeyPatch, weakened: dict[str, object], noticed: str
    ) -> None:
        from agents.runtimes.docker import container  # noqa: PLC0415 - what is changed for this test alone

        real = HostConfig
        monkeypatch.setattr(container, "HostConfig", lambda version, **known: real(version, **{**known, **weakened}))
        if "network_mode" in weakened:
            original = container.step_container
            monkeypatch.setattr(
                "agents.runtimes.docker.runtime.step_container",
                lambda *known: {name: value for name, value in original(*known).items() if name != "Hostname"},
            )
        outcome = runtime.probe()
        assert outcome.isolation == Isolation.NOT_ISOLATED
        assert noticed in {name for name, held in outcome.checks.items() if not held}

    def test_nobody_answers(self, images: CubeImages) -> None:
        settings = DockerSettings(host="tcp://127.0.0.1:9", image=f"x@sha256:{'0' * 64}")
        with closing(Engine(settings, "north", images)) as engine, pytest.raises(RuntimeSetupError, match="it runs"):
            engine.ensure_image(None, settings.image)


class TestRun:
    async def test_a_program_reads_its_input_and_writes_its_output(
        self, runtime: DockerRuntime, request_for: RequestFor, tmp_path: Path
    ) -> None:
        told: list[str] = []
        request = replace(request_for("cat /in/data/cases > /predictions/x; echo done"), tell=told.append)
        outcome = await runtime.run(request)
        assert outcome.ok, outcome.message
        assert (outcome.exit_code, told) == (0, ["done"])
        safe_outputs(tmp_path / "out")
        assert (tmp_path / "out/x").read_text() == "three cases\n"

    async def test_an_exit_code_is_passed_on_with_the_end_of_the_log(
        self, runtime: DockerRuntime, request_for: RequestFor
    ) -> None:
        outcome = await runtime.run(request_for("echo first; echo no such model >&2; exit 7"))
        assert (outcome.error, outcome.exit_code) == (ErrorClass.EXIT_CODE, 7)
        assert set(outcome.message.splitlines()[1:]) == {"first", "no such model"}  # two pipes keep no order

    async def test_nothing_written_is_said(self, runtime: DockerRuntime, request_for: RequestFor) -> None:
        assert (await runtime.run(request_for("true"))).error == ErrorClass.OUTPUT_MISSING

    async def test_its_own_files_are_thrown_away(self, runtime: DockerRuntime, request_for: RequestFor) -> None:
        outcome = await runtime.run(request_for("echo x > /tmp/new && [ $(id -u) != 0 ] && echo x > /predictions/x"))
        assert outcome.ok, outcome.message

    async def test_inputs_cannot_be_changed(
        self, runtime: DockerRuntime, request_for: RequestFor, tmp_path: Path
    ) -> None:
        outcome = await runtime.run(request_for("echo changed > /in/data/cases"))
        assert "Read-only file system" in outcome.message
        assert (tmp_path / "data/cases").read_text() == "three cases\n"

    async def test_a_read_only_root_where_the_contract_asks(
        self, runtime: DockerRuntime, request_for: RequestFor
    ) -> None:
        outcome = await runtime.run(request_for("echo x > /new", head="file_system: read_only"))
        assert "Read-only file system" in outcome.message

    async def test_an_archive_becomes_the_engines_image(
        self, runtime: DockerRuntime, request_for: RequestFor, shell_image: Image, tmp_path: Path
    ) -> None:
        shell_image.layout(tmp_path / "image.tar")
        text = request_for("x").cube.contract.model_dump(mode="json")
        request = request_for(text=str(text | {"container_type": "DockerArchive", "image": "image.tar", "tasks": {
            "infer": text["tasks"]["infer"] | {"run_args": {"command": ["sh", "-c", "echo x > /predictions/x"]}}}
        }).replace("None", "null"))  # fmt: skip
        outcome = await runtime.run(request)
        assert outcome.ok, outcome.message


class TestLimits:
    @pytest.mark.parametrize(
        ("command", "limits", "error"),
        [
            ("sleep 600", {"deadline_s": 1.5}, ErrorClass.DEADLINE),
            ("while true; do echo yes; done", {"log_bytes": 1 << 16}, ErrorClass.LOG_TOO_LARGE),
            (
                "cat /dev/zero > /dev/shm/x; cat /dev/zero > /tmp/x",
                {"memory_bytes": 32 << 20, "output_bytes": 1 << 30},
                ErrorClass.MEMORY,
            ),
            ("while true; do i=x$i; cat /bin/sh > /predictions/$i; done", {}, ErrorClass.OUTPUT_TOO_LARGE),
        ],
    )
    async def test_what_passes_one_is_ended(
        self,
        runtime: DockerRuntime,
        request_for: RequestFor,
        command: str,
        limits: dict[str, Any],
        error: ErrorClass,
    ) -> None:
        outcome = await runtime.run(replace(request_for(command), limits=replace(LIMITS, **limits)))
        assert (outcome.error, outcome.exit_code) == (error, None if error != ErrorClass.MEMORY else outcome.exit_code)

    async def test_cancelling_ends_the_container(self, runtime: DockerRuntime, request_for: RequestFor) -> None:
        request = replace(request_for("echo started; sleep 600"), limits=Limits(deadline_s=600))
        started = asyncio.Event()
        loop = asyncio.get_running_loop()
        told = replace(request, tell=lambda _line: (loop.call_soon_threadsafe(started.set), None)[1])
        running = asyncio.create_task(runtime.run(told))
        await asyncio.wait_for(started.wait(), 60)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    async def test_cancelling_while_it_is_made(self, runtime: DockerRuntime, request_for: RequestFor) -> None:
        running = asyncio.create_task(runtime.run(request_for("sleep 600")))
        await asyncio.sleep(0.05)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


class TestRefuse:
    async def test_a_digest_that_nobody_has(
        self, runtime: DockerRuntime, request_for: RequestFor, shell_reference: str
    ) -> None:
        image = shell_reference.partition("@")[0] + "@sha256:" + "0" * 64
        outcome = await runtime.run(request_for("true", image=image))
        assert (outcome.error, outcome.exit_code) == (ErrorClass.IMAGE_UNAVAILABLE, None)

    async def test_a_tag(self, runtime: DockerRuntime, request_for: RequestFor, shell_reference: str) -> None:
        outcome = await runtime.run(request_for("true", image=shell_reference.partition("@")[0]))
        assert outcome.error == ErrorClass.IMAGE_UNAVAILABLE
        assert "register it by digest" in outcome.message

    async def test_a_program_that_is_not_there(self, runtime: DockerRuntime, request_for: RequestFor) -> None:
        text = request_for("x").cube.contract.model_dump_json(exclude_none=True).replace('"sh"', '"/no/such"')
        outcome = await runtime.run(request_for(text=text))
        assert outcome.error == ErrorClass.CANNOT_START
        assert "/no/such" in outcome.message

    async def test_gpus_that_are_not_there(self, runtime: DockerRuntime, request_for: RequestFor) -> None:
        text = request_for("x").cube.contract.model_dump(mode="json", exclude_none=True)
        text["tasks"]["infer"]["resources"] = {"gpu": 1}
        with pytest.raises(RuntimeSetupError, match=r"docker\.gpus = true"):
            await runtime.run(request_for(text=str(text)))


class TestSweep:
    async def test_what_a_killed_agent_left_is_removed(self, runtime: DockerRuntime, request_for: RequestFor) -> None:
        kept, lost = request_for("sleep 600"), request_for("sleep 600")
        for request in (kept, lost):
            config = await asyncio.to_thread(runtime._prepared, request)
            runtime._engine.start(config, Said.close)
        assert await runtime.sweep(lambda: [kept.key]) == 1
        assert await runtime.sweep(list) == 1

    async def test_other_sites_keep_theirs(
        self, runtime: DockerRuntime, request_for: RequestFor, images: CubeImages
    ) -> None:
        config = await asyncio.to_thread(runtime._prepared, request_for("sleep 600"))
        runtime._engine.start(config, Said.close)
        other = Engine(runtime._settings, "another-site", images)
        assert other.sweep(list) == 0
        other.close()
        assert await runtime.sweep(list) == 1
