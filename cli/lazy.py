"""Commands that are imported when they are called, and not before: help and completion know them by name and line."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, ClassVar, NamedTuple

import typer
from typer._click import Command, Context, HelpFormatter
from typer.core import TyperCommand, TyperGroup


class Lazy(NamedTuple):
    """Where a command is, as `module:attribute`, and what help says about it."""

    target: str
    help: str


Sections = Mapping[str, Mapping[str, Lazy]]
"""Heading to commands, in the order in which help shows them."""


class _Stub(TyperCommand):
    """Stands for a command until it is called; then the real one takes over, options and all."""

    def __init__(self, name: str, lazy: Lazy) -> None:
        super().__init__(name, help=lazy.help, rich_markup_mode=None)
        self._target = lazy.target

    def make_context(
        self, info_name: str | None, args: list[str], parent: Context | None = None, **extra: Any
    ) -> Context:
        return _load(self._target).make_context(info_name, args, parent=parent, **extra)


class LazyGroup(TyperGroup):
    """A group over `sections`, which a subclass fills."""

    sections: ClassVar[Sections] = {}

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for commands in self.sections.values():
            for name, lazy in commands.items():
                self.add_command(_Stub(name, lazy))

    def format_commands(self, ctx: Context, formatter: HelpFormatter) -> None:  # noqa: ARG002 - the base class passes it
        for heading, commands in self.sections.items():
            with formatter.section(heading):
                formatter.write_dl([(name, lazy.help) for name, lazy in commands.items()])


def _load(target: str) -> Command:
    module, _, attribute = target.partition(":")
    found = getattr(import_module(module), attribute)
    if not isinstance(found, typer.Typer):
        function, found = (
            found,
            typer.Typer(rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False),
        )
        found.command()(function)
    return typer.main.get_command(found)
