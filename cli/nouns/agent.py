"""`assay agent`: a hospital's site on this host, its process and its people."""

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import profiles
from cli.connect import opened_store, site, site_store
from cli.errors import FailedError, InvalidInputError
from cli.nouns.site_people import app as people
from cli.nouns.site_people import opened_ledger
from cli.options import Days, Json, Limit, Timeout, noun
from cli.output import Column, emit_done, emit_json, emit_list, plain, print_facts, print_title, say, text, when

if TYPE_CHECKING:
    from agents.home import Home
    from agents.store import Store

app = noun("A site's agent: init, configure, start, status, stop, probe, people, outbox.")
app.add_typer(people, name="people")

HomeOption = Annotated[
    Path | None, typer.Option("--home", metavar="FOLDER", help="The site's folder; that of your profile when left out.")
]


@app.command()
def init(
    *,
    home: HomeOption = None,
    registry: Annotated[str, typer.Option("--registry", metavar="URL", help="The registry's address.")],
    name: Annotated[str, typer.Option("--site", metavar="NAME", help="The site's name at the registry.")],
    token: Annotated[
        str | None,
        typer.Option("--token", help="From `assay site token`. Left out, it is asked for or read from stdin."),
    ] = None,
    slots: Annotated[int, typer.Option("--slots", min=1, max=256, help="How many steps run at once.")] = 2,
    memory_mib: Annotated[int, typer.Option("--memory-mib", min=64, help="Memory of one step at most.")] = 4096,
    more: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any other setting of site.toml, as TOML; may be repeated."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a site's folder, with its settings and the registry's token. Only its owner can read it."""
    from agents.home import SiteSettings, create_home
    from cli.nouns.sign_in import read_secret

    given = {"site": name, "registry_url": registry, "slots": slots, "memory_mib": memory_mib}
    settings = SiteSettings.model_validate({**given, **_toml("\n".join(more or []))})
    made = create_home(_folder(home), settings, token or read_secret("Token"))
    message = (
        f"Made {str(made.path)!r}. Next, with ASSAY_SITE_HOME={made.path}:\n"
        "  assay agent people add EMAIL --name NAME --role data_owner\n"
        "  assay site doctor\n"
        "  assay agent start"
    )
    emit_done({"home": str(made.path), **plain(settings)}, message, as_json=as_json)


@app.command()
def configure(
    *,
    home: HomeOption = None,
    settings: Annotated[Path, typer.Option("--settings", metavar="FILE", help="A site.toml.")],
    secrets: Annotated[
        Path, typer.Option("--secrets", metavar="FOLDER", help="With registry.token, and other secrets of the site.")
    ],
    as_json: Json = False,
) -> None:
    """Lay settings and secrets that are kept elsewhere into the site's folder, made when missing; before each start."""
    from agents.home import adopt_home

    made = adopt_home(_folder(home), settings, secrets)
    emit_done({"home": str(made.path)}, f"{str(made.path)!r} has its settings and secrets.", as_json=as_json)


@app.command()
def start(
    *,
    home: HomeOption = None,
    prefect_database_url: Annotated[
        str | None,
        typer.Option(
            "--prefect-database-url",
            metavar="URL",
            envvar="ASSAY_SITE_PREFECT_DATABASE_URL",
            help="A PostgreSQL for Prefect, instead of what site.toml says.",
        ),
    ] = None,
) -> None:
    """Run the agent until Ctrl-C or SIGTERM: it asks the registry what there is to do; nobody calls it.

    People sign in to the site's pages with a password (`assay agent people password`), a personal token, or through an OpenID
    Connect provider. The table [sign_in] of site.toml says how:

    issuer: the provider's address, https; its secret lies in secrets/single-sign-on.secret of the site's folder, mode 600.

    client_id: as the provider knows the site (assay). Its redirect address is ADDRESS/single-sign-on/back.

    title: for the button on the sign-in page.

    session_hours: how long somebody stays signed in (12).

    trusted_proxies: addresses of proxies whose X-Forwarded headers are believed, with commas between.

    Beside it, prefect_separate = true runs Prefect's server in a process of its own, and [gates.NAME] sets quorum, four_eyes,
    expires_days and remind_days of one kind of gate.
    """
    from cli.processes.site_process import run

    run(_folder(home), prefect_database_url=prefect_database_url)


@app.command()
def stop(*, home: HomeOption = None, timeout: Timeout = 60.0, as_json: Json = False) -> None:
    """End the agent that runs on this host. What it had under way goes on at the next start."""
    from agents.home import Home
    from agents.running import stop_agent

    here = Home(_folder(home).resolve())
    here.settings()
    process = stop_agent(here, timeout_s=timeout)
    emit_done({"stopped": process}, f"The agent (process {process}) has ended.", as_json=as_json)


@app.command()
def status(*, as_json: Json = False) -> None:
    """Whether the agent runs, when it last heard from the registry, what runs, waits, and is still to leave."""
    with site_store() as here:
        found = _status(here.home, here.store)
    if as_json:
        emit_json(found)
        return
    print_facts({name.replace("_", " "): _told(value) for name, value in found.items() if name != "probe"})
    if found["probe"] is not None:
        _print_probe(found["probe"])


@app.command()
def probe(*, as_json: Json = False) -> None:
    """Run the deny probe now: whether a step on this host can reach what it must not. Exit code 10 if it can.

    Beside a running agent it is run for you to see: what stands on results is what the agent's own probe finds, with the
    agent's own rights.
    """
    from agents.running import agent_process

    with site_store("start"), site() as whole:
        beside = agent_process(whole.home) is not None
        outcome = plain(whole.runtime.probe() if beside else whole.probe())
    if as_json:
        emit_json(outcome)
    else:
        _print_probe(outcome)
    if outcome["isolation"] != "isolated":
        failed = ", ".join(sorted(name for name, held in outcome["checks"].items() if not held))
        raise FailedError(f"steps are not isolated on this host ({failed}): the agent refuses to run cubes")


@app.command()
def outbox(
    *,
    retry: Annotated[
        int | None, typer.Option("--retry", metavar="NUMBER", help="Try a refused payload once more.")
    ] = None,
    as_json: Json = False,
) -> None:
    """What the registry has not taken yet, or refused."""
    from agents.store import outbox as box

    columns = (
        Column("number", "id"),
        Column("what", "kind"),
        Column("about", "subject"),
        Column("state", "state"),
        Column("bytes", "size"),
        Column("tries", "attempts"),
        Column("problem", "last_error"),
    )
    with site_store("look" if retry is None else "start") as here:
        if retry is not None:
            with here.store.write() as session:
                box.try_again(session, retry)
        with here.store.read() as session:
            items = [item.model_dump(mode="json", exclude={"body"}) for item in box.unsent(session)]
    emit_list(items, columns, as_json=as_json, empty="Everything has left.")


@app.command("worker-token")
def worker_token(
    pool: Annotated[str, typer.Argument(metavar="POOL", help="The Prefect work pool whose runs it executes.")],
    *,
    days: Days = 90,
    revoke: Annotated[bool, typer.Option("--revoke", help="End all tokens of the pool instead.")] = False,
    as_json: Json = False,
) -> None:
    """Issue a token for the workers of a pool, shown this once; they reach their own pool and its runs, and no gate."""
    with opened_store() as (home, _), opened_ledger(home) as ledger:
        if revoke:
            ledger.revoke_worker_tokens(pool)
            emit_done({"revoked": pool}, f"All tokens of pool {pool!r} have ended.", as_json=as_json)
            return
        secret = ledger.issue_worker_token(pool, days=days)
    if as_json:
        emit_json({"pool": pool, "token": secret})
    else:
        headers = '{"Authorization": "Bearer ' + secret + '"}'
        say(
            f"Token of pool {pool!r}, shown this once. Start its workers with\n  PREFECT_CLIENT_CUSTOM_HEADERS='{headers}'"
        )


@app.command()
def refusals(*, limit: Limit = 50, as_json: Json = False) -> None:
    """What the sign-in layer in front of Prefect refused, to whom and why; the newest first."""
    columns = (
        Column("at (UTC)", "at", when),
        Column("who", "who"),
        Column("asked", "method"),
        Column("path", "path"),
        Column("answer", "status"),
        Column("why", "reason"),
    )
    with site_store("start") as here, opened_ledger(here.home) as ledger:
        found = [row.model_dump(mode="json") for row in ledger.refusals(limit=limit)]
    emit_list(found, columns, as_json=as_json, empty="Nothing was refused.")


def _toml(settings: str) -> dict[str, Any]:
    """Settings as they would stand in site.toml.

    Raises:
        InvalidInputError: not TOML.
    """
    try:
        return tomllib.loads(settings)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInputError(f"--set {settings!r} is not TOML ({error}): write text in quotes") from error


def _folder(home: Path | None) -> Path:
    return profiles.current().home() if home is None else home


def _status(home: "Home", store: "Store") -> dict[str, Any]:
    from agents.running import agent_process
    from agents.store import gates, heads, jobs, outbox

    settings = home.settings()
    with store.read() as session:
        kept = heads.list_heads(session)
        counts = outbox.waiting(session)
        found = {
            "live_jobs": len(jobs.live_jobs(session)),
            "waiting_gates": len(gates.list_gates(session)),
            "outbox_queued": counts.get("queued", 0),
            "outbox_refused": counts.get("refused", 0),
            "sent": counts.get("sent", 0),
        }
    return {
        "site": settings.site,
        "home": str(home.path),
        "registry_url": settings.registry_url,
        "agent_process": agent_process(home),
        "prefect_url": _read(home.prefect_url_file),
        "last_heard_from_registry": _written_at(home.work_file),
        **found,
        "audit_heads_kept": len(kept),
        "newest_audit_head": None if not kept else {"sequence": kept[-1].sequence, "head": kept[-1].head},
        "probe": _probe_of(home),
    }


def _told(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {text(item)}" for name, item in value.items())
    return text(value)


def _probe_of(home: "Home") -> Any:
    import json

    kept = _read(home.probe_file)
    return None if kept is None else json.loads(kept)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None


def _written_at(path: Path) -> str | None:
    from datetime import UTC, datetime

    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
    except FileNotFoundError:
        return None


def _print_probe(outcome: dict[str, Any]) -> None:
    held = [name for name, ok in outcome["checks"].items() if ok]
    failed = [name for name, ok in outcome["checks"].items() if not ok]
    print_title(f"\ndeny probe of runtime {outcome['runtime']}: {outcome['isolation'].replace('_', ' ')}")
    facts = {"probed (UTC)": when(outcome["probed_at"]), "held": ", ".join(held) or "-"}
    print_facts({**facts, "failed": ", ".join(failed)} if failed else facts)
