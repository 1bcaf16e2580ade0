"""An image runs isolated by an ordinary user, with no engine and nothing installed: pulled, verified, unpacked, run."""

import json
import os
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.security.test_isolation import NOBODY, ROOT, SYSTEM_PYTHON, _fits

PROGRAM = """
import asyncio, json, os, sys
from contextlib import closing
from pathlib import Path
import structlog
from agents.environments import EnvironmentCache
from agents.images.cube_images import CubeImages
from agents.images.registry import RegistryAccess, RegistrySource
from agents.images.store import ImageStore
from agents.runtimes.process import ProcessRuntime
from agents.runtimes.protocol import CubeBundle, StepRequest
from cubes.contract import TaskName, parse_contract
from tests.small_images import image_registry, make_image, programs
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
base = Path(sys.argv[1])
for name in ("work", "in", "out"): (base / name).mkdir()
(base / "in" / "cases").write_text("three cases")
closed = [("etc", {"type": b"5", "mode": 0o700}, b""), ("etc/passwd", {"mode": 0o600}, b"model:x:1234:1234::/:\\n")]
image = make_image(programs("sh", "cat", "id"), closed, process={"Env": ["PATH=/bin"], "User": "model"})
command = "echo x > /bin/new; cat /etc/passwd /in/cases > /out/seen; id -u >> /out/seen; cat /proc/self/status > /out/status"
with image_registry() as registry:
    reference = registry.push(image).pinned(image.digest)
    contract = parse_contract(json.dumps({"container_type": "DockerImage", "image": str(reference), "tasks": {"infer": {
        "run_args": {"command": ["sh", "-c", command]},
        "input_volumes": {"data_path": {"mount_path": "/in", "type": "directory"}},
        "output_volumes": {"output_path": {"mount_path": "/out", "type": "directory"}}}}}))
    known = lambda named: closing(RegistrySource(named, RegistryAccess()))
    images = CubeImages(ImageStore(base / "images", known))
    runtime = ProcessRuntime(base / "work", EnvironmentCache(base / "e"), images=images, interpreter=Path("/usr/bin/python3"))
    outcome = asyncio.run(runtime.run(StepRequest(
        key="step", cube=CubeBundle(contract, "", base), task=TaskName.INFER,
        volumes={"data_path": base / "in", "output_path": base / "out"}, log=base / "log")))
print(json.dumps({"message": outcome.message, "user": os.getuid(), "seen": (base / "out/seen").read_text(),
                  "status": (base / "out/status").read_text(), "owner": (base / "out/seen").stat().st_uid}))
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder of that user's own; pytest's are closed to others."""
    with tempfile.TemporaryDirectory(prefix="assay-nobody-") as name:
        place = Path(name)
        for package in ("agents", "api", "cubes"):
            shutil.copytree(ROOT / package, place / "code" / package, ignore=shutil.ignore_patterns("breast_fna"))
        (place / "code" / "tests").mkdir()
        shutil.copyfile(ROOT / "tests" / "small_images.py", place / "code" / "tests" / "small_images.py")
        (place / "site").mkdir()
        for path in [place, *place.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
            if os.geteuid() == 0:
                os.chown(path, NOBODY, NOBODY)
        yield place


def test_an_image_runs_without_any_privilege(place: Path) -> None:
    if not _fits():
        pytest.skip("/usr/bin/python3 is of another version than this environment: run the tests as a user")
    identity: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    packages = sysconfig.get_path("purelib")
    done = subprocess.run(
        [SYSTEM_PYTHON, "-c", PROGRAM, place / "site"],
        cwd=place,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{place / 'code'}:{packages}", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        **identity,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["message"] == ""
    assert said["seen"] == "model:x:1234:1234::/:\nthree cases1234\n"
    assert said["user"] == said["owner"] != 0
    status = dict(line.split(":\t", 1) for line in said["status"].splitlines() if ":\t" in line)
    assert {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd")} == {0}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
