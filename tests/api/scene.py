"""A registry in which every route can succeed for whoever may call it, and a way to call it that leaves no trace."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from httpx2 import Response
from sqlalchemy import Connection
from sqlmodel import Session

from api.access.identity import issue
from api.access.matrix import Role
from api.schemas.benchmarks import AssociationKind
from api.schemas.border import PayloadKind
from api.schemas.cubes import CubeKind
from api.schemas.people import InvitationCreate, Scope, TokenCreate, UserCreate
from api.storage.engine import WRITE
from cubes.digests import digest_bytes
from tests.api.campaign import PROBE, Campaign

PERSONS: Final = (
    "administrator",
    "stranger",
    "committee_member",
    "data_owner",
    "model_owner",
    "other_data_owner",
)
PARTIES: Final[Mapping[Role, str]] = {
    Role.ANYONE: "anyone",
    Role.USER: "stranger",
    Role.ADMINISTRATOR: "administrator",
    Role.COMMITTEE: "committee_member",
    Role.OWNER: "data_owner",
    Role.APPROVER: "other_data_owner",
    Role.READER: "stranger",
    Role.SITE: "site:south",
    Role.SERVICE: "service",
}
"""Everybody has just this role towards the things below, and no other."""
SUBJECTS: Final[Mapping[str, str]] = {
    "organization_id": "organization:north",
    "user_id": "data_owner",
    "token_id": "token:data_owner",
    "site_id": "site:north",
    "cube_id": "cube:alpha-cube",
    "model_id": "model:alpha",
    "benchmark_id": "benchmark",
    "member_id": "benchmark_owner",
    "association_id": "association:north",
    "gate_id": "gate:asked",
    "dataset_id": "dataset:north",
    "execution_id": "execution",
    "result_id": "result",
}
"""What the parameters of paths name, where a route below says nothing else."""
NOTE: Final = b"sent by one person alone"
SBOM: Final = b'{"spdxVersion": "SPDX-2.3", "packages": []}'
_CARD: Final = dict.fromkeys(("title", "intended_use", "training_data", "architecture", "licence", "contact"), "x")


@dataclass(frozen=True)
class Route:
    """How a route is called so that it succeeds.

    Args:
        body: what is sent, by the name of who sends it.
        subjects: what the path's parameters name instead of `SUBJECTS`; for one role alone when the key is a role.
        parties: who has a role towards that, instead of `PARTIES`.
    """

    body: Callable[["Scene", str], Any] | None = None
    subjects: Mapping[Any, Any] = field(default_factory=dict)
    parties: Mapping[Role, str] = field(default_factory=dict)


_MODEL: Final = {Role.OWNER: "model_owner"}
_GATE: Final = {Role.COMMITTEE: {"gate_id": "gate:invited"}, Role.APPROVER: {"gate_id": "gate:invited"}}
"""The committee asked there, and so does not approve."""


def _payload(kind: PayloadKind) -> Callable[["Scene", str], Any]:
    return lambda scene, _: scene.payloads[kind]


def _decision(scene: "Scene", party: str) -> dict[str, str]:
    gate = scene.ids["gate:invited" if party in {"committee_member", "other_data_owner"} else "gate:asked"]
    return {"digest": scene.campaign.gate(gate).digest, "verdict": "approve", "reason": "looked at it"}


ROUTES: Final[Mapping[str, Route]] = {
    "POST /v1/organizations": Route(lambda *_: {"name": "clinic", "title": "Clinic"}),
    "POST /v1/users": Route(
        lambda scene, _: {"email": "a@b.example", "name": "A", "organization_id": scene.ids["organization:north"]}
    ),
    "POST /v1/users/{user_id}/invitations": Route(lambda *_: {}, {"user_id": "newcomer"}),
    "POST /v1/invitations/redeem": Route(lambda scene, _: {"label": "first", "secret": scene.invitation}),
    "PUT /v1/users/me/password": Route(lambda *_: {"password": "a sentence that is long enough"}),
    "POST /v1/tokens": Route(lambda *_: {"label": "laptop"}),
    "POST /v1/sites": Route(
        lambda scene, _: {"name": "new", "title": "New", "organization_id": scene.ids["organization:north"]}
    ),
    "POST /v1/sites/{site_id}/tokens": Route(lambda *_: {"label": "agent"}),
    "GET /v1/blobs/{digest}": Route(parties={Role.READER: "benchmark_owner"}),
    "PUT /v1/blobs/{digest}": Route(lambda *_: NOTE),
    "POST /v1/cubes": Route(
        lambda scene, party: {"name": "new-cube", "kind": "model", "pack_digest": scene.pack(party)}
    ),
    "POST /v1/cubes/{cube_id}/attachments": Route(lambda scene, _: {"kind": "sbom", "digest": scene.sbom}, {}, _MODEL),
    "POST /v1/models": Route(
        lambda scene, party: {"name": "new-model", "cube_id": scene.ids[f"cube:{_model_of(party)}-cube"], **_CARD}
    ),
    "POST /v1/benchmarks": Route(lambda scene, _: scene.campaign.specification(name="new").model_dump(mode="json")),
    "PUT /v1/benchmarks/{benchmark_id}": Route(
        lambda scene, _: scene.campaign.specification(name="draft").model_dump(mode="json"), {"benchmark_id": "draft"}
    ),
    "POST /v1/benchmarks/{benchmark_id}/submit": Route(subjects={"benchmark_id": "draft"}),
    "PATCH /v1/benchmarks/{benchmark_id}/policy": Route(lambda *_: {"model_policy": {"quorum": 2}}),
    "PUT /v1/benchmarks/{benchmark_id}/metrics-cube": Route(
        lambda scene, _: {"metrics_cube_id": scene.ids["cube:metrics-2"]}
    ),
    "POST /v1/benchmarks/{benchmark_id}/committee": Route(lambda scene, _: {"user_id": scene.ids["data_owner"]}),
    "POST /v1/associations": Route(lambda scene, party: scene.asking(party)),
    "POST /v1/associations/{association_id}/withdraw": Route(lambda *_: {"reason": "no more"}),
    "PUT /v1/associations/{association_id}/compatibility": Route(
        lambda scene, _: scene.reports["gamma"], {"association_id": "association:gamma"}, _MODEL
    ),
    "PUT /v1/associations/{association_id}/priority": Route(lambda *_: {"priority": 3}),
    "POST /v1/associations/{association_id}/consent": Route(None, {"association_id": "association:alpha"}, _MODEL),
    "DELETE /v1/associations/{association_id}/consent": Route(None, {"association_id": "association:alpha"}, _MODEL),
    "GET /v1/gates/{gate_id}": Route(None, _GATE, _MODEL),
    "GET /v1/gates/{gate_id}/decisions": Route(None, _GATE, _MODEL),
    "POST /v1/gates/{gate_id}/decisions": Route(_decision, _GATE, _MODEL),
    "PUT /v1/gates/{gate_id}/flow-run": Route(lambda *_: {"flow_run_id": "0b5a-77"}, _GATE, _MODEL),
    "POST /v1/gates/{gate_id}/refresh": Route(None, _GATE, _MODEL),
    "POST /v1/gates/{gate_id}/conclude": Route(None, {**_GATE, "gate_id": "gate:decided"}, _MODEL),
    "POST /v1/site/heartbeats": Route(_payload(PayloadKind.HEARTBEAT)),
    "POST /v1/site/preparations": Route(_payload(PayloadKind.PREPARATION)),
    "POST /v1/site/datasets": Route(_payload(PayloadKind.DATASET)),
    "POST /v1/site/execution-events": Route(_payload(PayloadKind.EXECUTION_EVENT)),
    "POST /v1/site/results": Route(_payload(PayloadKind.RESULT)),
}
"""Routes that want a body, or something else than others."""


@dataclass
class Scene:
    """A campaign in which everybody has something."""

    campaign: Campaign
    invitation: str
    sbom: str
    """The digest of a document that the model owner has uploaded."""
    reports: dict[str, Any]
    payloads: dict[PayloadKind, Any]

    @property
    def ids(self) -> dict[str, int]:
        return self.campaign.registry.ids

    def pack(self, party: str) -> str:
        """The digest of a pack that a party has uploaded."""
        return self.campaign.cube(f"{_model_of(party)}-cube").pack_digest

    def asking(self, party: str) -> dict[str, Any]:
        """Ask for a party's own model."""
        model = _model_of(party)
        return {
            "benchmark_id": self.campaign.benchmark_id,
            "kind": "model",
            "subject_id": self.ids[f"model:{model}"],
            "compatibility": self.reports[model],
        }

    def party(self, route: str, role: Role) -> str:
        return _how(route).parties.get(role, PARTIES[role])

    def call(self, route: str, role: Role, token: str | None = None) -> Response:
        """Call a route as a role, in a way that succeeds where it is allowed; `token` instead of the party's own."""
        how, party = _how(route), self.party(route, role)
        body = None if how.body is None else how.body(self, party)
        options: dict[str, Any] = {"content": body} if isinstance(body, bytes) else {"json": body}
        if token is not None:
            options["headers"] = {"Authorization": f"Bearer {token}"}
        return self._call(route, role, **options)

    def send(self, route: str, role: Role, *, content: bytes | None, query: Mapping[str, Any]) -> Response:
        """Send anything to a route, about what its path names in `call`."""
        headers = {"Content-Type": "application/json"} if content is not None else {}
        return self._call(route, role, content=content, params=query, headers=headers)

    def _call(self, route: str, role: Role, **options: Any) -> Response:
        subjects, (method, path) = _how(route).subjects, route.split()
        names = {**SUBJECTS, **subjects, **subjects.get(role, {})}
        numbers = {parameter: self.ids[names[parameter]] for parameter in SUBJECTS}
        headers = {"Idempotency-Key": "scene-0001", **options.pop("headers", {})}
        where = path.format(**numbers, digest=digest_bytes(NOTE))
        return self.campaign.registry.call(self.party(route, role), method, where, headers=headers, **options)

    def narrowed_token(self, route: str, role: Role, without: Scope) -> str:
        """A token of a role's party that is good for everything else."""
        party = self.party(route, role)
        bearer = {"site_id" if role == Role.SITE else "user_id": self.ids[party]} if role != Role.SERVICE else {}
        scopes = sorted(set(Scope) - {without, Scope.REDEEM})
        with Session(self.campaign.registry.app.state.engine) as session:
            secret = issue(session, label="narrow", scopes=scopes, life=timedelta(days=1), **bearer)[1]
            session.commit()
            return secret

    def entries(self) -> int:
        """How many entries the audit log has."""
        registry = self.campaign.registry
        with Session(registry.app.state.engine) as session:
            return registry.audit.head(session).sequence

    @contextmanager
    def without_trace(self) -> Iterator[None]:
        """Whatever is called inside works on one connection, whose transaction is rolled back at the end."""
        state = self.campaign.registry.app.state
        engine = state.engine
        connection: Connection
        with engine.connect().execution_options(**WRITE) as connection, connection.begin() as outer:
            state.engine = connection
            try:
                yield
            finally:
                state.engine = engine
                outer.rollback()


def set_up(campaign: Campaign) -> Scene:
    """From a campaign that runs: everybody has a model, and there is one of everything that a path can name."""
    ids = campaign.registry.ids
    _possessions(campaign)
    asked = {name: campaign.ask_for_model(name) for name in ("delta", "epsilon")}
    gates = {"gate:asked": campaign.gate_of(asked["delta"]), "gate:decided": campaign.gate_of(asked["epsilon"])}
    campaign.decide(gates["gate:decided"], "benchmark_owner")
    invited = campaign.ask("committee_member", AssociationKind.MODEL, ids["model:gamma"])
    south = campaign.send("south", PayloadKind.DATASET, campaign.registration("more", root=digest_bytes(b"more")))
    theirs = campaign.ask("committee_member", AssociationKind.DATASET, south)
    gates["gate:invited"] = campaign.gate_of(theirs)
    ids |= {name: gate.id for name, gate in gates.items()}
    ids["association:gamma"] = invited.id
    work = campaign.work()
    ids["association:north"] = work.datasets[0].association_id
    ids["association:alpha"] = work.models[0].association_id
    ids["execution"] = campaign.send("north", PayloadKind.EXECUTION_EVENT, campaign.event("north", "alpha"))
    ids["result"] = campaign.send_result("north", "alpha")
    campaign.release()
    models = [*map(_model_of, PERSONS), "gamma"]
    return Scene(
        campaign,
        invitation=campaign.client("administrator").users.invite(ids["newcomer"], InvitationCreate()).secret,
        sbom=campaign.upload_demo("model_owner", SBOM),
        reports={name: campaign.report(name).model_dump(mode="json") for name in models},
        payloads={
            PayloadKind.HEARTBEAT: _heartbeat(),
            PayloadKind.PREPARATION: {
                "benchmark_id": campaign.benchmark_id,
                "name": "fourth",
                "fractions": {"-1": 0.5, "2": 0.5},
                "measured_at": "2026-01-01T00:00:00Z",
            },
            PayloadKind.DATASET: campaign.registration("third", root=digest_bytes(b"third")).model_dump(mode="json"),
            PayloadKind.EXECUTION_EVENT: campaign.event("south", "alpha").model_dump(mode="json"),
            PayloadKind.RESULT: campaign.result("south", "alpha").model_dump(mode="json"),
        },
    )


def _possessions(campaign: Campaign) -> None:
    """A model, the demo dataset's bytes and more, to everybody; a draft; and a newcomer who has nothing at all."""
    ids = campaign.registry.ids
    for party in PERSONS:
        campaign.add_model(_model_of(party), party=party)
        campaign.upload_demo(party)
    for name in ("gamma", "delta", "epsilon"):
        campaign.add_model(name)
    campaign.upload_demo("benchmark_owner", NOTE)
    other = campaign.add_cube("metrics-2", CubeKind.METRICS)
    ids["cube:metrics-2"] = other.id
    draft = campaign.client("benchmark_owner").benchmarks.create(campaign.specification(name="draft"))
    ids["draft"] = draft.id
    fna, ids["benchmark"] = ids["benchmark"], draft.id
    campaign.join_committee("committee_member")
    ids["benchmark"] = fna
    administrator = campaign.client("administrator")
    new = UserCreate(email="new@north.example", name="New", organization_id=ids["organization:north"])
    ids["newcomer"] = administrator.users.create(new).id
    ids["token:data_owner"] = campaign.client("data_owner").users.issue_token(TokenCreate(label="second")).id


def _heartbeat() -> dict[str, Any]:
    return {
        "sent_at": "2026-01-01T00:00:00Z",
        "agent_version": "1.0",
        "running": 0,
        "waiting_gates": 0,
        "probe": PROBE,
    }


def _how(route: str) -> Route:
    return ROUTES.get(route, Route())


def _model_of(party: str) -> str:
    """Who has none of their own tries it with the stranger's."""
    return f"of-{party if party in PERSONS else 'stranger'}"
