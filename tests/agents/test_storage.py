"""What takes space at a site, and what of it may go: never what something refers to."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agents.home import write_private
from agents.site import Site
from agents.storage import Leftover, prune, prune_logs, storage_use
from agents.store import jobs
from agents.store.datasets import add_dataset, update_dataset
from agents.store.gates import mark_waiting, open_gate
from agents.store.tables import DatasetState, JobKind
from api.schemas.records import SiteWork
from cubes.digests import digest_bytes
from tests.watching import goes_meanwhile

OLD_S = 7 * 86_400


def _place(site: Site, part: str, name: str, *, age_s: float = OLD_S) -> Path:
    """A folder as the site leaves them: read-only, with a file of 1,000 bytes."""
    folder = site.home.folder(part) / name
    folder.mkdir()
    (folder / "content").write_bytes(bytes(1_000))
    folder.chmod(0o500)
    os.utime(folder, (time.time() - age_s,) * 2)
    return folder


def _log(site: Site, name: str, *, days: float, size: int = 10) -> Path:
    path = site.home.folder("logs") / f"{name}.log"
    path.write_bytes(bytes(size))
    os.utime(path, (time.time() - days * 86_400,) * 2)
    return path


@pytest.fixture
def asked(site: Site, work: Callable[..., SiteWork]) -> SiteWork:
    """The registry asks for one model; the site knows that."""
    found = work("wanted")
    write_private(site.home.work_file, found.model_dump_json())
    return found


def _removed(found: list[Leftover]) -> set[str]:
    return {leftover.path.name for leftover in found}


class TestUse:
    def test_every_part_is_counted_the_largest_first(self, site: Site) -> None:
        _place(site, "cubes", "a" * 64)
        _log(site, "step", days=0, size=5_000)
        uses = {use.part: (use.files, use.size) for use in storage_use(site)}
        assert (uses["cubes"], uses["logs"]) == ((1, 1_000), (1, 5_000))
        assert uses["store and the rest"][1] > 0
        sizes = [use.size for use in storage_use(site)]
        assert sizes == sorted(sizes, reverse=True)


class TestPrune:
    @pytest.mark.usefixtures("asked")
    def test_a_dry_run_removes_nothing(self, site: Site) -> None:
        cube = _place(site, "cubes", "f" * 64)
        assert _removed(prune(site, dry_run=True)) == {cube.name}
        assert cube.exists()
        assert _removed(prune(site, dry_run=False)) == {cube.name}
        assert not cube.exists()

    def test_a_cube_that_the_registry_asks_for_stays(self, site: Site, asked: SiteWork) -> None:
        digest = asked.benchmarks[0].models[0].cube.pack_digest
        _place(site, "cubes", digest.removeprefix("sha256:"))
        assert prune(site, dry_run=False) == []

    @pytest.mark.usefixtures("asked")
    def test_a_cube_that_a_job_under_way_names_stays(self, site: Site) -> None:
        digest = digest_bytes(b"tried")
        with site.store.write() as session:
            jobs.ask(session, JobKind.COMPATIBILITY, subject="m", parameters={"cube": digest}, requested_by=None)
        _place(site, "cubes", digest.removeprefix("sha256:"))
        assert prune(site, dry_run=False) == []

    @pytest.mark.usefixtures("asked")
    def test_what_the_registry_no_longer_asks_for_stays_while_a_job_may_use_it(self, site: Site) -> None:
        """A model that is withdrawn while it runs."""
        cube, predictions = _place(site, "cubes", "f" * 64), _place(site, "executions", "0123456789ab")
        with site.store.write() as session:
            job = jobs.ask(session, JobKind.EVALUATE, subject="d", parameters={"models": [1]}, requested_by=None)
            jobs.mark_started(session, job.id, "run-1")
        assert prune(site, dry_run=False) == []
        with site.store.write() as session:
            gate = open_gate(session, name="run_models", title="?", subject="d", shown={}, flow_run_id="run-1")
            mark_waiting(session, gate.id)
        assert _removed(prune(site, dry_run=False)) == {cube.name, predictions.name}

    @pytest.mark.usefixtures("asked")
    def test_what_was_made_a_moment_ago_stays(self, site: Site) -> None:
        _place(site, "cubes", "f" * 64, age_s=60)
        assert prune(site, dry_run=False) == []

    def test_a_site_that_never_heard_from_its_registry_removes_logs_alone(self, site: Site) -> None:
        _place(site, "cubes", "f" * 64)
        old = _log(site, "old", days=400)
        assert _removed(prune(site, dry_run=False)) == {old.name}

    @pytest.mark.usefixtures("asked")
    @pytest.mark.parametrize(("state", "goes"), [(DatasetState.REGISTERED, False), (DatasetState.REJECTED, True)])
    def test_prepared_data_stay_while_a_dataset_needs_them(
        self, site: Site, tmp_path: Path, state: DatasetState, *, goes: bool
    ) -> None:
        folder = _place(site, "prepared", "0123456789ab")
        with site.store.write() as session:
            add_dataset(
                session, name="d1", title="D", benchmark_id=1, data_path=tmp_path, labels_path=tmp_path, requested_by=1
            )
            update_dataset(session, "d1", folder=str(folder), state=state)
        assert bool(prune(site, dry_run=False)) is goes

    @pytest.mark.usefixtures("asked")
    def test_prepared_data_stay_while_something_is_prepared(self, site: Site) -> None:
        _place(site, "prepared", "0123456789ab")
        with site.store.write() as session:
            job = jobs.ask(session, JobKind.PREPARE, subject="d", parameters={}, requested_by=None)
        assert prune(site, dry_run=False) == []
        with site.store.write() as session:
            session.delete(jobs.find_job(session, job.id))
        assert len(prune(site, dry_run=False)) == 1

    @pytest.mark.usefixtures("asked")
    def test_what_is_not_named_by_a_digest_is_not_touched(self, site: Site) -> None:
        _place(site, "cubes", "notes-of-the-operator")
        assert prune(site, dry_run=False) == []


class TestLogs:
    def test_old_logs_go_and_young_ones_stay(self, site: Site) -> None:
        old, young = _log(site, "old", days=91), _log(site, "young", days=89)
        assert _removed(prune_logs(site)) == {old.name}
        assert young.exists()

    def test_of_too_many_the_oldest_go_first(self, site: Site) -> None:
        site.settings = site.settings.model_copy(update={"keep_logs_mib": 1})
        logs = [_log(site, f"log-{days}", days=days, size=500_000) for days in (3, 2, 1)]
        assert [leftover.path.name for leftover in prune_logs(site)] == ["log-3.log"]
        assert [path.exists() for path in logs] == [False, True, True]

    def test_one_that_goes_meanwhile_is_no_concern(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        goes, old = _log(site, "goes", days=91), _log(site, "old", days=91)
        goes_meanwhile(monkeypatch, goes.name)
        assert _removed(prune_logs(site)) == {old.name}
