"""`assay demo`: a registry and three hospitals, and the whole workflow played through real commands."""

from pathlib import Path
from typing import Annotated, Literal

import typer


def demo(
    *,
    folder: Annotated[Path, typer.Option("--folder", help="Where everything lies; made anew.")] = Path("build/demo"),
    by_hand: Annotated[bool, typer.Option("--by-hand", help="Stop at each gate: you decide, from a terminal.")] = False,
    picture: Annotated[
        Path | None, typer.Option("--picture", metavar="FILE", help="Draw the end of it into an SVG file.")
    ] = None,
    runtime: Annotated[
        Literal["process", "kubernetes"],
        typer.Option("--runtime", help="Where all of it runs: on this machine, or in the cluster of KUBECONFIG."),
    ] = "process",
    stay: Annotated[bool, typer.Option("--stay", help="Leave all running at the end, until Ctrl-C.")] = False,
) -> None:
    """Three hospitals, five models, real patient data, every gate decided by somebody. About two minutes."""
    from cli.demo.play import play

    play(folder.resolve(), by_hand=by_hand, stay=stay, picture=picture, cluster=runtime == "kubernetes")
