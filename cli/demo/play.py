"""The demonstration from its first curtain to its last."""

import re
import signal
import sys
import time
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

from cli.demo.cast import Actor, actor
from cli.demo.decide import Decider
from cli.demo.federation import Federation
from cli.demo.machine import OnThisMachine
from cli.demo.setting import Ground, Setting, fresh_folder, split_data
from cli.demo.stage import WIDTH, Stage
from cli.demo.story import MODELS, Story
from cli.demo.summary import write_summary
from flows.server.postgres import EmbeddedPostgres

_STAY: Final = "Everything runs until Ctrl-C."


def play(folder: Path, *, by_hand: bool, stay: bool, picture: Path | None = None, cluster: bool = False) -> None:
    """Play it.

    Raises:
        CliError: something did not go as it should; all processes have ended.
    """
    # Ended from outside, it ends like after Ctrl-C: with everything that it has started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    begun = time.monotonic()
    width = None if sys.stdout.isatty() and picture is None else WIDTH
    console = Console(highlight=False, emoji=False, width=width, record=picture is not None)
    stage = Stage(console, by_hand=by_hand)
    ground = _ground(folder, console, cluster=cluster)
    fresh_folder(folder)
    environments = folder.parent / "environments"
    environments.mkdir(exist_ok=True)
    console.print(Text(f"One registry and three hospitals, {ground.where}, below {_near(folder)!r}.", style="bold"))
    with (
        ground,
        EmbeddedPostgres(folder / "postgres") as postgres,
        Federation(folder) as federation,
    ):
        setting = Setting(folder, federation, postgres.url("postgres"), environments, ground)
        setting.model_owners = {name: actor("Model owner", name.replace("-", " ").title(), name) for name in MODELS}
        decider = Decider(stage)
        _play_all(stage, setting, Story(stage, setting, decider))
        summary = write_summary(stage, setting, decider)
        console.print()
        console.print(Text(f"{time.monotonic() - begun:.0f} s. The same story as data: {_near(summary)}", style="bold"))
        if picture is not None:
            draw(console, picture)
        if stay:
            _stay(console, setting)


def _ground(folder: Path, console: Console, *, cluster: bool) -> Ground:
    if not cluster:
        return OnThisMachine()
    from cli.demo.deployed import find_ground

    return find_ground(folder, console)


def _play_all(stage: Stage, setting: Setting, story: Story) -> None:
    setting.ground.prepare(stage)
    with stage.phase("A federation comes up: a registry, three hospitals, their people"):
        setting.ground.raise_registry(stage, setting)
        split_data(setting)
        setting.ground.wait_for_registry(stage, setting)
        with stage.aside(
            "The administrator takes in a committee, two model labs and three hospitals, with their people."
        ):
            story.admit_everybody()
        with stage.aside("Each hospital opens its site: a folder, an agent, a Prefect server of its own."):
            story.open_sites()
    with stage.phase("A committee defines the task; the platform administrator approves it"):
        story.define_the_benchmark()
    with stage.phase("Hospitals prepare their data; data owners let digests and statistics go"):
        with stage.aside(
            "Each hospital names its people: an operator, who starts work, and a data owner, who decides."
        ):
            story.welcome_people()
        story.prepare_datasets()
    with stage.phase("Model owners bring models; the committee approves each"):
        story.bring_models()
        story.associate_models()
    with stage.phase("Hospitals join; the committee approves their datasets"):
        story.associate_datasets()
    with stage.phase("Models travel to the hospitals and run there, after data owners let them"):
        story.run_models()
    with stage.phase("Data owners look at each number before it leaves"):
        story.release_results()
    if stage.console.record:
        stage.console.export_text(clear=True)  # the picture begins here
    with stage.phase("The committee publishes"):
        story.publish()
    with stage.phase("What left each hospital, who allowed it, and the proof"):
        story.prove()


def _near(path: Path) -> str:
    """A path as one would type it here."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def draw(console: Console, picture: Path) -> None:
    """What was recorded as an SVG that needs nothing from elsewhere."""
    drawn = console.export_svg(title="assay demo")
    picture.parent.mkdir(parents=True, exist_ok=True)
    picture.write_text(re.sub(r"@font-face\s*\{[^}]*\}|<!--.*?-->", "", drawn), encoding="utf-8")


def _stay(console: Console, setting: Setting) -> None:
    console.print(Text(f"\n{_STAY} Prefect's pages, each behind its sign-in:", style="bold"))
    _page(console, "Registry", setting.registry_prefect, setting.chair, "ASSAY_TOKEN")
    for hospital in setting.hospitals:
        address = setting.ground.pages(setting, hospital)
        _page(console, hospital.title, address, hospital.owner, "ASSAY_SITE_TOKEN")
    console.print(Text("Act as somebody, in another terminal:", style="bold"))
    for person in (setting.chair, setting.hospitals[0].owner):
        console.print(Text("\n".join([f"\n    # {person.name}", *person.becoming()])), soft_wrap=True)
    try:
        while True:
            time.sleep(1)
            setting.federation.require_alive()
    except KeyboardInterrupt:
        console.print(Text("\nEnding all processes."))


def _page(console: Console, place: str, address: str, person: Actor, token: str) -> None:
    """Where a page is, and as whom to sign in there: a personal token does for a password."""
    console.print(Text(f"    {place:<17} {address}"))
    console.print(Text(f"        {person.email}  {person.environment[token]}", style="dim"), soft_wrap=True)
