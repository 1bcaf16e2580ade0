"""Bills of materials and vulnerability reports of a cube: attached with it or later, each kept with its digest and time.

Whoever is asked about the cube sees the newest. An answer that waits was given about what was shown: another document asks
again.
"""

import json
from operator import itemgetter

from sqlmodel import col, select

from api.access.acting import Act, key
from api.core.errors import ConflictError, InvalidInputError
from api.core.rows import lock
from api.nouns.benchmarks.tables import Benchmark
from api.nouns.blobs.rules import require_sent
from api.nouns.blobs.store import BlobStore
from api.nouns.cubes.tables import Attached, Cube
from api.nouns.gates import rules as gates
from api.nouns.gates.states import LIVE
from api.nouns.gates.tables import Gate
from api.schemas.cubes import AttachmentCreate, CubeAttachment
from cubes.attachments import MAX_ATTACHMENT_BYTES, Attachment, AttachmentKind, describe_attachment
from cubes.digests import Digest
from cubes.errors import ReportError


def attach(act: Act, store: BlobStore, cube_id: int, new: AttachmentCreate) -> Cube:
    """Attach a document, in the place of an earlier one of its kind; gates that show the cube are asked again.

    Raises:
        InvalidInputError: not uploaded, or no document of a known format.
        ConflictError: it is attached already.
    """
    document = described(act, store, new.kind, new.digest)
    cube = lock(act.session, Cube, cube_id)
    if new.digest in {each["digest"] for each in cube.attachments if each["kind"] == new.kind}:
        raise ConflictError(
            f"{new.digest} is the {new.kind.value} of {cube.name!r} already.", "Attach the one that is newer."
        )
    asked = _gates_that_show(act, cube)
    # Before the log, as whoever decides does: else the two wait for each other.
    for number in sorted({gate.benchmark_id for gate in asked}):
        lock(act.session, Benchmark, number)
    keep(act, cube, new.kind, new.digest, document)
    for gate in asked:  # one that was opened meanwhile is found out of date when somebody decides
        gates.refresh(act, key(gate.id))
    return cube


def keep(act: Act, cube: Cube, kind: AttachmentKind, digest: Digest, document: Attachment) -> None:
    """Write an attachment, and show it from now on."""
    row = Attached(
        cube_id=key(cube.id), kind=kind, digest=digest, document=document.model_dump(mode="json"), by=act.user_id
    )
    act.session.add(row)
    act.session.flush()
    others = [each for each in cube.attachments if each["kind"] != kind]
    cube.attachments = sorted([*others, shown(row).model_dump(mode="json")], key=itemgetter("kind"))
    act.session.add(cube)
    act.session.flush()
    act.note("cube.attached", f"cube:{cube.id}", kind=kind.value, digest=digest)


def shown(row: Attached) -> CubeAttachment:
    return CubeAttachment.model_validate({**row.document, "attached_at": row.attached_at})


def described(act: Act, store: BlobStore, kind: AttachmentKind, digest: Digest) -> Attachment:
    """What an uploaded document is and counts.

    Raises:
        InvalidInputError: not uploaded by this person, or of no known format.
    """
    require_sent(act, digest, f"{kind.value}_digest")
    with store.path(digest).open("rb") as file:
        data = file.read(MAX_ATTACHMENT_BYTES + 1)
    try:
        return describe_attachment(data, kind)
    except ReportError as error:
        raise InvalidInputError(f"{kind.value}_digest: {error}.", "Make it anew with your scanner.") from None


def _gates_that_show(act: Act, cube: Cube) -> list[Gate]:
    live = act.session.exec(select(Gate).where(col(Gate.state).in_(LIVE)).order_by(col(Gate.id)))
    return [gate for gate in live if cube.pack_digest in json.dumps(gate.shown)]
