"""What the launcher is told: the contract's volumes and environment, the host's programs, and nothing else."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from agents.runtimes.process.spec import Surroundings, default_interpreter, launcher_spec
from agents.runtimes.protocol import RuntimeSetupError, StepRequest
from cubes.contract import parse_contract

Make = Callable[..., StepRequest]


@pytest.fixture
def around(tmp_path: Path) -> Surroundings:
    return Surroundings(root=tmp_path / "root", interpreter=default_interpreter())


def _with_contract(request: StepRequest, contract: str, old: str, new: str) -> StepRequest:
    assert old in contract
    return replace(request, cube=replace(request.cube, contract=parse_contract(contract.replace(old, new))))


class TestMount:
    def test_outputs_alone_are_writable_and_data_is_never_executed(
        self, request_for: Make, around: Surroundings, tmp_path: Path
    ) -> None:
        mounts = {mount[1]: mount for mount in launcher_spec(request_for(""), around)["mounts"]}
        assert mounts["/out/predictions"] == (str(tmp_path / "out-step"), "/out/predictions", True, False)
        assert mounts["/in/data"] == (str(tmp_path / "data"), "/in/data", False, False)
        assert [target for target, mount in mounts.items() if mount[2]] == ["/out/predictions"]

    def test_libraries_among_additional_files_can_be_loaded(
        self, request_for: Make, around: Surroundings, tmp_path: Path
    ) -> None:
        request = request_for("")
        contract = (tmp_path / "contract").read_text()
        more = "    input_volumes:\n      additional_files: {mount_path: /in/more, type: directory}\n"
        request = _with_contract(request, contract, "    input_volumes:\n", more)
        request = replace(request, volumes={**request.volumes, "additional_files": tmp_path / "data"})
        mounts = {mount[1]: mount for mount in launcher_spec(request, around)["mounts"]}
        assert mounts["/in/more"][2:] == (False, True)

    def test_of_an_interpreters_prefix_only_its_own_parts(
        self, request_for: Make, around: Surroundings, tmp_path: Path
    ) -> None:
        """It may be somebody's home."""
        home = tmp_path / "home"
        for part in ("bin", "lib", "patients"):
            (home / part).mkdir(parents=True)
        (home / "bin/python3").touch()
        spec = launcher_spec(request_for(""), replace(around, interpreter=home / "bin/python3"))
        assert {mount[0] for mount in spec["mounts"] if str(home) in mount[0]} == {str(home / "bin"), str(home / "lib")}

    @pytest.mark.parametrize("path", ["/cube/data", "/cube", "/env", "/tmp", "/.old/x"])  # noqa: S108 - the step's own
    def test_a_mount_path_that_the_runtime_needs_is_refused(
        self, request_for: Make, around: Surroundings, tmp_path: Path, path: str
    ) -> None:
        request = request_for("")
        contract = (tmp_path / "contract").read_text()
        with pytest.raises(RuntimeSetupError, match=f"wants '{path}'"):
            launcher_spec(_with_contract(request, contract, "/in/data", path), around)


class TestEnvironment:
    def test_threads_follow_the_contracts_processors(
        self, request_for: Make, around: Surroundings, tmp_path: Path
    ) -> None:
        request = request_for("")
        request = _with_contract(request, (tmp_path / "contract").read_text(), "cpu: 1", "cpu: 3")
        environment = launcher_spec(request, around)["environment"]
        assert environment["OMP_NUM_THREADS"] == environment["OPENBLAS_NUM_THREADS"] == "3"

    def test_a_contract_cannot_move_the_search_path(
        self, request_for: Make, around: Surroundings, tmp_path: Path
    ) -> None:
        request = request_for("")
        request = _with_contract(request, (tmp_path / "contract").read_text(), "GREETING: hello", "PATH: /in/data")
        path = launcher_spec(request, around)["environment"]["PATH"].split(":")
        assert path == [str(around.interpreter.parent), "/usr/bin", "/bin"]

    def test_the_cubes_own_python_comes_first(self, request_for: Make, around: Surroundings, tmp_path: Path) -> None:
        spec = launcher_spec(request_for(""), replace(around, environment=tmp_path))
        assert spec["environment"]["PATH"].startswith("/env/bin:")
        assert (str(tmp_path), "/env", False, True) in spec["mounts"]


class TestWithoutNamespaces:
    @pytest.mark.parametrize(
        ("word", "expected"),
        [
            ("--data=/in/data", "--data={base}/data"),
            ("/in/data/cases", "{base}/data/cases"),
            ("/cube/main.py", "{base}/cube-step/main.py"),
            ("/in/database", "/in/database"),
            ("see/in/data", "see/in/data"),
        ],
    )
    def test_paths_in_the_command_become_the_hosts(
        self, request_for: Make, around: Surroundings, tmp_path: Path, word: str, expected: str
    ) -> None:
        request = request_for("")
        contract = (tmp_path / "contract").read_text()
        request = _with_contract(request, contract, "command: python3 main.py", f"command: [python3, '{word}']")
        spec = launcher_spec(request, replace(around, plain=True))
        assert spec["command"][1] == expected.format(base=tmp_path)
        assert "RLIMIT_NPROC" not in spec["limits"]
