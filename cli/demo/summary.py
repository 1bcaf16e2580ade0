"""The story as data: `summary.json`, by which anybody can check it by program."""

import json
from pathlib import Path
from typing import Any

from cli.demo.decide import Decider
from cli.demo.setting import Setting
from cli.demo.stage import Stage
from cli.demo.story import BENCHMARK


def write_summary(stage: Stage, setting: Setting, decider: Decider) -> Path:
    """Everything that happened: parties, executions, decisions, what left each site, the leaderboard, seconds."""
    reader = setting.hospitals[0].owner
    summary = {
        "parties": _parties(stage, setting),
        "images": setting.ground.images(),
        "executions": [
            {"site": hospital.name, **_without_message(execution)}
            for hospital in setting.hospitals
            for execution in stage.ask(hospital.owner, "execution", "list")
        ],
        "decisions": decider.decisions,
        "departures": {hospital.name: stage.ask(hospital.owner, "departures") for hospital in setting.hospitals},
        "leaderboard": stage.ask(reader, "benchmark", "leaderboard", BENCHMARK, "--released"),
        "audit": stage.ask(reader, "audit", "verify"),
        "phases": [
            {"title": phase.title, "seconds": phase.seconds, "commands": [played.command for played in phase.commands]}
            for phase in stage.phases
        ],
    }
    path = setting.folder / "summary.json"
    path.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return path


def _parties(stage: Stage, setting: Setting) -> list[dict[str, Any]]:
    people = [{"party": person.party, "person": person.name, "email": person.email} for person in setting.everybody()]
    operators = [
        {"party": hospital.title, "person": hospital.operator.name, "email": hospital.operator.email}
        for hospital in setting.hospitals
    ]
    sites = [
        {"party": hospital.title, "site": hospital.name, "status": stage.ask(hospital.owner, "agent", "status")}
        for hospital in setting.hospitals
    ]
    return [*people, *operators, *sites]


def _without_message(execution: dict[str, Any]) -> dict[str, Any]:
    """An execution as others may read of it."""
    return {key: value for key, value in execution.items() if key != "message"}
