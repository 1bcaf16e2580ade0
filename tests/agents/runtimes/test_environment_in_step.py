"""A cube that brings a list of packages runs on the environment made from it, inside its isolation."""

import base64
import hashlib
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from agents.environments import EnvironmentUnavailableError
from agents.runtimes.process import ProcessRuntime
from agents.runtimes.protocol import StepRequest
from cubes.contract import parse_contract

pytestmark = pytest.mark.anyio
Make = Callable[..., StepRequest]
FILES = {
    "greeting.py": "def main():\n    open('/out/predictions/x', 'w').write('greeted')\n",
    "greeting-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n",
    "greeting-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "greeting-1.0.dist-info/entry_points.txt": "[console_scripts]\ngreet = greeting:main\n",
}


def _hash(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package with a command, in a folder that the site's own settings name; its sha256."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    record = [f"{name},sha256={_hash(text)},{len(text)}" for name, text in FILES.items()]
    with zipfile.ZipFile(folder / "greeting-1.0-py3-none-any.whl", "w") as archive:
        for name, text in FILES.items():
            archive.writestr(name, text)
        archive.writestr("greeting-1.0.dist-info/RECORD", "\n".join([*record, "greeting-1.0.dist-info/RECORD,,", ""]))
    monkeypatch.setenv("UV_FIND_LINKS", str(folder))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    return hashlib.sha256((folder / "greeting-1.0-py3-none-any.whl").read_bytes()).hexdigest()


def _with_packages(request: StepRequest, base: Path, command: str, packages: str) -> StepRequest:
    (request.cube.folder / "list.lock").write_text(packages)
    contract = (base / "contract").read_text().replace("python3 main.py", command)
    parsed = parse_contract("requirements: list.lock\n" + contract)
    return replace(request, cube=replace(request.cube, contract=parsed))


@pytest.mark.parametrize("command", ["python3 main.py", "greet"])
async def test_its_packages_and_their_commands_are_there(
    runtime: ProcessRuntime, request_for: Make, wheel: str, tmp_path: Path, command: str
) -> None:
    request = request_for("import sys, greeting; assert sys.prefix == '/env', sys.prefix; greeting.main()")
    request = _with_packages(request, tmp_path, command, f"greeting==1.0 --hash=sha256:{wheel}\n")
    outcome = await runtime.run(request)
    assert outcome.ok, outcome.message
    assert (tmp_path / "out-step/x").read_text() == "greeted"


@pytest.mark.usefixtures("wheel")
async def test_without_its_packages_it_does_not_run(runtime: ProcessRuntime, request_for: Make, tmp_path: Path) -> None:
    request = _with_packages(request_for(""), tmp_path, "greet", f"elsewhere==1.0 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(EnvironmentUnavailableError, match="elsewhere"):
        await runtime.run(request)
    assert not request.log.exists()
