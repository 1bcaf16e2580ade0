"""Routes of blobs: uploads stream to disk while they are hashed, downloads resume."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import FileResponse
from sqlalchemy.exc import IntegrityError
from starlette.concurrency import run_in_threadpool

from api.access.acting import Act
from api.access.identity import CurrentPrincipal, Principal
from api.core.database import SessionDep, transaction
from api.core.problems import documented
from api.nouns.blobs import rules
from api.nouns.blobs.store import BlobStore
from api.schemas.blobs import BlobPublic
from cubes.digests import Digest

router = APIRouter(tags=["blobs"])

_BINARY = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}


def _store(request: Request) -> BlobStore:
    store: BlobStore = request.app.state.blobs
    return store


Store = Annotated[BlobStore, Depends(_store)]


@router.put(
    "/v1/blobs/{digest}",
    status_code=201,
    responses=documented(400, 413),
    openapi_extra={"requestBody": {"required": True, "content": _BINARY}},
)
async def upload_blob(
    digest: Digest, request: Request, session: SessionDep, principal: CurrentPrincipal, store: Store
) -> BlobPublic:
    """Keep the body under its digest; sending it again changes nothing."""
    session.close()  # its connection: an upload may take hours
    size = await store.receive(digest, request.stream())
    return await run_in_threadpool(_note, request, principal, digest, size)


@router.get(
    "/v1/blobs/{digest}",
    response_class=FileResponse,
    responses={200: {"content": _BINARY}, 206: {"content": _BINARY}, **documented(404, 416)},
)
def download_blob(digest: Digest, store: Store) -> FileResponse:
    """The file; `Range` goes on where a download stopped."""
    headers = {"ETag": f'"{digest}"', "X-Content-Type-Options": "nosniff", "Content-Disposition": "attachment"}
    return FileResponse(store.path(digest), media_type="application/octet-stream", headers=headers)


def _note(request: Request, principal: Principal, digest: Digest, size: int) -> BlobPublic:
    try:
        return _note_once(request, principal, digest, size)
    except IntegrityError:  # somebody sent the same at the same moment
        return _note_once(request, principal, digest, size)


def _note_once(request: Request, principal: Principal, digest: Digest, size: int) -> BlobPublic:
    with transaction(request.app.state.engine, write=True) as session:
        blob = rules.note_upload(Act(session, principal, request.app.state.audit), digest, size)
        return BlobPublic(digest=blob.digest, size=blob.size)
