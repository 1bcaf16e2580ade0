"""The trail of one execution: from what was registered, over what was approved, fetched and run, to what left.

Each link names what it saw by digest; whoever reads it can hold them against each other, and the last column says whether
they fit. What can be read again is read again now.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from sqlmodel import Session, col, select

from agents.errors import AgentError, NotFoundError
from agents.manifest import Manifest, build_manifest
from agents.measured import execution_folder
from agents.planner import Unit, find_benchmark, units
from agents.site import Site
from agents.store import outbox
from agents.store.gates import decision_of
from agents.store.tables import Dataset, Execution, Gate, Score
from api.schemas.benchmarks import Verdict
from api.schemas.border import ApprovedResult, PayloadKind
from cubes.contract import ContainerType, load_contract
from cubes.digests import digest_of, execution_identity
from cubes.errors import CubeError

_SHORTEST: Final = 8


@dataclass(frozen=True, slots=True)
class Link:
    """One moment, what was seen at it, and whether that fits what was registered."""

    moment: str
    what: str
    digest: str
    fits: bool
    note: str = ""


def find_one(session: Session, reference: str) -> Execution:
    """An execution by its identity or an unambiguous beginning of at least eight characters, `sha256:` left out or not.

    Raises:
        NotFoundError: none, or several begin like this.
    """
    start = f"sha256:{reference.removeprefix('sha256:')}"
    query = select(Execution).where(col(Execution.identity).startswith(start, autoescape=True)).limit(2)
    found = list(session.exec(query)) if len(start) >= _SHORTEST + len("sha256:") else []
    if len(found) != 1:
        problem = "several executions begin with" if found else "there is no execution"
        raise NotFoundError(f"{problem} {reference!r} at this site: see `assay execution list`")
    return found[0]


def trail_of(site: Site, execution: Execution) -> list[Link]:
    """Every link that the site holds of an execution, in the order of time."""
    with site.store.read() as session:
        return [
            *_registered(site, execution),
            *_prepared(session, site, execution),
            *_approved(session, execution),
            *_fetched(site, execution),
            *_ran(site, execution),
            *_left(session, execution),
        ]


def _unit(site: Site, execution: Execution) -> Unit | None:
    for benchmark in site.work().benchmarks:
        for dataset in benchmark.datasets:
            for unit in units(benchmark, dataset):
                same = (unit.identity, unit.model.model_id, unit.benchmark.benchmark_id)
                if same == (execution.identity, execution.model_id, execution.benchmark_id):
                    return unit
    return None


def _registered(site: Site, execution: Execution) -> Iterator[Link]:
    unit = _unit(site, execution)
    if unit is None:
        yield Link("registered", "cube", execution.model_digest, fits=True, note="the registry no longer asks for it")
        return
    cube = unit.model.cube
    yield Link("registered", "cube", cube.pack_digest, cube.pack_digest == execution.model_digest)
    for what, digest in (("files", cube.additional_files_digest), ("parameters", cube.parameters_digest)):
        if digest is not None:
            yield Link("registered", what, digest, fits=True)
    yield Link("registered", "preparator", unit.benchmark.preparator.pack_digest, fits=True)
    yield Link("registered", "metrics cube", unit.benchmark.metrics_cube.pack_digest, fits=True)
    yield Link("registered", "dataset", unit.dataset.root, fits=True)
    identity = execution_identity(
        model=cube.pack_digest,
        parameters=cube.parameters_digest,
        additional_files=cube.additional_files_digest,
        dataset_root=unit.dataset.root,
    )
    yield Link("registered", "execution", identity, identity == execution.identity, "made of the digests above")


def _prepared(session: Session, site: Site, execution: Execution) -> Iterator[Link]:
    dataset = session.exec(select(Dataset).where(Dataset.name == execution.dataset_name)).first()
    if dataset is None or dataset.preparator_digest is None or dataset.root is None:
        return
    benchmark = find_benchmark(site.work(), dataset.benchmark_id)
    fits = benchmark is None or benchmark.preparator.pack_digest == dataset.preparator_digest
    yield Link("prepared", "preparator", dataset.preparator_digest, fits)
    yield Link("prepared", "dataset", dataset.root, fits=True)


def _approved(session: Session, execution: Execution) -> Iterator[Link]:
    for gate, item in _gates(session, "run_models", "execution", execution.identity):
        decision = decision_of(session, gate.id)
        if decision is None or decision.verdict != Verdict.APPROVE or item["item"] in decision.withheld:
            continue
        digest = item["cube"]["pack_digest"]
        fits = digest == execution.model_digest and decision.digest == gate.digest == digest_of(gate.shown)
        yield Link("approved", "cube", digest, fits, f"{decision.person}, {decision.decided_at:%Y-%m-%d %H:%M} UTC")
        yield Link("approved", "gate", gate.digest, fits, f"gate {gate.id[:8]} showed exactly this")


def _fetched(site: Site, execution: Execution) -> Iterator[Link]:
    yield from _cube(site, "cube", execution.model_digest)
    unit = _unit(site, execution)
    if unit is None:
        return
    files = unit.model.cube.additional_files_digest
    if files is not None:
        yield _unpacked(site, "files", files)
    yield from _cube(site, "metrics cube", unit.benchmark.metrics_cube.pack_digest)


def _cube(site: Site, what: str, digest: str) -> Iterator[Link]:
    """A cube as it lies at the site, and its image."""
    yield (found := _unpacked(site, what, digest))
    content = site.cubes.content_of(digest)
    if not found.fits or not content.is_dir():
        return
    try:
        contract = load_contract(content)
    except CubeError as error:
        yield Link("fetched", "contract", digest, fits=False, note=str(error))
        return
    if contract.container_type == ContainerType.DOCKER_IMAGE:
        yield from _image(site, str(contract.reference.digest), f"of the {what}")


def _unpacked(site: Site, what: str, digest: str) -> Link:
    if not site.cubes.content_of(digest).is_dir():
        return Link("fetched", what, digest, fits=True, note="no longer here")
    whole = site.cubes.is_whole(digest)
    return Link("fetched", what, digest, whole, "every byte read again" if whole else "changed on disk")


def _image(site: Site, named: str, whose: str) -> Iterator[Link]:
    record = site.images.store.record(named)
    if record is None:
        yield Link("fetched", "image", named, fits=True, note=f"{whose}; what runs steps pulled it by this digest")
        return
    whole = site.images.store.is_whole(named)
    note = "no file of it was touched" if whole else "changed on disk"
    yield Link("fetched", "image", named, whole, f"{whose}; {note}")
    yield Link("fetched", "manifest", record.manifest, fits=True, note="of this machine's architecture")
    yield Link("fetched", "config", record.config, fits=True, note=f"and {len(record.layers)} layers, verified")


def _ran(site: Site, execution: Execution) -> Iterator[Link]:
    ended = "" if execution.finished_at is None else f" to {execution.finished_at:%H:%M:%S}"
    note = f"attempt {execution.attempt}, {execution.started_at:%Y-%m-%d %H:%M:%S}{ended} UTC, {execution.state.value}"
    yield Link("ran", "cube", execution.model_digest, fits=True, note=note)
    folder = execution_folder(site.home, execution.identity)
    try:
        left = Manifest.model_validate_json((folder / "predictions.json").read_bytes()).root
    except (OSError, ValidationError):
        return
    yield Link("ran", "predictions", left, _root_of(folder / "predictions") == left, "files read again")


def _root_of(folder: Path) -> str:
    try:
        return build_manifest({"data": folder}).root
    except AgentError:
        return ""


def _left(session: Session, execution: Execution) -> Iterator[Link]:
    query = select(Score).where(
        Score.execution == execution.identity,
        Score.model_id == execution.model_id,
        Score.benchmark_id == execution.benchmark_id,
    )
    for score in session.exec(query.order_by(col(Score.id))):
        yield Link("scored", "metrics cube", score.metrics_digest, fits=True)
        yield Link("scored", "dataset", score.dataset_root, fits=True)
        yield Link("scored", "metrics", digest_of(score.metrics), fits=True, note=score.state.value)
        yield from _sent(session, score)


def _sent(session: Session, score: Score) -> Iterator[Link]:
    """Whatever was handed over of a score, taken or not, with everybody who allowed it."""
    for left in outbox.departures(session, PayloadKind.RESULT):
        result = ApprovedResult.model_validate_json(outbox.what_left(session, left["id"]))
        if (result.score, result.model_id, result.benchmark_id) == (score.identity, score.model_id, score.benchmark_id):
            fits = result.model_digest == score.model_digest and result.dataset_root == score.dataset_root
            people = " and ".join(each["person"] for each in left["decisions"])
            when = f"{datetime.fromisoformat(left['left_at']):%Y-%m-%d %H:%M} UTC"
            yield Link("left", "result", left["sha256"], fits, f"{people}, left {when}, {left['state']}")


def _gates(session: Session, name: str, key: str, value: str) -> Iterator[tuple[Gate, dict[str, Any]]]:
    for gate in session.exec(select(Gate).where(Gate.name == name).order_by(col(Gate.opened_at))):
        for item in gate.shown.get("items", []):
            if item.get(key) == value:
                yield gate, item
