"""What the tests of templates share: the data that their programs understand."""

import json
from pathlib import Path

import pytest


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """Two cases as a hospital would export them, with labels."""
    for name in ("data", "labels"):
        (tmp_path / "export" / name).mkdir(parents=True)
    (tmp_path / "export" / "data" / "a.txt").write_text("one\n")
    (tmp_path / "export" / "data" / "b.txt").write_text("one\ntwo\n")
    (tmp_path / "export" / "labels" / "labels.json").write_text(json.dumps({"a.txt": 1, "b.txt": 1}))
    return tmp_path / "export"
