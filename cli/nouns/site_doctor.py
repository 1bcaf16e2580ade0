"""`assay site doctor`: what a site needs, looked at one by one."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from cli import profiles
from cli.connect import quiet_logs
from cli.errors import FailedError
from cli.options import Json
from cli.output import emit_json, say

if TYPE_CHECKING:
    from agents.doctor import Finding

_MARKS: Final = {"ok": "ok  ", "warn": "WARN", "fail": "FAIL"}


def doctor(
    *,
    home: Annotated[
        Path | None,
        typer.Option("--home", metavar="FOLDER", help="The site's folder; that of your profile when left out."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Look at all that this site needs, and say what to mend. Exit code 10 if something fails.

    Settings, storage, disk, agent, registry, clock, token, cluster, rights, a step, isolation, GPU. Small steps are run; nothing
    is changed.
    """
    from agents.doctor import examine

    found = []
    with quiet_logs():
        for finding in examine(profiles.current().home() if home is None else home):
            found.append(finding)
            if not as_json:
                _tell(finding)
    if as_json:
        emit_json([asdict(finding) for finding in found])
    failed = [finding.check for finding in found if finding.level == "fail"]
    if failed:
        raise FailedError(f"this site cannot work as it is: {', '.join(failed)}")


def _tell(finding: "Finding") -> None:
    say(f"{_MARKS[finding.level]}  {finding.check:<15} {finding.said}")
    if finding.fix:
        say(f"{'':<22}-> {finding.fix}")
