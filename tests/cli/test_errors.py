"""Every known error has an exit code that means something, and one line with its fix."""

import inspect
from importlib import import_module

import pytest
from pydantic import ValidationError

import agents.errors
import cubes.errors
from agents.prefect_api import PrefectError
from agents.runtimes.protocol import RuntimeSetupError
from api.client import Refused, RegistryError, Unreachable, WrongContent
from api.core.settings import SettingsError
from api.migrations import MigrationError
from api.schemas.border import ErrorClass
from api.schemas.common import Problem
from api.schemas.people import OrganizationCreate
from cli import errors
from cli.errors import KNOWN, MEANINGS, CliError, Exit, explain, report
from cubes.strict_yaml import StrictYamlError
from tests.cli.support import Assay


def _refused(status: int) -> Refused:
    problem = Problem(type="x", title="t", status=status, detail="'x' is wrong.", fix="Do y.")
    return Refused(status, problem)


class TestExplain:
    @pytest.mark.parametrize(
        ("error", "code"),
        [
            (agents.errors.HomeError("x"), Exit.NOT_SET_UP),
            (agents.errors.NotFoundError("x"), Exit.NOT_FOUND),
            (agents.errors.ConflictError("x"), Exit.CONFLICT),
            (agents.errors.NotPermittedError("x"), Exit.NOT_PERMITTED),
            (agents.errors.NotSignedInError("x"), Exit.NOT_SIGNED_IN),
            (agents.errors.InvalidInputError("x"), Exit.INVALID_INPUT),
            (agents.errors.DatasetChangedError("d", "a", "b", ["f"]), Exit.FAILED),
            (agents.errors.StepFailedError("x", ErrorClass.DEADLINE), Exit.FAILED),
            (PrefectError("x"), Exit.UNREACHABLE),
            (RuntimeSetupError("x"), Exit.NOT_SET_UP),
            (Unreachable("http://x", "y"), Exit.UNREACHABLE),
            (WrongContent("x"), Exit.FAILED),
            (SettingsError("x"), Exit.NOT_SET_UP),
            (MigrationError("x"), Exit.NOT_SET_UP),
            (cubes.errors.ContractError("s", "w", "p", "f"), Exit.INVALID_INPUT),
            (cubes.errors.PackError("x"), Exit.INVALID_INPUT),
            (StrictYamlError(1, "x"), Exit.INVALID_INPUT),
            (FileNotFoundError(2, "No such file", "card.yaml"), Exit.INVALID_INPUT),
        ],
        ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
    )
    def test_each_has_its_code(self, error: Exception, code: Exit) -> None:
        assert explain(error)[0] == code

    @pytest.mark.parametrize(
        ("status", "code"),
        [
            (401, Exit.NOT_SIGNED_IN),
            (403, Exit.NOT_PERMITTED),
            (404, Exit.NOT_FOUND),
            (409, Exit.CONFLICT),
            (413, Exit.INVALID_INPUT),
            (422, Exit.INVALID_INPUT),
            (429, Exit.UNREACHABLE),
            (503, Exit.UNREACHABLE),
            (500, Exit.FAILED),
        ],
    )
    def test_a_refusal_by_its_status_with_the_fix(self, status: int, code: Exit) -> None:
        assert explain(_refused(status)) == (code, "'x' is wrong. Do y.")

    def test_invalid_values_name_the_field_and_not_what_was_given(self) -> None:
        with pytest.raises(ValidationError) as caught:
            OrganizationCreate.model_validate({"name": "BAD secret", "title": "t"})
        code, message = explain(caught.value)
        assert code == Exit.INVALID_INPUT
        assert message.startswith("name: ")
        assert "secret" not in message

    def test_a_file_that_is_not_there_is_named(self) -> None:
        assert "'card.yaml': No such file" in explain(FileNotFoundError(2, "No such file", "card.yaml"))[1]

    def test_what_nobody_foresaw_says_how_to_look_closer(self) -> None:
        assert explain(ZeroDivisionError("division by zero")) == (
            Exit.UNEXPECTED,
            "unexpected ZeroDivisionError: division by zero (ASSAY_DEBUG=1 shows where)",
        )


class TestTable:
    @pytest.mark.parametrize("name", [*KNOWN, *errors._DESCRIBED])
    def test_each_name_is_an_error_that_exists(self, name: str) -> None:
        module, _, attribute = name.rpartition(".")
        found = getattr(import_module(module), attribute)
        assert issubclass(found, Exception)
        assert f"{found.__module__}.{found.__qualname__}" == name

    @pytest.mark.parametrize("tree", [agents.errors, cubes.errors], ids=["agents", "cubes"])
    def test_no_error_of_these_trees_is_unexpected(self, tree: object) -> None:
        found = [item for _, item in inspect.getmembers(tree, inspect.isclass) if issubclass(item, Exception)]
        assert found
        for error in found:
            names = {f"{ancestor.__module__}.{ancestor.__qualname__}" for ancestor in error.__mro__}
            assert names & KNOWN.keys(), error

    def test_every_code_is_explained_and_used_once(self) -> None:
        assert set(MEANINGS) == set(Exit)
        assert len({int(code) for code in Exit}) == len(Exit)

    def test_the_command_lines_own_errors_carry_theirs(self) -> None:
        assert {error.__name__: error.code for error in CliError.__subclasses__()} == {
            "NotSignedInError": Exit.NOT_SIGNED_IN,
            "NotFoundError": Exit.NOT_FOUND,
            "ConflictError": Exit.CONFLICT,
            "InvalidInputError": Exit.INVALID_INPUT,
            "RejectedError": Exit.REJECTED,
            "FailedError": Exit.FAILED,
            "NotSetUpError": Exit.NOT_SET_UP,
            "TimedOutError": Exit.TIMED_OUT,
        }


class TestReport:
    def test_one_line_whatever_a_stranger_wrote(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert report(RegistryError("one\ntwo\x1b[2Jthree")) == Exit.FAILED
        assert capsys.readouterr().err == "assay: one two [2Jthree\n"

    def test_debugging_shows_where(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ASSAY_DEBUG", "1")
        with pytest.raises(ZeroDivisionError):
            report(ZeroDivisionError())


class TestExitCodes:
    def test_are_listed_for_people(self, assay: Assay) -> None:
        ended = assay("exit-codes")
        assert ended.code == 0
        assert re_line(ended.out, "9", "a person said no at a gate")

    def test_and_for_machines(self, assay: Assay) -> None:
        assert {item["code"]: item["name"] for item in assay("exit-codes", "--json").json}[6] == "conflict"

    def test_usage_is_two(self, assay: Assay) -> None:
        assert assay("gate", "approve").code == 2

    def test_nothing_set_up_is_eleven_with_the_fix(self, assay: Assay) -> None:
        ended = assay("gate", "list")
        assert ended.code == 11
        assert "assay login" in ended.err


def re_line(text: str, *parts: str) -> bool:
    """Whether a line holds all of these, in order."""
    return any(line.split() == " ".join(parts).split() for line in text.splitlines())
