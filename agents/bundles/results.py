"""From a site back to the registry: what people there let go, in one signed file, delivered by somebody with a network."""

import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlmodel import Session

from agents.bundles.container import BundleManifest, Part, read_bundle, write_bundle
from agents.bundles.errors import BundleRefusedError
from agents.bundles.keys import SigningKey
from agents.bundles.receipts import Receipt
from agents.errors import NotClearedError
from agents.site import Site
from agents.store import outbox
from agents.store.clearance import clear
from agents.store.tables import OutboxItem, OutboxState
from api.client import Refused
from api.schemas.border import PayloadKind
from cubes.digests import digest_bytes

Send = Callable[[PayloadKind, bytes, str], dict[str, Any]]
"""Sends one payload under an idempotency key; gives the registry's answer."""


def export_results(site: Site, target: Path, key: SigningKey) -> BundleManifest:
    """Write what waits in the outbox, each payload looked at once more, as before it leaves over a network.

    What is written stays in the outbox until its receipt comes back. It counts as gone from before the file is there:
    nobody at the site sees where the file is carried.

    Raises:
        BundleRefusedError: nothing waits, or the file is there already.
    """
    if target.exists():
        raise BundleRefusedError(f"{str(target)!r} is there already: name another file")
    with site.store.write() as session:
        items = [item for item in outbox.unsent(session) if _may_leave(session, item)]
        for item in items:
            outbox.mark_offered(session, item.id or 0)
    if not items:
        raise BundleRefusedError("nothing waits to leave this site: decide at its gates first")
    bodies = {item.sha256: item.body for item in items}
    manifest = BundleManifest(
        kind="results",
        site=site.settings.site,
        written_at=datetime.now(UTC),
        content={"payloads": [[item.kind.value, item.idempotency_key, item.sha256] for item in items]},
        parts=tuple(Part(role="payload", digest=digest, size=len(body)) for digest, body in bodies.items()),
    )
    write_bundle(target, manifest, lambda part: iter([bodies[part.digest]]), key)
    return manifest


def deliver_results(path: Path, keys: Sequence[str], send: Send) -> list[Receipt]:
    """Send what a site let go, oldest first. Delivering twice is delivering once: each payload has its key.

    Args:
        path: the bundle.
        keys: public keys of the site.
        send: to the registry, with the site's token.

    Returns:
        What the registry answered; goes back with the next work.

    Raises:
        BundleError: damaged, forged, or no results.
        api.client.RegistryError: not reachable; deliver it again later.
    """
    with tempfile.TemporaryDirectory(prefix="assay-deliver-") as scratch:
        blobs = Path(scratch) / "blobs"
        manifest, _digest = read_bundle(path, keys, blobs)
        if manifest.kind != "results":
            raise BundleRefusedError(f"{path.name!r} holds {manifest.kind}, not results: import it at its site")
        bodies = {part.digest: (blobs / part.digest.removeprefix("sha256:")).read_bytes() for part in manifest.parts}
        return [
            _deliver(PayloadKind(kind), key, bodies[digest], send) for kind, key, digest in manifest.content["payloads"]
        ]


def _deliver(kind: PayloadKind, key: str, body: bytes, send: Send) -> Receipt:
    digest = digest_bytes(body)
    try:
        return Receipt(key=key, sha256=digest, answer=send(kind, body, key))
    except Refused as error:
        if error.status not in {400, 404, 409, 413, 415, 422}:
            raise  # the connection or the token, not the payload
        return Receipt(key=key, sha256=digest, answer=None, refused=str(error))


def _may_leave(session: Session, item: OutboxItem) -> bool:
    """Heartbeats tell of a moment that is over when they arrive."""
    if item.state != OutboxState.QUEUED or item.kind == PayloadKind.HEARTBEAT:
        return False
    try:
        clear(session, item)
    except NotClearedError:
        return False
    return True
