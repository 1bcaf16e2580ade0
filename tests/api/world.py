"""A small federation at one registry: people of every role, two sites, the registry's own service."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from threading import Barrier
from typing import Any, Final

import pytest
from fastapi import FastAPI
from httpx2 import Response
from sqlalchemy import text
from sqlmodel import Session
from starlette.testclient import TestClient

from api.access import enforce as enforcing
from api.access.acting import key
from api.access.identity import issue
from api.client import RegistryClient
from api.core.audit import AuditLog
from api.core.database import transaction
from api.core.settings import RegistrySettings
from api.nouns.people.tables import Organization, User
from api.nouns.sites.tables import Site
from api.nouns.tokens.rules import OF_PERSON, OF_SERVICE, OF_SITE
from api.schemas.cubes import CubeCreate, CubeKind, CubePublic
from cubes.packing import pack_folder

URL: Final = "http://registry.example"

PEOPLE: Final[Mapping[str, str]] = {
    "administrator": "federation",
    "benchmark_owner": "university",
    "committee_member": "institute",
    "model_owner": "company",
    "data_owner": "north",
    "other_data_owner": "south",
    "stranger": "elsewhere",
}
"""Person to organization. Nobody but the administrator has a role until a test gives one."""
SITES: Final = ("north", "south")
"""Each in the organization of the same name."""

VOLUMES: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "prepare": (("data_path", "labels_path"), ("output_path", "output_labels_path")),
    "sanity_check": (("data_path", "labels_path"), ()),
    "statistics": (("data_path", "labels_path"), ("output_path",)),
    "infer": (("data_path",), ("output_path",)),
    "evaluate": (("predictions", "labels"), ("output_path",)),
}
TASKS: Final[Mapping[CubeKind, tuple[str, ...]]] = {
    CubeKind.DATA_PREPARATOR: ("prepare", "sanity_check", "statistics"),
    CubeKind.MODEL: ("infer",),
    CubeKind.METRICS: ("evaluate",),
}


@dataclass(frozen=True)
class Seeded:
    """What a fresh world holds: the tokens and the numbers of its parties."""

    tokens: Mapping[str, str]
    ids: Mapping[str, int]


@dataclass
class Registry:
    """One running registry with its world."""

    settings: RegistrySettings
    app: FastAPI
    http: TestClient
    tokens: dict[str, str]
    ids: dict[str, int]
    _clients: dict[str, RegistryClient] = field(default_factory=dict)

    @property
    def audit(self) -> AuditLog:
        return self.app.state.audit  # type: ignore[no-any-return]

    def client_of(self, party: str) -> RegistryClient:
        """The client of a person, of a site (`site:north`), of the `service`, or of `anyone` without a token."""
        if party not in self._clients:
            self._clients[party] = RegistryClient(URL, self.tokens.get(party), transport=self.http._transport)
        return self._clients[party]

    def call(self, party: str, method: str, path: str, **options: Any) -> Response:
        """A bare request as a party."""
        token = self.tokens.get(party)
        headers = {**({"Authorization": f"Bearer {token}"} if token else {}), **options.pop("headers", {})}
        return self.http.request(method, path, headers=headers, **options)

    def make_administrator(self, party: str) -> None:
        with transaction(self.app.state.engine, write=True) as session:
            user = session.get_one(User, self.ids[party])
            user.platform_administrator = True
            session.add(user)

    def write(self) -> "Session":
        """A write transaction past all rules: `with registry.write() as session:`."""
        return transaction(self.app.state.engine, write=True)  # type: ignore[return-value]  # a context manager of one

    @property
    def writers(self) -> int:
        """How many can be in the middle of writing at the same moment, of two."""
        return 1 if self.app.state.engine.dialect.name == "sqlite" else 2

    def meet_after_sign_in(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Two requests that write have both been let in before either goes on."""
        let_in, both = enforcing.require, Barrier(self.writers)

        def require(session: Session, *request: Any) -> None:
            let_in(session, *request)
            session.flush()
            both.wait(60)

        monkeypatch.setattr(enforcing, "require", require)

    def until_one_waits(self) -> None:
        """Until somebody waits for what another transaction holds; in SQLite they wait before they begin."""
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        while self.writers > 1:
            with self.app.state.engine.connect() as connection:
                if connection.scalar(text(waiting)):
                    return

    def entries(self) -> int:
        """How many entries the audit log has."""
        return self.client_of("administrator").audit.head().sequence


def populate(settings: RegistrySettings, session: Session) -> Seeded:
    """Put everybody in, past the routes: tests of routes start from here."""
    organizations = {name: Organization(name=name, title=name.title()) for name in PEOPLE.values()}
    session.add_all(organizations.values())
    session.flush()
    tokens, ids = {}, {f"organization:{name}": key(row.id) for name, row in organizations.items()}
    for name, organization in PEOPLE.items():
        user = User(
            email=f"{name}@{organization}.example",
            name=name.replace("_", " ").title(),
            organization_id=ids[f"organization:{organization}"],
            platform_administrator=name == "administrator",
        )
        session.add(user)
        session.flush()
        ids[name] = key(user.id)
        tokens[name] = _token(session, scopes=OF_PERSON, user_id=user.id)
    for name in SITES:
        site = Site(name=name, title=f"{name.title()} hospital", organization_id=ids[f"organization:{name}"])
        session.add(site)
        session.flush()
        ids[f"site:{name}"] = key(site.id)
        tokens[f"site:{name}"] = _token(session, scopes=OF_SITE, site_id=site.id)
    tokens["service"] = _token(session, scopes=OF_SERVICE)
    AuditLog(settings.audit_key()).append(session, actor="test", action="world.made", subject="registry")
    return Seeded(tokens, ids)


def _token(session: Session, *, scopes: frozenset[Any], **bearer: Any) -> str:
    return issue(session, label="test", scopes=list(scopes), life=timedelta(days=30), **bearer)[1]


def write_cube(folder: Path, kind: CubeKind, *, mark: str = "", extra: str = "") -> Path:
    """A folder with the smallest contract of a kind; `mark` makes its digest another."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["container_type: Folder", "tasks:"]
    for task in TASKS[kind]:
        inputs, outputs = VOLUMES[task]
        lines += [f"  {task}:", f"    run_args: {{command: python3 {task}.py}}", "    input_volumes:"]
        lines += [f"      {name}: {{mount_path: /in/{name}, type: directory}}" for name in inputs]
        lines += ["    output_volumes:"] if outputs else []
        lines += [f"      {name}: {{mount_path: /out/{name}, type: directory}}" for name in outputs]
    if kind == CubeKind.METRICS:
        lines += [
            "metrics:",
            "  - {name: auroc, title: Area under the ROC curve, direction: higher, minimum: 0, maximum: 1}",
        ]
    (folder / "container_config.yaml").write_text("\n".join([*lines, extra, ""]), encoding="utf-8")
    (folder / "program.py").write_text(f"# {mark}\n", encoding="utf-8")
    return folder


def register_cube(client: RegistryClient, scratch: Path, name: str, kind: CubeKind, **changes: Any) -> CubePublic:
    """Write, pack, upload and register a cube."""
    pack = scratch / f"{name}.tar"
    pack_folder(write_cube(scratch / name, kind, mark=name), pack)
    digest = client.blobs.upload(pack)
    return client.cubes.create(CubeCreate(name=name, kind=kind, pack_digest=digest, **changes))
