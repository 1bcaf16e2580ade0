"""Options that many commands share, and how a noun's group of commands is made."""

from typing import Annotated

import typer
from typer._click import Context, HelpFormatter
from typer.core import TyperGroup

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
InvitationDays = Annotated[int, typer.Option("--days", min=1, max=30, help="Days until the invitation expires.")]

DAY_S = 86_400.0


class _Noun(TyperGroup):
    def format_commands(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Each command's first sentence in full; Click would cut it after 45 letters."""
        with formatter.section("Commands"):
            listed = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
            formatter.write_dl(
                [(name, _first_sentence(command.help)) for name, command in listed.items() if command is not None]
            )


def noun(sentence: str) -> typer.Typer:
    """The commands about one noun; help stays plain text, so that it answers at once and reads the same in a file."""
    return typer.Typer(
        cls=_Noun,
        help=sentence,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        add_completion=False,
        callback=_keep_group,
    )


def _first_sentence(text: str | None) -> str:
    words = " ".join((text or "").split())
    return words.split(". ")[0].rstrip(".") + "."


def _keep_group() -> None:
    """Without a callback Typer makes a group of one command into that command."""
