"""From a connected place to a site: what the registry asks, and every byte that its cubes need."""

import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from agents.bundles.carried import LastImport
from agents.bundles.container import BundleManifest, Part, read_bundle, write_bundle
from agents.bundles.errors import BundleDamagedError, BundleRefusedError
from agents.bundles.keys import SigningKey
from agents.bundles.receipts import Receipt, apply_receipts
from agents.home import write_private
from agents.images.documents import Descriptor
from agents.images.signature_search import find_signatures
from agents.images.signatures import SignedPayload
from agents.images.store import resolve_image
from agents.locks import locked
from agents.site import Site
from agents.store.heads import keep_head
from api.schemas.cubes import CubeRef
from api.schemas.records import SiteWork
from cubes.contract import CONTRACT_FILES, ContainerType, load_contract
from cubes.digests import digest_bytes, digest_file
from cubes.image_reference import ImageReference, parse_reference
from cubes.packing import UnpackLimits, unpack
from cubes.remote_files import REMOTE_FILES, remote_files

_CHUNK: Final = 1 << 20
_RECEIPTS: TypeAdapter[tuple[Receipt, ...]] = TypeAdapter(tuple[Receipt, ...])
_SIGNATURES: TypeAdapter[tuple[SignedPayload, ...]] = TypeAdapter(tuple[SignedPayload, ...])


@dataclass(slots=True)
class _Collected:
    """What goes into a bundle: each blob once."""

    folder: Path
    parts: dict[str, Part] = field(default_factory=dict)

    def path(self, digest: str) -> Path:
        return self.folder / digest.removeprefix("sha256:")

    def add(self, part: Part) -> None:
        self.parts.setdefault(part.digest, part)

    def add_bytes(self, role: str, content: bytes, note: str) -> None:
        digest = digest_bytes(content)
        self.path(digest).write_bytes(content)
        self.add(Part.model_validate({"role": role, "digest": digest, "size": len(content), "note": note}))

    def add_file(self, digest: str, note: str) -> None:
        self.add(Part(role="cube", digest=digest, size=self.path(digest).stat().st_size, note=note))


def export_work(site: Site, work: SiteWork, target: Path, key: SigningKey, receipts: Iterable[Receipt] = ()) -> str:
    """Write everything that a site needs to do its work without a network.

    Args:
        site: a connected stand-in for the site: with its name, its token for the registry, and logins for images.
        work: what the registry asks of the site.
        target: the file.
        key: of the connected place; the site must trust its public half.
        receipts: what the registry answered to results that were delivered.

    Returns:
        The bundle's digest.

    Raises:
        AgentError, api.client.RegistryError: something that is needed cannot be had.
    """
    with tempfile.TemporaryDirectory(prefix="assay-bundle-", dir=target.parent) as scratch:
        collected = _Collected(Path(scratch))
        for ref in _cubes(work):
            _collect_cube(site, ref, collected)
        for digest in {benchmark.demo_dataset_digest for benchmark in work.benchmarks}:
            _fetch(site, digest, collected, "a demo dataset")
        manifest = BundleManifest(
            kind="work",
            site=site.settings.site,
            written_at=datetime.now(UTC),
            content={
                "work": work.model_dump(mode="json"),
                "receipts": [receipt.model_dump(mode="json") for receipt in receipts],
            },
            parts=tuple(collected.parts.values()),
        )
        return write_bundle(target, manifest, lambda part: _pieces(collected.path(part.digest)), key)


def import_work(site: Site, path: Path) -> BundleManifest:
    """Verify a bundle and put everything in its place; the site's agent goes on from there.

    Raises:
        BundleError: damaged, signed by nobody whom the site trusts, for another site, or not newer than the last.
    """
    with tempfile.TemporaryDirectory(prefix="bundle-", dir=site.home.folder("work")) as scratch:
        blobs = Path(scratch) / "blobs"
        manifest, digest = read_bundle(path, site.settings.bundles.keys, blobs)
        work, receipts = _content(manifest, path.name)
        with locked(site.home.pull_lock):  # else an older bundle that takes longer would come last
            _refuse_strange(site, manifest, work, path.name)
            for part in manifest.parts:
                _place(site, part, blobs / part.digest.removeprefix("sha256:"))
            with locked(site.home.flush_lock), site.store.write() as session:
                keep_head(session, work.audit_head)
                apply_receipts(session, receipts)
            write_private(site.home.work_file, work.model_dump_json())  # with it, the agent begins
            # Last: a bundle that was not wholly imported may come again.
            site.carried.note(
                LastImport(digest=digest, written_at=manifest.written_at, audit_sequence=work.audit_head.sequence)
            )
    return manifest


def _content(manifest: BundleManifest, name: str) -> tuple[SiteWork, tuple[Receipt, ...]]:
    if manifest.kind != "work":
        raise BundleRefusedError(f"{name!r} holds {manifest.kind}, not work: deliver it at a connected place")
    try:
        receipts = _RECEIPTS.validate_python(manifest.content.get("receipts", []))
        return SiteWork.model_validate(manifest.content.get("work")), receipts
    except ValidationError as error:
        raise BundleDamagedError(f"{name!r} is of another version ({error.error_count()} problems)") from None


def _refuse_strange(site: Site, manifest: BundleManifest, work: SiteWork, name: str) -> None:
    if manifest.site != site.settings.site:
        raise BundleRefusedError(f"{name!r} is for the site {manifest.site!r}, and this is {site.settings.site!r}")
    last = site.carried.last
    if last is None:
        return
    if manifest.written_at <= last.written_at or work.audit_head.sequence < last.audit_sequence:
        raise BundleRefusedError(
            f"{name!r} was written at {manifest.written_at:%Y-%m-%d %H:%M:%S}, and one of"
            f" {last.written_at:%Y-%m-%d %H:%M:%S} was imported already: an old bundle could bring back what was"
            " withdrawn. Export a new one"
        )


def _place(site: Site, part: Part, blob: Path) -> None:
    if part.role == "image":
        with blob.open("rb") as file:
            pieces = iter(lambda: file.read(_CHUNK), b"")
            site.images.store.carried.add(pieces, Descriptor(mediaType="", digest=part.digest, size=part.size))
    elif part.role == "signatures":
        site.image_trust.keep(parse_reference(part.note), _SIGNATURES.validate_json(blob.read_bytes()))
    else:
        site.carried.keep(blob, part.digest)


def _cubes(work: SiteWork) -> list[CubeRef]:
    found = {}
    for benchmark in work.benchmarks:
        for ref in (benchmark.preparator, benchmark.metrics_cube, *(model.cube for model in benchmark.models)):
            found[ref.pack_digest, ref.additional_files_digest] = ref
    return list(found.values())


def _collect_cube(site: Site, ref: CubeRef, collected: _Collected) -> None:
    pack = _fetch(site, ref.pack_digest, collected, f"the cube {ref.name}")
    if ref.additional_files_digest is not None:
        _fetch(site, ref.additional_files_digest, collected, f"additional files of {ref.name}")
    with tempfile.TemporaryDirectory(dir=collected.folder) as scratch:
        folder = Path(scratch) / "cube"
        unpack(pack, folder, UnpackLimits(), contents=(*CONTRACT_FILES, REMOTE_FILES))
        contract, remote = load_contract(folder), remote_files(folder)
    if remote is not None:
        _download(site, remote.url, remote.digest, collected)
    if contract.container_type == ContainerType.DOCKER_IMAGE:
        _collect_image(site, contract.reference, collected)
    elif contract.container_type == ContainerType.DOCKER_ARCHIVE and contract.archive_digest is not None:
        _download(site, str(contract.image), contract.archive_digest, collected)


def _collect_image(site: Site, reference: ImageReference, collected: _Collected) -> None:
    """Index, manifest, configuration and layers for machines like this one, and every signature there is."""
    digest = str(reference.digest)
    with site.images.store.source(reference) as source:
        resolved = resolve_image(source, digest, str(reference), site.images.store.limits)
        for each in {digest, resolved.manifest_digest}:
            collected.add_bytes("image", source.manifest(each), str(reference))
        collected.add_bytes("image", source.document(resolved.manifest.config), str(reference))
        for layer in resolved.manifest.layers:
            if layer.digest not in collected.parts:
                source.layer(layer, collected.path(layer.digest))
                collected.add(Part(role="image", digest=layer.digest, size=layer.size, note=str(reference)))
    with site.signature_source(reference) as registry:
        signatures = find_signatures(registry, digest)
    if signatures:
        kept = json.dumps([json.loads(signed.model_dump_json()) for signed in signatures])
        collected.add_bytes("signatures", kept.encode(), str(reference))


def _fetch(site: Site, digest: str, collected: _Collected, note: str) -> Path:
    path = collected.path(digest)
    if not path.exists():
        site.carried.fetch(digest, path)
        if digest_file(path) != digest:
            raise BundleRefusedError(f"{note}: the registry's blob {digest} is another: nothing was written")
    collected.add_file(digest, note)
    return path


def _download(site: Site, url: str, digest: str, collected: _Collected) -> None:
    if not collected.path(digest).exists():
        shutil.copyfile(site.downloads.get(url, digest), collected.path(digest))
    collected.add_file(digest, url[:500])


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            yield piece
