"""Who may have a blob.

Whoever sent every byte of it; everybody who is signed in, for what the whole federation works with; and for models their
owners, the committees they ask, and the sites that run them.
"""

from sqlalchemy import ColumnElement, and_, exists, or_
from sqlmodel import Session, col, select

from api.access.acting import Act
from api.access.identity import Principal
from api.access.matrix import Role
from api.access.relations import relates_by_digest
from api.core.errors import InvalidInputError, NotFoundError
from api.nouns.associations.tables import Association
from api.nouns.benchmarks.tables import Benchmark, Membership
from api.nouns.blobs.tables import Blob, Upload
from api.nouns.cubes.tables import Attached, Cube
from api.nouns.datasets.tables import Dataset
from api.nouns.models.tables import Model
from api.schemas.benchmarks import AssociationState
from api.schemas.cubes import CubeKind
from cubes.digests import Digest


@relates_by_digest("digest")
def _reader(session: Session, principal: Principal, digest: Digest) -> set[Role]:
    if not may_read(session, principal, digest):
        # The same answer for what is not there: who may not have a file does not learn whether it exists.
        raise NotFoundError(
            f"there is no {digest} that {principal.actor!r} may have.",
            "Models are for their owner, committees they asked, and sites with an approved dataset where they are approved.",
        )
    return {Role.READER}


def may_read(session: Session, principal: Principal, digest: Digest) -> bool:
    """Whether a party may have a blob; false also when there is none."""
    if session.get(Blob, digest) is None:
        return False
    if principal.service or _any(session, _open(digest)):
        return True
    if principal.user is not None:
        user_id = principal.user.id or 0
        return was_sent_by(session, user_id, digest) or _any(session, _asked_committee(digest, user_id))
    return principal.site is not None and _any(session, _runs_at(digest, principal.site.id or 0))


def was_sent_by(session: Session, user_id: int, digest: Digest) -> bool:
    return session.get(Upload, (digest, user_id)) is not None


def require_sent(act: Act, digest: Digest, what: str) -> None:
    """Refuse a digest whose bytes the person has not shown to have: naming a blob must not open it.

    Raises:
        InvalidInputError: they did not upload it.
    """
    if not was_sent_by(act.session, act.user_id, digest):
        raise InvalidInputError(f"{what}: {digest} was not uploaded by {act.principal.actor!r}.", "Upload it first.")


def note_upload(act: Act, digest: Digest, size: int) -> Blob:
    """Remember who sent a blob.

    Raises:
        IntegrityError: somebody else did at the same moment; the second try finds it.
    """
    blob = act.session.get(Blob, digest) or Blob(digest=digest, size=size)
    act.session.add(blob)
    act.session.flush()
    if not was_sent_by(act.session, act.user_id, digest):
        act.session.add(Upload(digest=digest, user_id=act.user_id))
        act.session.flush()
        act.note("blob.uploaded", digest, size=size)
    return blob


def _any(session: Session, condition: ColumnElement[bool]) -> bool:
    return bool(session.scalar(select(condition)))


def _carries(digest: Digest) -> ColumnElement[bool]:
    attached = exists().where(col(Attached.cube_id) == col(Cube.id), col(Attached.digest) == digest)
    return or_(col(Cube.pack_digest) == digest, col(Cube.additional_files_digest) == digest, attached)


def _open(digest: Digest) -> ColumnElement[bool]:
    """Data preparators, metrics cubes and demo datasets are for everybody."""
    return or_(
        exists().where(_carries(digest), col(Cube.kind) != CubeKind.MODEL),
        exists().where(col(Benchmark.demo_dataset_digest) == digest),
    )


def _model_with(digest: Digest, *states: AssociationState) -> ColumnElement[bool]:
    """Joins a model that carries the blob with its associations in some states."""
    return and_(
        _carries(digest),
        col(Model.cube_id) == col(Cube.id),
        col(Association.model_id) == col(Model.id),
        col(Association.state).in_(states),
    )


def _asked_committee(digest: Digest, user_id: int) -> ColumnElement[bool]:
    """The model's owner asked the committee; whom the committee itself invited has agreed to nothing yet."""
    agreed = or_(~col(Association.invited), col(Association.state) == AssociationState.APPROVED)
    return exists().where(
        _model_with(digest, AssociationState.REQUESTED, AssociationState.APPROVED),
        agreed,
        col(Membership.benchmark_id) == col(Association.benchmark_id),
        col(Membership.user_id) == user_id,
    )


def _runs_at(digest: Digest, site_id: int) -> ColumnElement[bool]:
    """An approved model and an approved dataset of the site's in one benchmark."""
    of_dataset = Association.__table__.alias("of_dataset")  # type: ignore[attr-defined]  # SQLModel's tables have one
    return exists().where(
        _model_with(digest, AssociationState.APPROVED),
        of_dataset.c.benchmark_id == col(Association.benchmark_id),
        of_dataset.c.state == AssociationState.APPROVED,
        of_dataset.c.dataset_id == col(Dataset.id),
        col(Dataset.site_id) == site_id,
    )
