"""`assay bundle`: sites without a network. Work comes in one signed file, and what people let go leaves in another."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.connect import site
from cli.errors import FailedError, InvalidInputError
from cli.options import Json, noun
from cli.output import emit_json, print_facts, say

if TYPE_CHECKING:
    from agents.bundles.receipts import Receipt

app = noun("Sites without a network: export, import, results, deliver, key.")
File = Annotated[Path, typer.Argument(metavar="FILE", help="The bundle.")]
Receipts = Annotated[
    Path | None,
    typer.Option("--receipts", metavar="FILE", help="What `assay bundle deliver` wrote: the site learns of it."),
]
KeyFile = Annotated[
    Path, typer.Option("--key", metavar="FILE", help="The site's public key, as `assay bundle key` prints it.")
]


@app.command()
def key() -> None:
    """Print the public key with which this place signs: the other side must be told it."""
    from agents.bundles.keys import signing_key

    with site() as here:
        say(signing_key(here.home.bundle_key_file).public_pem.rstrip())


@app.command()
def export(file: File, *, receipts: Receipts = None, as_json: Json = False) -> None:
    """At a connected place: write what the registry asks of a site, with every byte that its cubes need."""
    from agents.bundles.keys import signing_key
    from agents.bundles.work import export_work

    with site() as here:
        work, _contradiction = here.border.pull_work()
        digest = export_work(here, work, file, signing_key(here.home.bundle_key_file), _read_receipts(receipts))
    facts = {"bundle": digest, "for the site": here.settings.site, "bytes": str(file.stat().st_size)}
    _emit(facts, as_json=as_json)


@app.command("import")
def import_bundle(file: File, *, as_json: Json = False) -> None:
    """At the site: verify a bundle and put everything in its place; the agent goes on from there."""
    from agents.bundles.work import import_work

    with site() as here:
        manifest = import_work(here, file)
        work = here.work()
    facts = {
        "written": f"{manifest.written_at:%Y-%m-%d %H:%M:%S} UTC",
        "benchmarks": ", ".join(benchmark.name for benchmark in work.benchmarks) or "none",
        "blobs": str(len(manifest.parts)),
    }
    _emit(facts, as_json=as_json)


@app.command()
def results(file: File, *, as_json: Json = False) -> None:
    """At the site: write what people let go, for somebody with a network to deliver."""
    from agents.bundles.keys import signing_key
    from agents.bundles.results import export_results

    with site() as here:
        manifest = export_results(here, file, signing_key(here.home.bundle_key_file))
    payloads = manifest.content["payloads"]
    _emit(
        {"payloads": str(len(payloads)), "kinds": ", ".join(sorted({kind for kind, *_ in payloads}))}, as_json=as_json
    )


@app.command()
def deliver(file: File, *, key: KeyFile, receipts: Receipts = None, as_json: Json = False) -> None:
    """At a connected place: send what a site let go, with the site's token. Exit code 10: the registry refused some."""
    from agents.bundles.results import deliver_results
    from api.client import RegistryClient

    with site() as here, RegistryClient(here.settings.registry_url, here.home.token()) as client:
        pem = key.read_text(encoding="utf-8")
        answers = deliver_results(file, [pem], lambda kind, body, name: client.send(kind, body, idempotency_key=name))
    if receipts is not None:
        receipts.write_text(json.dumps([answer.model_dump(mode="json") for answer in answers]), encoding="utf-8")
    refused = [answer for answer in answers if answer.answer is None]
    _emit({"taken": str(len(answers) - len(refused)), "refused": str(len(refused))}, as_json=as_json)
    if refused:
        raise FailedError(f"the registry refused {refused[0].key!r}: {refused[0].refused}")


def _read_receipts(path: Path | None) -> "list[Receipt]":
    from pydantic import TypeAdapter, ValidationError

    from agents.bundles.receipts import Receipt

    if path is None:
        return []
    try:
        return TypeAdapter(list[Receipt]).validate_json(path.read_bytes())
    except ValidationError as error:
        raise InvalidInputError(f"{str(path)!r} holds no receipts ({error.error_count()} problems)") from None


def _emit(facts: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        emit_json(facts)
    else:
        print_facts(facts)
