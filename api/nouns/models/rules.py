"""Models: the card of a cube, by whoever owns it."""

from sqlmodel import Session

from api.access.acting import Act
from api.access.identity import Principal
from api.access.matrix import Role
from api.access.relations import relates
from api.core.errors import ConflictError, InvalidInputError, NotPermittedError
from api.core.rows import add, find
from api.nouns.cubes.tables import Cube
from api.nouns.models.tables import Model
from api.schemas.cubes import CubeKind, ModelCreate


@relates("model_id")
def _model(session: Session, principal: Principal, model_id: int) -> set[Role]:
    model = find(session, Model, model_id)
    return {Role.OWNER} if principal.user is not None and principal.user.id == model.owner_id else set()


def create_model(act: Act, new: ModelCreate) -> Model:
    """Register a model.

    Raises:
        InvalidInputError: no such cube, or not one of kind `model`.
        NotPermittedError: the cube is somebody else's.
        ConflictError: the name is taken.
    """
    cube = act.session.get(Cube, new.cube_id)
    if cube is None:
        raise InvalidInputError(f"there is no cube {new.cube_id!r}.", "Register the cube first.")
    if cube.kind != CubeKind.MODEL:
        raise InvalidInputError(f"the cube {cube.name!r} is a {cube.kind.value!r}.", "Name a cube of kind 'model'.")
    if cube.owner_id != act.user_id:
        raise NotPermittedError(f"the cube {cube.name!r} is somebody else's.", "Register a cube of your own.")
    row = Model(**new.model_dump(), owner_id=act.user_id, organization_id=act.user.organization_id)
    taken = ConflictError(f"a model {new.name!r} exists already.", "Choose another name.")
    model = add(act.session, row, taken)
    act.note("model.created", f"model:{model.id}", name=model.name, cube_id=model.cube_id)
    return model
