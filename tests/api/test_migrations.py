"""The database from one version to the next, and back: on both kinds, without loss."""

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DatabaseError

from api import migrations
from api.app import create_app
from api.migrations import MigrationError, downgrade, newest, upgrade
from api.migrations.metadata import METADATA, append_only
from api.schemas.cubes import CubeKind
from api.storage.engine import make_engine
from tests.api.campaign import GOOD, Campaign

REVISIONS = [script.revision for script in reversed(list(migrations._scripts().walk_revisions()))]


@contextmanager
def _connected(url: str) -> Iterator[Connection]:
    engine = make_engine(url)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def _tables(url: str) -> set[str]:
    with _connected(url) as connection:
        return set(inspect(connection).get_table_names())


def _contents(url: str) -> dict[str, list[Any]]:
    """Every row of every table."""
    with _connected(url) as connection:
        return {
            table.name: sorted(map(repr, connection.execute(table.select()).mappings()))
            for table in METADATA.sorted_tables
        }


class TestUpgrade:
    def test_it_leads_from_nothing_to_the_newest(self, database_url: str) -> None:
        assert migrations.current(database_url) is None
        assert upgrade(database_url) == newest() == REVISIONS[-1]
        assert _tables(database_url) == {*METADATA.tables, "alembic_version"}

    def test_twice_is_once(self, database_url: str) -> None:
        assert upgrade(database_url) == upgrade(database_url)

    def test_the_schema_is_what_the_tables_say(self, database_url: str) -> None:
        """Nothing is left that a new migration would have to do."""
        upgrade(database_url)
        with _connected(database_url) as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, METADATA) == []

    def test_every_name_of_a_constraint_is_known(self, database_url: str) -> None:
        """A later migration can then change it, on both kinds of database."""
        upgrade(database_url)
        with _connected(database_url) as connection:
            found = inspect(connection)
            for table in METADATA.sorted_tables:
                for key in found.get_foreign_keys(table.name):
                    assert str(key["name"]).startswith(f"fk_{table.name}_")
                for unique in found.get_unique_constraints(table.name):
                    assert str(unique["name"]).startswith(("uq_", "ix_"))

    def test_several_at_once_are_one(self, database_url: str) -> None:
        with ThreadPoolExecutor(3) as pool:
            assert set(pool.map(upgrade, [database_url] * 3)) == {newest()}

    def test_evidence_is_protected(self, database_url: str) -> None:
        upgrade(database_url)
        names = {table.name for table in append_only()}
        assert names == {
            "audit",
            "decision",
            "leaderboard_release",
            "release_result",
            "result",
            "association_change",
            "cube_attachment",
        }
        with _connected(database_url) as connection:
            triggers = "SELECT tgrelid::regclass::text FROM pg_trigger WHERE NOT tgisinternal"
            if connection.dialect.name == "sqlite":
                triggers = "SELECT tbl_name FROM sqlite_master WHERE type = 'trigger'"
            assert set(connection.execute(text(triggers)).scalars()) == names


class TestDowngrade:
    @pytest.mark.parametrize("revision", [*REVISIONS[:-1], "base"])
    def test_down_and_up_again_is_the_same_schema(self, database_url: str, revision: str) -> None:
        upgrade(database_url)
        downgrade(database_url, revision)
        assert migrations.current(database_url) == (None if revision == "base" else revision)
        assert upgrade(database_url) == newest()
        with _connected(database_url) as connection:
            assert compare_metadata(MigrationContext.configure(connection), METADATA) == []

    def test_to_nothing_leaves_nothing(self, database_url: str) -> None:
        upgrade(database_url)
        downgrade(database_url, "base")
        assert _tables(database_url) <= {"alembic_version"}

    def test_what_is_no_revision_is_refused(self, database_url: str) -> None:
        upgrade(database_url)
        with pytest.raises(MigrationError, match="'9999' is no revision to go back to"):
            downgrade(database_url, "9999")
        assert migrations.current(database_url) == newest()


class TestData:
    def test_it_survives_the_way_back_and_forth(self, campaign: Campaign) -> None:
        """A whole campaign, with its evidence, through every version but the empty one."""
        campaign.send_result("north", "alpha")
        campaign.release()
        url = campaign.registry.settings.url
        campaign.registry.app.state.engine.dispose()
        before = _contents(url)
        downgrade(url, REVISIONS[0])
        upgrade(url)
        assert _contents(url) == before
        assert campaign.client("administrator").audit.verify().intact

    def test_what_was_attached_with_a_cube_is_the_first_of_its_documents(self, campaign: Campaign) -> None:
        sbom = campaign.upload_demo("model_owner", b'{"spdxVersion": "SPDX-2.3", "packages": [{}]}')
        cube = campaign.add_cube("scanned", CubeKind.MODEL, party="model_owner", sbom_digest=sbom)
        campaign.registry.app.state.engine.dispose()
        downgrade(campaign.registry.settings.url, "0003")
        upgrade(campaign.registry.settings.url)
        (kept,) = campaign.client("stranger").cubes.attachments(cube.id)
        assert (kept.digest, kept.counts) == (sbom, {"components": 1})
        assert campaign.cube("scanned").attachments == [kept]

    def test_an_earlier_release_has_the_results_that_its_gate_showed(self, campaign: Campaign) -> None:
        """Not those of a dataset that had left, nor of the metrics cube before, whatever their numbers."""
        campaign.send_result("north", "alpha")
        campaign.send_result("south", "alpha", {**GOOD, "auroc": 0.22})
        campaign.client("data_owner").associations.withdraw(campaign.work().datasets[0].association_id, "consent")
        other = campaign.add_cube("metrics-2", CubeKind.METRICS)
        campaign.client("benchmark_owner").benchmarks.replace_metrics_cube(campaign.benchmark_id, other.id)
        shown = [campaign.send_result("south", model, {**GOOD, "auroc": math.nan}) for model in ("alpha", "beta")]
        campaign.release()
        url = campaign.registry.settings.url
        campaign.registry.app.state.engine.dispose()
        downgrade(url, "0004")
        assert "release_result" not in _tables(url)
        upgrade(url)
        assert [r.id for r in campaign.client("model_owner").results.list().items] == shown

    def test_of_the_same_numbers_twice_the_newest_was_shown(self, campaign: Campaign) -> None:
        campaign.send_result("north", "alpha")
        other = campaign.add_cube("metrics-2", CubeKind.METRICS)
        campaign.client("benchmark_owner").benchmarks.replace_metrics_cube(campaign.benchmark_id, other.id)
        shown = campaign.send_result("north", "alpha")
        campaign.release()
        campaign.registry.app.state.engine.dispose()
        downgrade(campaign.registry.settings.url, "0004")
        upgrade(campaign.registry.settings.url)
        assert [r.id for r in campaign.client("model_owner").results.list().items] == [shown]

    def test_its_protection_survives_as_well(self, campaign: Campaign) -> None:
        campaign.send_result("north", "alpha")
        campaign.release()
        campaign.registry.app.state.engine.dispose()
        url = campaign.registry.settings.url
        downgrade(url, REVISIONS[0])
        upgrade(url)
        for table in ("audit", "decision", "association_change", "release_result"):
            with pytest.raises(DatabaseError, match="append-only"), _connected(url) as connection:
                connection.execute(text(f"DELETE FROM {table}"))  # noqa: S608 - names from above


class TestRequireCurrent:
    def test_an_older_database_is_refused_with_what_to_do(self, campaign: Campaign) -> None:
        settings = campaign.registry.settings
        campaign.registry.app.state.engine.dispose()
        downgrade(settings.url, REVISIONS[0])
        with pytest.raises(MigrationError, match="run `assay registry upgrade`"):
            create_app(settings)

    def test_a_newer_one_is_refused(self, database_url: str) -> None:
        upgrade(database_url)
        with _connected(database_url) as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        for action in (upgrade, lambda url: downgrade(url, "base")):
            with pytest.raises(MigrationError, match="was made by a newer one; install that one"):
                action(database_url)

    def test_an_empty_one_is_refused(self, database_url: str) -> None:
        engine = make_engine(database_url)
        with pytest.raises(MigrationError, match="is at 'no revision'"):
            migrations.require_current(engine)
        engine.dispose()


class TestFail:
    def test_half_a_migration_is_none(self, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Both kinds of database roll changes of tables back, too."""

        def broken(*_: Any) -> None:
            raise RuntimeError("the power went")

        # After the tables, before the triggers.
        monkeypatch.setattr("api.migrations.append_only.protect", broken)
        with pytest.raises(RuntimeError, match="the power went"):
            upgrade(database_url)
        assert _tables(database_url) <= {"alembic_version"}
        monkeypatch.undo()
        assert upgrade(database_url) == newest()
