"""An agent that is about to be killed: runs one evaluation of a hospital's site, in a process of its own.

`python -m tests.faults.dying_agent FOLDER KIND`; the folder is the hospital's, KIND is `prepare` or `evaluate`.
"""

import os
import sys
from pathlib import Path

import pytest
from sqlmodel import select

from flows.settings import configure

configure(home=Path(sys.argv[1]) / "prefect")

from agents.site import HOME_VARIABLE, Site  # noqa: E402 - Prefect reads its settings when it is imported
from agents.store.tables import Person  # noqa: E402
from api.schemas.records import AuditHead, SiteWork  # noqa: E402
from tests.hospital import Hospital, without_prefect  # noqa: E402
from tests.small_registry import SmallRegistry  # noqa: E402


def main(folder: Path, kind: str) -> None:
    os.environ[HOME_VARIABLE] = str(folder / "home")
    site = Site(folder / "home")
    with site.store.read() as session:
        owner = session.exec(select(Person)).one()
    nobody = SmallRegistry(SiteWork(site_id=1, benchmarks=[], audit_head=AuditHead(sequence=0, head="00")))
    here = Hospital(folder, nobody, site, folder / "raw", owner)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("agents.site._SITES", {site.home.path: site})
        without_prefect(here, patch)
        here.prepare() if kind == "prepare" else here.evaluate(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
