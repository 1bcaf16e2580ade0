"""What the engine is told: every protection by name, and of the site only what the contract names."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agents.runtimes.docker.container import Around, step_container
from agents.runtimes.docker.settings import DockerSettings
from agents.runtimes.protocol import CubeBundle, Limits, RuntimeSetupError, StepRequest
from cubes.contract import TaskName, parse_contract

SETTINGS = DockerSettings(image="r/python@sha256:" + "0" * 64)
AROUND = Around(site="north", image="sha256:" + "1" * 64, user=10001, group=10001)
FOLDER = """
container_type: Folder
tasks:
  infer:
    run_args: {command: python3 main.py, environment: {GREETING: hello}}
    resources: {cpu: 1.5}
    input_volumes: {data_path: {mount_path: /in/data, type: directory}}
    output_volumes: {output_path: {mount_path: /out, type: directory}}
"""
IMAGE = FOLDER.replace("Folder", f"DockerImage\nimage: m@sha256:{'2' * 64}")
Make = Callable[..., StepRequest]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    for name in ("data", "out", "cube"):
        (tmp_path / name).mkdir()

    def make(contract: str = IMAGE, **changes: str) -> StepRequest:
        for old, new in changes.items():
            assert old in contract
            contract = contract.replace(old, new)
        return StepRequest(
            key="step-1",
            cube=CubeBundle(contract=parse_contract(contract), pack_digest="", folder=tmp_path / "cube"),
            task=TaskName.INFER,
            volumes={"data_path": tmp_path / "data", "output_path": tmp_path / "out"},
            log=tmp_path / "log",
            limits=Limits(memory_bytes=1 << 30, processes=99, output_bytes=1 << 20),
        )

    return make


def _mounts(config: dict[str, Any]) -> dict[str, tuple[str, bool]]:
    return {mount["Target"]: (mount["Source"], mount["ReadOnly"]) for mount in config["HostConfig"]["Mounts"]}


class TestHarden:
    def test_every_protection_is_named(self, make: Make) -> None:
        config = step_container(make(), SETTINGS, AROUND)
        host = config["HostConfig"]
        assert config["User"] == "10001:10001"
        assert host["NetworkMode"] == "none"
        assert host["CapDrop"] == ["ALL"]
        assert host["SecurityOpt"] == ["no-new-privileges:true"]
        assert host["IpcMode"] == "private"
        assert host["PidsLimit"] == 99
        assert (host["Memory"], host["MemorySwap"], host["NanoCpus"]) == (1 << 30, 1 << 30, 1_500_000_000)
        assert {limit["Name"]: limit["Hard"] for limit in host["Ulimits"]} == {
            "core": 0,
            "nofile": 4096,
            "fsize": 1 << 20,
        }
        assert host["LogConfig"]["Type"] == "none"
        for never in ("Privileged", "CapAdd", "Devices", "PidMode", "UsernsMode", "Binds", "PublishAllPorts"):
            assert not host.get(never)

    def test_the_engines_socket_is_in_no_step(self, make: Make) -> None:
        assert not any(
            "docker.sock" in source for source, _ in _mounts(step_container(make(), SETTINGS, AROUND)).values()
        )

    def test_outputs_alone_are_writable(self, make: Make, tmp_path: Path) -> None:
        assert _mounts(step_container(make(), SETTINGS, AROUND)) == {
            "/in/data": (str(tmp_path / "data"), True),
            "/out": (str(tmp_path / "out"), False),
        }

    @pytest.mark.parametrize(("head", "read_only"), [("", False), ("file_system: read_only\n", True)])
    def test_an_image_writes_to_its_own_unless_it_says_otherwise(
        self, make: Make, head: str, *, read_only: bool
    ) -> None:
        request = make(tasks=f"{head}tasks")
        assert step_container(request, SETTINGS, AROUND)["HostConfig"]["ReadonlyRootfs"] is read_only


class TestProgram:
    def test_an_image_keeps_what_the_contract_does_not_say(self, make: Make) -> None:
        config = step_container(make(), SETTINGS, AROUND)
        assert config["Cmd"] == ["python3", "main.py"]
        assert "Entrypoint" not in config
        assert "WorkingDir" not in config
        assert "GREETING=hello" in config["Env"]

    def test_a_folder_is_mounted_and_runs_in_the_sites_image(self, make: Make, tmp_path: Path) -> None:
        packages = tmp_path / "environment" / "lib" / "python3.11" / "site-packages"
        packages.mkdir(parents=True)
        around = replace(AROUND, environment=tmp_path / "environment")
        config = step_container(make(FOLDER), SETTINGS, around)
        assert (config["Entrypoint"], config["WorkingDir"]) == (["python3", "main.py"], "/cube")
        assert _mounts(config)["/cube"] == (str(tmp_path / "cube"), True)
        assert "PYTHONPATH=/env/lib/python3.11/site-packages" in config["Env"]
        assert config["HostConfig"]["ReadonlyRootfs"] is True

    def test_a_path_that_the_runtime_needs_is_refused(self, make: Make) -> None:
        with pytest.raises(RuntimeSetupError, match="'/cube/data'"):
            step_container(make(FOLDER, **{"/in/data": "/cube/data"}), SETTINGS, AROUND)


class TestGpus:
    @pytest.mark.parametrize(
        ("asked", "count", "devices"),
        [("all", -1, None), ("2", 2, None), ("device=0,1", 0, ["0", "1"])],
    )
    def test_they_are_asked_for_by_device_request(
        self, make: Make, asked: str, count: int, devices: list[str] | None
    ) -> None:
        request = make(**{"command: python3": f"gpus: '{asked}', command: python3"})
        settings = SETTINGS.model_copy(update={"gpus": True})
        (wanted,) = step_container(request, settings, AROUND)["HostConfig"]["DeviceRequests"]
        assert (wanted["Count"], wanted["DeviceIDs"] or None) == (count, devices)
        assert wanted["Capabilities"] == [["gpu"]]

    def test_an_engine_without_them_says_so(self, make: Make) -> None:
        with pytest.raises(RuntimeSetupError, match=r"docker\.gpus = true"):
            step_container(make(**{"cpu: 1.5": "gpu: 1"}), SETTINGS, AROUND)


class TestSharedMemory:
    @pytest.mark.parametrize(("said", "size"), [("64m", 64 << 20), ("8g", 1 << 30), ("1000", 1000), ("much", 64 << 20)])
    def test_as_much_as_asked_for_and_no_more_than_memory(self, make: Make, said: str, size: int) -> None:
        request = make(**{"command: python3": f"shm_size: '{said}', command: python3"})
        assert step_container(request, SETTINGS, AROUND)["HostConfig"]["ShmSize"] == size
