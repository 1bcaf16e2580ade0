"""The registry as a web application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import APIRouter, Depends, FastAPI

from api.access.enforce import check_complete, enforce
from api.core import problems
from api.core.audit import AuditLog
from api.core.database import SessionDep
from api.core.limits import BodyLimit
from api.core.settings import RegistrySettings
from api.storage.engine import make_engine

health = APIRouter(tags=["health"])


@health.get("/v1/health")
def read_health(session: SessionDep) -> dict[str, str]:
    """Whether the registry answers and reaches its database."""
    session.connection()
    return {"status": "ok", "version": version("assay")}


ROUTERS = (health,)


def create_app(settings: RegistrySettings) -> FastAPI:
    """The application; its database must be migrated (`api.migrations.upgrade`).

    Raises:
        SettingsError: unsafe or incomplete settings.
        RuntimeError: a route has no row in the permission matrix.
    """
    audit_key = settings.audit_key()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        app.state.engine.dispose()

    app = FastAPI(
        title="Assay registry",
        version=version("assay"),
        lifespan=lifespan,
        dependencies=[Depends(enforce, scope="function")],
        docs_url=None,
        redoc_url=None,
    )
    app.state.settings, app.state.engine, app.state.audit = settings, make_engine(settings.url), AuditLog(audit_key)
    problems.install(app)
    for router in ROUTERS:
        app.include_router(router)
    app.add_middleware(BodyLimit, limit=settings.max_body_bytes, upload_limit=settings.max_blob_bytes)
    check_complete(ROUTERS)
    return app
