"""What takes long and is judged by many tests is made by one test process, and read by the others."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agents.locks import locked


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[], str]) -> str:
    """A text that the first of this run's test processes makes while the others wait.

    Args:
        factory: of this session.
        name: of what is made.
        make: does it.
    """
    if "PYTEST_XDIST_TESTRUNUID" not in os.environ:
        return make()
    # The processes of one run have folders of their own below one that they share.
    file: Path = factory.getbasetemp().parent / name
    with locked(file.with_suffix(".lock")):
        if not file.exists():
            text = make()
            file.write_text(text, encoding="utf-8")
    return file.read_text(encoding="utf-8")
