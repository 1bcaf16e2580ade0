"""Routes of cubes."""

from fastapi import APIRouter
from sqlmodel import col, select

from api.access.acting import ActDep
from api.core.database import SessionDep
from api.core.paging import Paging, page
from api.core.problems import documented
from api.core.rows import find
from api.nouns.blobs.routes import Store
from api.nouns.cubes import attachments, rules
from api.nouns.cubes.tables import Attached, Cube
from api.schemas.common import Id, Name, Page
from api.schemas.cubes import AttachmentCreate, CubeAttachment, CubeCreate, CubeKind, CubePublic

router = APIRouter(tags=["cubes"])


@router.get("/v1/cubes", responses=documented())
def list_cubes(
    session: SessionDep,
    paging: Paging,
    *,
    name: Name | None = None,
    kind: CubeKind | None = None,
    owner_id: Id | None = None,
) -> Page[CubePublic]:
    query = select(Cube).order_by(col(Cube.name))
    if name is not None:
        query = query.where(Cube.name == name)
    if kind is not None:
        query = query.where(Cube.kind == kind)
    if owner_id is not None:
        query = query.where(Cube.owner_id == owner_id)
    return page(session, query, paging, rules.shown)


@router.post("/v1/cubes", status_code=201, responses=documented(409))
def create_cube(act: ActDep, store: Store, new: CubeCreate) -> CubePublic:
    """Register a cube whose pack was uploaded before; the contract inside is read and must be of its kind."""
    return rules.shown(rules.create_cube(act, store, new))


@router.get("/v1/cubes/{cube_id}", responses=documented(404))
def read_cube(session: SessionDep, cube_id: Id) -> CubePublic:
    return rules.shown(find(session, Cube, cube_id))


@router.get("/v1/cubes/{cube_id}/attachments", responses=documented(404))
def list_attachments(session: SessionDep, paging: Paging, cube_id: Id) -> Page[CubeAttachment]:
    """Every document that its owner ever attached, oldest first."""
    cube = find(session, Cube, cube_id)
    query = select(Attached).where(Attached.cube_id == cube.id).order_by(col(Attached.id))
    return page(session, query, paging, attachments.shown)


@router.post("/v1/cubes/{cube_id}/attachments", status_code=201, responses=documented(404, 409))
def attach(act: ActDep, store: Store, cube_id: Id, new: AttachmentCreate) -> CubePublic:
    """Attach a document that was uploaded before; it takes the place of an earlier one of its kind."""
    return rules.shown(attachments.attach(act, store, cube_id, new))
