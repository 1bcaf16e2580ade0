"""What of an image runs: its own wishes, and what a contract says instead, as an engine decides it."""

from pathlib import Path

import pytest

from agents.images.documents import ProcessConfig
from agents.images.errors import ImageRefusedError
from agents.images.program import program_of
from cubes.contract import RunArgs


def _process(**wishes: object) -> ProcessConfig:
    return ProcessConfig.model_validate(wishes)


class TestWords:
    @pytest.mark.parametrize(
        ("image", "contract", "words"),
        [
            ({"Entrypoint": ["e"], "Cmd": ["c"]}, {}, "e c"),
            ({"Entrypoint": ["e"], "Cmd": ["c"]}, {"command": "x y"}, "e x y"),
            ({"Entrypoint": ["e"], "Cmd": ["c"]}, {"entrypoint": "n"}, "n"),
            ({"Entrypoint": ["e"], "Cmd": ["c"]}, {"entrypoint": "n", "command": "x"}, "n x"),
            ({"Entrypoint": None, "Cmd": ["c"]}, {}, "c"),
            ({"Cmd": ["c"]}, {"command": ["a b"]}, "a b"),
        ],
    )
    def test_command_follows_the_entrypoint(
        self, tmp_path: Path, image: dict[str, object], contract: dict[str, object], words: str
    ) -> None:
        program = program_of(_process(**image), RunArgs.model_validate(contract), tmp_path)
        assert " ".join(program.words) == words

    def test_nothing_to_run(self, tmp_path: Path) -> None:
        with pytest.raises(ImageRefusedError, match=r"say run_args\.command"):
            program_of(_process(), RunArgs(), tmp_path)


class TestUser:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        (tmp_path / "root" / "etc").mkdir(parents=True)
        (tmp_path / "root" / "etc" / "passwd").write_text("root:x:0:0::/root:\nmodel:x:1234:1234::/:\nodd\n")
        return tmp_path / "root"

    @pytest.mark.parametrize(
        ("wanted", "number"),
        [("", None), ("root", None), ("0", None), ("0:0", None), ("1000", 1000), ("1000:5", 1000), ("model", 1234)],
    )
    def test_by_number_or_name_and_never_root(self, root: Path, wanted: str, number: int | None) -> None:
        assert program_of(_process(User=wanted, Cmd=["x"]), RunArgs(), root).user == number

    @pytest.mark.parametrize("wanted", ["nobody-knows", "9999999999", "odd"])
    def test_one_that_is_not_there(self, root: Path, wanted: str) -> None:
        with pytest.raises(ImageRefusedError, match="with USER"):
            program_of(_process(User=wanted, Cmd=["x"]), RunArgs(), root)

    def test_the_hosts_users_are_not_asked(self, root: Path) -> None:
        """A link in the image leads to its own file, not the host's."""
        (root / "etc" / "passwd").unlink()
        (root / "etc" / "passwd").symlink_to("/etc/other")
        with pytest.raises(ImageRefusedError, match="is not in its /etc/passwd"):
            program_of(_process(User="daemon", Cmd=["x"]), RunArgs(), root)


class TestEnvironment:
    def test_a_search_path_is_always_there(self, tmp_path: Path) -> None:
        process = _process(Cmd=["x"], Env=["A=1", "B=x=y", "lonely", "=odd"])
        environment = program_of(process, RunArgs(), tmp_path).environment
        assert {name: value for name, value in environment.items() if name != "PATH"} == {"A": "1", "B": "x=y"}
        assert "/usr/bin" in environment["PATH"]
