"""Routes of models."""

from fastapi import APIRouter
from sqlmodel import col, select

from api.access.acting import ActDep
from api.core.database import SessionDep
from api.core.paging import Paging, page
from api.core.problems import documented
from api.core.rows import find
from api.nouns.models import rules
from api.nouns.models.tables import Model
from api.schemas.common import Id, Name, Page
from api.schemas.cubes import ModelCreate, ModelPublic

router = APIRouter(tags=["models"])


def shown(model: Model) -> ModelPublic:
    return ModelPublic.model_validate(model.model_dump())


@router.get("/v1/models", responses=documented())
def list_models(
    session: SessionDep,
    paging: Paging,
    *,
    name: Name | None = None,
    owner_id: Id | None = None,
    organization_id: Id | None = None,
    cube_id: Id | None = None,
) -> Page[ModelPublic]:
    query = select(Model).order_by(col(Model.name))
    if name is not None:
        query = query.where(Model.name == name)
    if owner_id is not None:
        query = query.where(Model.owner_id == owner_id)
    if organization_id is not None:
        query = query.where(Model.organization_id == organization_id)
    if cube_id is not None:
        query = query.where(Model.cube_id == cube_id)
    return page(session, query, paging, shown)


@router.post("/v1/models", status_code=201, responses=documented(409))
def create_model(act: ActDep, new: ModelCreate) -> ModelPublic:
    return shown(rules.create_model(act, new))


@router.get("/v1/models/{model_id}", responses=documented(404))
def read_model(session: SessionDep, model_id: Id) -> ModelPublic:
    return shown(find(session, Model, model_id))
