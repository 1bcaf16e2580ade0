"""What a site keeps on disk: how much it takes, what nothing refers to any more, and removing that.

Decisions, scores and what left are in the store and stay for ever. Everything here can be made or fetched again: cubes and
environments by their digest, prepared data from the raw data, predictions by running the model. What the registry still
asks for, what a registered dataset needs and what a job under way may need is never touched.
"""

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agents.environments import locked_requirements
from agents.errors import AgentError, HomeError
from agents.locks import locked
from agents.runtimes.protocol import MIB
from agents.site import Site
from agents.staging import is_begun
from agents.store.datasets import list_datasets
from agents.store.executions import list_executions
from agents.store.gates import rests
from agents.store.jobs import live_jobs
from agents.store.tables import Dataset, DatasetState, JobKind
from cubes.contract import ContainerType, load_contract
from cubes.digests import short
from cubes.errors import CubeError
from cubes.remote_files import remote_files

FOLDERS: Final = (
    "cubes",
    "images",
    "downloads",
    "environments",
    "prepared",
    "executions",
    "demo",
    "logs",
    "attempts",
    "verified",
    "work",
)
_DIGEST: Final = re.compile(r"sha256:([0-9a-f]{64})")
_PLACE: Final = re.compile(r"[0-9a-f]{12}|[0-9a-f]{64}")
_YOUNG_S: Final = 3600.0
"""What was made this recently may be about to be used by a job that does not say so yet."""
_SHARED: Final = frozenset({"cubes", "images", "environments"})
_COMPUTING: Final = _SHARED | {"executions"}
_PREPARES: Final = frozenset({JobKind.PREPARE, JobKind.COMPATIBILITY})


@dataclass(frozen=True, slots=True)
class Use:
    """What one part of a site's folder takes."""

    part: str
    files: int
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something that nothing refers to."""

    part: str
    path: Path
    size: int
    why: str


def storage_use(site: Site) -> list[Use]:
    """What each part of the site's folder takes, the largest first."""
    parts = {name: [site.home.path / name] for name in FOLDERS}
    parts["environments"] = [site.environments.folder]
    named = {*FOLDERS, "environments"}
    rest = [path for path in site.home.path.iterdir() if path.name not in named]
    uses = [Use(name, *_measure(paths)) for name, paths in {**parts, "store and the rest": rest}.items()]
    return sorted(uses, key=lambda use: (-use.size, use.part))


def prune(site: Site, *, dry_run: bool) -> list[Leftover]:
    """Remove what nothing refers to, and logs that are too old or too many.

    Returns:
        What was removed, or with `dry_run` what would be.
    """
    found = [*_unused(site), *old_logs(site)]
    if not dry_run:
        for leftover in found:
            remove(leftover)
    return found


def changed(site: Site) -> list[Leftover]:
    """What was fetched and is no longer, byte for byte, what its digest says: it is never used, but fetched again."""
    places = {
        "cubes": site.cubes.changed(),
        "images": site.images.store.changed(),
        "downloads": site.downloads.changed(),
    }
    return [
        Leftover(part, path, _measure([path])[1], "not what its digest says")
        for part, paths in places.items()
        for path in paths
    ]


def prune_logs(site: Site) -> list[Leftover]:
    """Remove logs that are too old or too many."""
    found = old_logs(site)
    for leftover in found:
        remove(leftover)
    return found


def old_logs(site: Site) -> list[Leftover]:
    """Logs that are older than the site keeps them, and the oldest of what is more than it keeps."""
    settings, now = site.settings, time.time()
    logs = list[tuple[os.stat_result, Path]]()
    for path in site.home.folder("logs").iterdir():
        with suppress(FileNotFoundError):  # somebody else removed it
            if path.is_file():
                logs.append((path.stat(), path))
    logs.sort(key=lambda log: log[0].st_mtime, reverse=True)
    found, kept = list[Leftover](), 0
    for status, path in logs:
        kept += status.st_size
        days = (now - status.st_mtime) / 86_400
        if days > settings.keep_logs_days:
            found.append(Leftover("logs", path, status.st_size, f"{days:.0f} days old"))
        elif kept > settings.keep_logs_mib * MIB:
            found.append(Leftover("logs", path, status.st_size, f"more than {settings.keep_logs_mib} MiB of logs"))
    return found[::-1]


def remove(leftover: Leftover) -> None:
    """Remove one leftover, read-only folders included; one that is gone already is no error."""
    path = leftover.path
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return
    # Cubes and environments are removed as they are fetched and made: by one at a time.
    with locked(path.with_suffix(".lock")) if leftover.part in _SHARED else nullcontext(), suppress(FileNotFoundError):
        for here, _, _ in os.walk(path):
            Path(here).chmod(0o700)
        shutil.rmtree(path)


def _unused(site: Site) -> Iterator[Leftover]:
    try:
        wanted = _wanted_digests(site)
    except HomeError:
        return  # never heard from the registry: nobody knows what it wants
    at_work = _is_at_work(site)
    for part, names in (
        ("cubes", wanted | _wanted_files(site, wanted)),
        ("images", _wanted_images(site, wanted)),
        ("environments", _wanted_environments(site, wanted)),
        ("prepared", _wanted_prepared(site)),
        ("executions", _wanted_executions(site, wanted)),
        ("demo", {digest[:12] for digest in wanted}),
    ):
        if names is not None and not (at_work and part in _COMPUTING):
            yield from _not_among(site.home.path / part, part, names)


def _is_at_work(site: Site) -> bool:
    """Whether a job runs, which may need what the registry no longer asks for: a model that was withdrawn meanwhile."""
    with site.store.read() as session:
        return any(not rests(session, job.flow_run_id) for job in live_jobs(session))


def _not_among(folder: Path, part: str, names: set[str]) -> Iterator[Leftover]:
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        is_place = _PLACE.fullmatch(path.name) is not None and path.is_dir()
        if is_place and path.name not in names and time.time() - path.stat().st_mtime > _YOUNG_S:
            yield Leftover(part, path, _measure([path])[1], "nothing refers to it")


def _wanted_digests(site: Site) -> set[str]:
    """Every digest that the registry's work or a job under way names."""
    with site.store.read() as session:
        jobs = [str(job.parameters) for job in live_jobs(session)]
    return {name for text in (site.work().model_dump_json(), *jobs) for name in _DIGEST.findall(text)}


def _wanted_files(site: Site, cubes: set[str]) -> set[str]:
    """Additional files that the packs of wanted cubes name by digest, wherever they came from."""
    found: set[str] = set()
    for name in cubes:
        with suppress(CubeError):
            remote = remote_files(site.cubes.content_of(name))
            if remote is not None:
                found.add(remote.digest.removeprefix("sha256:"))
    return found


def _wanted_images(site: Site, cubes: set[str]) -> set[str] | None:
    """Images of the cubes that are wanted; None while one of them is in an archive, which has a name of its own."""
    found: set[str] = set()
    for name in cubes:
        with suppress(CubeError):
            contract = load_contract(site.cubes.content_of(name))
            if contract.container_type == ContainerType.DOCKER_IMAGE:
                found.add(str(contract.reference.digest).removeprefix("sha256:"))
            elif contract.container_type.is_image:
                return None
    return found


def _wanted_environments(site: Site, cubes: set[str]) -> set[str] | None:
    """Environments of the cubes that are wanted; None where other sites use the same folder."""
    if site.environments.folder != site.home.path / "environments":
        return None
    wanted: set[str] = set()
    for name in cubes:
        content = site.cubes.content_of(name)
        with suppress(CubeError, AgentError, OSError):
            contract = load_contract(content)
            if contract.requirements is not None:
                requirements = locked_requirements(content / contract.requirements)
                wanted.add(site.environments.digest_of(requirements).removeprefix("sha256:"))
    return wanted


def _wanted_prepared(site: Site) -> set[str] | None:
    """Prepared data of datasets that are registered or may be; None while something is being prepared."""
    with site.store.read() as session:
        if any(job.kind in _PREPARES for job in live_jobs(session)):
            return None
        return {Path(each.folder).name for each in list_datasets(session) if each.folder and _needs_folder(each)}


def _needs_folder(dataset: Dataset) -> bool:
    """What people did in a staged preparation cannot be made again by running it."""
    if dataset.state == DatasetState.FAILED:
        return is_begun(Path(dataset.folder or ""))
    return dataset.state != DatasetState.REJECTED


def _wanted_executions(site: Site, wanted: set[str]) -> set[str]:
    """Predictions of models and datasets that the registry still asks about: another metrics cube may want them."""
    roots = {dataset.root for benchmark in site.work().benchmarks for dataset in benchmark.datasets}
    with site.store.read() as session:
        registered = {each.registered_id for each in list_datasets(session) if each.root in roots}
        return {
            short(row.identity)
            for row in list_executions(session)
            if row.dataset_id in registered and row.model_digest.removeprefix("sha256:") in wanted
        }


def _measure(paths: list[Path]) -> tuple[int, int]:
    files = size = 0
    for path in paths:
        if path.is_file():
            files, size = files + 1, size + path.lstat().st_size
        for here, _, names in os.walk(path):
            with suppress(FileNotFoundError):  # a step or another agent is at work
                size += sum(os.lstat(f"{here}/{name}").st_size for name in names)
            files += len(names)
    return files, size
