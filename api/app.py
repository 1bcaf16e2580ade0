"""The registry as a web application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, Depends, FastAPI

from api.access.document import with_rights
from api.access.enforce import check_complete, enforce
from api.core import problems
from api.core.audit import AuditLog
from api.core.database import SessionDep
from api.core.limits import BodyLimit
from api.core.plain_json import require_plain_json
from api.core.settings import RegistrySettings
from api.migrations import require_current
from api.nouns.associations import routes as associations
from api.nouns.audit import routes as audit
from api.nouns.benchmarks import routes as benchmarks
from api.nouns.blobs import routes as blobs
from api.nouns.blobs.store import BlobStore
from api.nouns.cubes import routes as cubes
from api.nouns.datasets import routes as datasets
from api.nouns.executions import routes as executions
from api.nouns.gates import routes as gates
from api.nouns.leaderboard import routes as leaderboard
from api.nouns.models import routes as models
from api.nouns.people import routes as people
from api.nouns.preparations import routes as preparations
from api.nouns.results import routes as results
from api.nouns.sites import routes as sites
from api.nouns.tokens import routes as tokens
from api.nouns.work import routes as work
from api.storage.columns import now
from api.storage.engine import make_engine

health = APIRouter(tags=["health"])


@health.get("/v1/health")
def read_health(session: SessionDep) -> dict[str, str]:
    """Whether the registry answers and reaches its database; and its clock."""
    session.connection()
    return {"status": "ok", "version": version("assay"), "time": now().isoformat()}


ROUTERS = (
    health,
    people.router,
    tokens.router,
    sites.router,
    blobs.router,
    cubes.router,
    models.router,
    audit.router,
    benchmarks.router,
    associations.router,
    gates.router,
    leaderboard.router,
    preparations.router,
    datasets.router,
    executions.router,
    results.router,
    work.router,
)


class RegistryApp(FastAPI):
    """A web application whose document tells who may do what."""

    def openapi(self) -> dict[str, Any]:
        return with_rights(super().openapi())


def create_app(settings: RegistrySettings) -> FastAPI:
    """The application; its database must be migrated (`api.migrations.upgrade`).

    Raises:
        SettingsError: unsafe or incomplete settings.
        MigrationError: the database is of another version.
        RuntimeError: a route has no row in the permission matrix.
    """
    audit_key = settings.audit_key()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.blobs.discard_left_overs()
        yield
        app.state.engine.dispose()

    app = RegistryApp(
        title="Assay registry",
        version=version("assay"),
        lifespan=lifespan,
        dependencies=[Depends(enforce, scope="function"), Depends(require_plain_json)],
        docs_url=None,
        redoc_url=None,
    )
    app.state.settings, app.state.audit, app.state.blobs = settings, AuditLog(audit_key), BlobStore(settings.blobs)
    app.state.engine = make_engine(settings.url)
    require_current(app.state.engine)
    problems.install(app)
    for router in ROUTERS:
        app.include_router(router)
    app.add_middleware(BodyLimit, limit=settings.max_body_bytes, upload_limit=settings.max_blob_bytes)
    check_complete(ROUTERS)
    return app
