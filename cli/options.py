"""Options that many commands share, and how a noun's group of commands is made."""

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="For machines: the same data as JSON.")]
AtSite = Annotated[
    bool | None,
    typer.Option(
        "--site/--registry", help="Where to look; left out, at the site when one is named, else the registry."
    ),
]
Limit = Annotated[int, typer.Option("--limit", min=1, max=100_000, help="How many at most.")]
Timeout = Annotated[float, typer.Option("--timeout", min=0.0, metavar="SECONDS", help="Give up waiting after this.")]
Days = Annotated[int, typer.Option("--days", min=1, max=366, help="Days until the token expires.")]

DAY_S = 86_400.0


def noun(sentence: str) -> typer.Typer:
    """The commands about one noun; help stays plain text, so that it answers at once and reads the same in a file."""
    return typer.Typer(
        help=sentence,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        add_completion=False,
        callback=_keep_group,
    )


def _keep_group() -> None:
    """Without a callback Typer makes a group of one command into that command."""
