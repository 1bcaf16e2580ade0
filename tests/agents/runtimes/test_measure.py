"""What outputs take on disk, where a step does not want to be looked at."""

import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.runtimes.measure import DiskUse, disk_use

NOBODY = 65534


@pytest.fixture
def output() -> Iterator[Path]:
    """A folder that everybody reaches."""
    folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="assay-measure-"))  # tmp_path is its owner's alone
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


def test_a_folder_that_its_step_has_closed_is_closed(output: Path) -> None:
    """A step of the agent's own user can close the very place where its output goes."""
    (output / "x").write_bytes(b"1")
    output.chmod(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads: the copy does nothing with them
        child = os.fork()
    if child == 0:  # the right to look into everything is root's
        try:
            if os.geteuid() == 0:
                os.setuid(NOBODY)
            os._exit(0 if disk_use([output]) == DiskUse(0, closed=True) else 1)
        except BaseException:  # noqa: BLE001 - a copy of the tests' process must not go on
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_what_is_open_is_counted(output: Path) -> None:
    (output / "x").write_bytes(bytes(10_000))
    assert disk_use([output]) == DiskUse(10_000, closed=False)
