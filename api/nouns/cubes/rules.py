"""Cubes: registered by whoever uploaded their pack, and never changed."""

from rfc8785 import CanonicalizationError
from sqlmodel import Session

from api.access.acting import Act
from api.access.identity import Principal
from api.access.matrix import Role
from api.access.relations import relates
from api.core.errors import ConflictError, InvalidInputError
from api.core.rows import add, find
from api.nouns.blobs.rules import require_sent
from api.nouns.blobs.store import BlobStore
from api.nouns.cubes import attachments
from api.nouns.cubes.packs import contract_in
from api.nouns.cubes.tables import Cube
from api.schemas.cubes import CubeCreate, CubeKind, CubePublic, CubeRef
from cubes.attachments import AttachmentKind
from cubes.contract import Contract
from cubes.digests import Digest, digest_of


@relates("cube_id")
def _cube(session: Session, principal: Principal, cube_id: int) -> set[Role]:
    cube = find(session, Cube, cube_id)
    return {Role.OWNER} if principal.user is not None and principal.user.id == cube.owner_id else set()


def create_cube(act: Act, store: BlobStore, new: CubeCreate) -> Cube:
    """Register a cube.

    Raises:
        InvalidInputError: a file that was not uploaded, a pack that cannot be used, or another kind than its contract's.
        ConflictError: the name is taken.
    """
    require_sent(act, new.pack_digest, "pack_digest")
    if new.additional_files_digest is not None:
        require_sent(act, new.additional_files_digest, "additional_files_digest")
    documents = {
        kind: (digest, attachments.described(act, store, kind, digest))
        for kind, digest in (
            (AttachmentKind.SBOM, new.sbom_digest),
            (AttachmentKind.VULNERABILITIES, new.vulnerabilities_digest),
        )
        if digest is not None
    }
    contract = contract_in(store.path(new.pack_digest))
    if contract.kind() != new.kind and not _is_script_with_files(contract, new):
        raise InvalidInputError(
            f"kind: the contract inside is that of a {contract.kind()!r}, not of a {new.kind.value!r}.",
            "Say the kind that it is, or upload the right pack. A script that reads labels is a metrics cube.",
        )
    refusal = contract.container_type.unsupported or contract.unpinned
    if refusal is not None:
        raise InvalidInputError(f"the pack names bytes that nobody could check: {refusal}.", "Register the cube again.")
    row = Cube(
        **new.model_dump(exclude={"sbom_digest", "vulnerabilities_digest"}),
        parameters_digest=_digest_of_parameters(new),
        owner_id=act.user_id,
        contract=contract.model_dump(mode="json", exclude_none=True),
    )
    taken = ConflictError(f"a cube {new.name!r} exists already.", "A cube never changes: choose another name.")
    cube = add(act.session, row, taken)
    for kind, (digest, document) in documents.items():
        attachments.keep(act, cube, kind, digest, document)
    act.note("cube.created", f"cube:{cube.id}", name=cube.name, kind=cube.kind.value, pack_digest=cube.pack_digest)
    return cube


def _is_script_with_files(contract: Contract, new: CubeCreate) -> bool:
    """A model without a container of its own: somebody's script, and the files that it runs."""
    return contract.kind() == "script" and new.kind == CubeKind.MODEL and new.additional_files_digest is not None


def shown(cube: Cube) -> CubePublic:
    return CubePublic.model_validate(cube.model_dump(include=set(CubePublic.model_fields)))


def reference(cube: Cube) -> CubeRef:
    """What a site needs to run a cube."""
    return CubeRef.model_validate(cube.model_dump(include=set(CubeRef.model_fields)))


def _digest_of_parameters(new: CubeCreate) -> Digest | None:
    if not new.parameters:
        return None
    try:
        return digest_of(new.parameters)
    except (CanonicalizationError, UnicodeEncodeError) as error:
        raise InvalidInputError(f"parameters: {error}.", "Use plain JSON; give large numbers as texts.") from None
