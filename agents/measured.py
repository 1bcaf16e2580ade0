"""What a metrics cube measured beyond the benchmark's metrics: kept beside its per-case outputs, for the site's own people."""

import json
from pathlib import Path
from typing import Any, Final

from agents.home import Home, write_private
from agents.store.tables import Score
from cubes.digests import short, tag_non_finite

_MORE: Final = "more.json"


def execution_folder(home: Home, execution: str) -> Path:
    """Where an execution's predictions are, and its scores' own folders."""
    return home.folder("executions") / short(execution)


def score_folder(home: Home, execution: str, score: str) -> Path:
    """Where a score's own files are, below its execution's."""
    return execution_folder(home, execution) / short(score)


def keep_more(folder: Path, more: dict[str, Any]) -> None:
    """Keep what was reported besides; nothing of it is ever queued."""
    if more:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(folder / _MORE, json.dumps(tag_non_finite(more)))


def more_of(home: Home, score: Score) -> dict[str, Any]:
    """What was reported besides; empty when there was nothing, or its files are gone."""
    try:
        return dict(json.loads((score_folder(home, score.execution, score.identity) / _MORE).read_bytes()))
    except (OSError, ValueError):
        return {}
