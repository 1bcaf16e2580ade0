"""The one command line of Assay, for every role. Nothing heavy is imported before a command needs it."""

import gc
import os
import sys
from importlib.metadata import version
from typing import Annotated, Final

import typer

from cli import errors
from cli.lazy import Lazy, LazyGroup, Sections

_OBJECTS_BETWEEN_COLLECTIONS: Final = 50_000

COMMANDS: Final[Sections] = {
    "Who you are": {
        "login": Lazy("cli.nouns.sign_in:login", "Keep your token for a registry or a site in a profile."),
        "logout": Lazy("cli.nouns.sign_in:logout", "Forget the tokens of a profile."),
        "whoami": Lazy("cli.nouns.sign_in:whoami", "Show who you are at the registry and at the site."),
    },
    "What is in a benchmark": {
        "cube": Lazy("cli.nouns.cube:app", "Cubes: init, validate, test, register, list, show."),
        "model": Lazy("cli.nouns.model:app", "Models: register, check against a benchmark, list, show, results."),
        "benchmark": Lazy("cli.nouns.benchmark:app", "Benchmarks: register, submit, committee, policy, leaderboard."),
        "association": Lazy("cli.nouns.association:app", "A model's or dataset's place in a benchmark."),
        "dataset": Lazy("cli.nouns.dataset:app", "Datasets: prepare and register at a site, cases, list, show."),
    },
    "What happens": {
        "gate": Lazy("cli.nouns.gate:app", "What waits for a decision: list, show, approve, reject."),
        "job": Lazy("cli.nouns.job:app", "Jobs of a site: list, show, wait, cancel."),
        "execution": Lazy("cli.nouns.execution:app", "Executions: list, run what is outstanding, retry, trail."),
        "result": Lazy("cli.nouns.result:app", "Results: list, show."),
        "departures": Lazy("cli.nouns.departures:departures", "What left this hospital, and who approved it."),
        "audit": Lazy("cli.nouns.audit:app", "The registry's audit log: list, verify, head."),
    },
    "Who runs it": {
        "registry": Lazy("cli.nouns.registry:app", "A registry: init, start, status."),
        "organization": Lazy("cli.nouns.organization:app", "Organizations: add, list."),
        "user": Lazy("cli.nouns.user:app", "People at the registry: add, list, deactivate."),
        "site": Lazy("cli.nouns.site:app", "Sites: add, list, token; and this one: doctor, storage."),
        "token": Lazy("cli.nouns.token:app", "Your tokens for the registry: issue, list, revoke."),
        "agent": Lazy(
            "cli.nouns.agent:app", "A site's agent: init, configure, start, status, stop, probe, outbox, people."
        ),
        "bundle": Lazy("cli.nouns.bundle:app", "Sites without a network: export, import, results, deliver, key."),
        "demo": Lazy("cli.demo:demo", "Three hospitals and a registry on this machine, every gate decided."),
        "exit-codes": Lazy("cli.nouns.exit_codes:exit_codes", "What each exit code means."),
    },
}


class _Root(LazyGroup):
    sections = COMMANDS


app = typer.Typer(
    cls=_Root,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Every list and every show takes --json. Exit codes: `assay exit-codes`.",
)


def _version(wanted: bool) -> None:  # noqa: FBT001 - Typer calls it with the option's value
    if wanted:
        typer.echo(f"assay {version('assay')}")
        raise typer.Exit


@app.callback()
def root(
    *,
    profile: Annotated[
        str | None,
        typer.Option("--profile", "-p", metavar="NAME", help="Which profile: a registry, a site, and your tokens."),
    ] = None,
    version: Annotated[  # noqa: ARG001 - its callback answers
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Assay: federated benchmarking of medical AI. Models travel to hospitals; patient data never do."""
    if profile is not None:
        # In the environment, so that processes that this one starts mean the same profile.
        os.environ["ASSAY_PROFILE"] = profile


def main() -> None:
    """The entry point of `assay`: errors become one line on stderr and an exit code (cli.errors)."""
    # Imports make many objects and little rubbish: with the interpreter's own 700, a tenth of each start is looking for it.
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    try:
        app()
    except Exception as error:  # noqa: BLE001 - whatever it is, people get one line and machines a code
        sys.exit(errors.report(error))
