"""The registry as its users, its sites and its own flows call it."""

from types import TracebackType
from typing import Any, Final, Self

import httpx2

from api.client.associations import Associations
from api.client.audit import Audit
from api.client.benchmarks import Benchmarks
from api.client.blobs import Blobs
from api.client.cubes import Cubes
from api.client.gates import Gates
from api.client.noun import Listed, Noun
from api.client.people import Sites, Users
from api.client.transport import Token, Transport
from api.schemas.benchmarks import AssociationPublic, BenchmarkPublic, GatePublic
from api.schemas.border import PayloadKind
from api.schemas.cubes import CubePublic, ModelCreate, ModelPublic
from api.schemas.people import OrganizationCreate, OrganizationPublic, SitePublic, UserPublic
from api.schemas.records import DatasetPublic, ExecutionPublic, PreparationPublic, ResultPublic, SiteWork

_ROUTES: Final = {
    PayloadKind.HEARTBEAT: "/v1/site/heartbeats",
    PayloadKind.PREPARATION: "/v1/site/preparations",
    PayloadKind.DATASET: "/v1/site/datasets",
    PayloadKind.EXECUTION_EVENT: "/v1/site/execution-events",
    PayloadKind.RESULT: "/v1/site/results",
}


class RegistryClient:
    """One party's connection to the registry; one attribute a noun.

    Args:
        url: of the registry, such as `https://registry.example`.
        token: of a person, a site, or the registry's own service, or a function that gives it; None reads what
            anybody may.
        timeout_s: for an answer.
        max_blob_bytes: the largest file that is sent or fetched.
        transport: another way to reach it, such as an application in the same process.
    """

    def __init__(
        self,
        url: str,
        token: Token,
        *,
        timeout_s: float = 30,
        max_blob_bytes: int = 20 << 30,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self._transport = calls = Transport(url, token, timeout_s=timeout_s, transport=transport)
        self.url = calls.url
        self.blobs = Blobs(calls, max_blob_bytes)
        self.users = Users(calls, "/v1/users", UserPublic)
        self.organizations = Noun[OrganizationPublic, OrganizationCreate](
            calls, "/v1/organizations", OrganizationPublic
        )
        self.sites = Sites(calls, "/v1/sites", SitePublic)
        self.cubes = Cubes(calls, "/v1/cubes", CubePublic)
        self.models = Noun[ModelPublic, ModelCreate](calls, "/v1/models", ModelPublic)
        self.benchmarks = Benchmarks(calls, "/v1/benchmarks", BenchmarkPublic)
        self.associations = Associations(calls, "/v1/associations", AssociationPublic)
        self.gates = Gates(calls, "/v1/gates", GatePublic)
        self.datasets = Listed[DatasetPublic](calls, "/v1/datasets", DatasetPublic)
        self.preparations = Listed[PreparationPublic](calls, "/v1/preparations", PreparationPublic)
        self.executions = Listed[ExecutionPublic](calls, "/v1/executions", ExecutionPublic)
        self.results = Listed[ResultPublic](calls, "/v1/results", ResultPublic)
        self.audit = Audit(calls)

    def close(self) -> None:
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def health(self) -> dict[str, str]:
        """Whether the registry answers: its version, and its clock as `time`."""
        return self._transport.get("/v1/health", dict[str, str])

    def site_work(self) -> SiteWork:
        """What the registry asks of this site.

        Raises:
            RegistryError: refused or unreachable.
        """
        return self._transport.get("/v1/site/work", SiteWork)

    def send(self, kind: PayloadKind, body: bytes, *, idempotency_key: str) -> dict[str, Any]:
        """Send one payload of the closed list; the same key is the same write, however often it is sent.

        Raises:
            RegistryError: refused or unreachable.
        """
        return self._transport.post(_ROUTES[kind], dict[str, Any], body, headers={"Idempotency-Key": idempotency_key})
