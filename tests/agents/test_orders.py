"""Executions that a person orders: what is outstanding, nothing twice."""

from collections.abc import Callable, Iterator

import pytest

from agents.errors import HomeError, NotFoundError
from agents.home import Home
from agents.orders import Choice, chosen_units, list_outstanding, order_executions
from agents.site import Site
from agents.store import jobs
from agents.store.tables import JobState
from api.schemas.records import SiteWork


@pytest.fixture
def site(home: Home, work: Callable[..., SiteWork]) -> Iterator[Site]:
    """A site that was told of two models."""
    home.work_file.write_text(work("forest", "logistic").model_dump_json(), encoding="utf-8")
    site = Site(home.path)
    yield site
    site.close()


class TestChoose:
    @pytest.mark.parametrize(
        ("choice", "models"),
        [
            (Choice(), ["forest", "logistic"]),
            (Choice(benchmark="bench"), ["forest", "logistic"]),
            (Choice(benchmark="1", dataset="d1", model="logistic"), ["logistic"]),
            (Choice(model="1"), ["forest"]),
        ],
        ids=["all", "benchmark", "all three", "number"],
    )
    def test_by_name_or_number(self, site: Site, choice: Choice, models: list[str]) -> None:
        assert [unit.model.name for unit in chosen_units(site, choice)] == models

    def test_what_fits_nothing_is_named(self, site: Site) -> None:
        with pytest.raises(NotFoundError, match="dataset 'd9', model 'forest'"):
            chosen_units(site, Choice(dataset="d9", model="forest"))

    def test_nothing_was_heard_yet(self, home: Home) -> None:
        site = Site(home.path)
        try:
            with pytest.raises(HomeError, match="not heard from its registry"):
                chosen_units(site, Choice())
        finally:
            site.close()


class TestOrder:
    def test_one_job_for_a_dataset(self, site: Site) -> None:
        (job,) = order_executions(site, Choice(), requested_by=7)
        assert job.parameters["models"] == [1, 2]
        assert job.requested_by == 7

    def test_what_is_under_way_is_not_ordered_again(self, site: Site) -> None:
        order_executions(site, Choice(model="forest"), requested_by=None)
        assert [unit.model.name for unit in list_outstanding(site, Choice())] == ["logistic"]
        (job,) = order_executions(site, Choice(), requested_by=None)
        assert job.parameters["models"] == [2]
        assert order_executions(site, Choice(), requested_by=None) == []

    def test_a_person_may_order_again_what_was_rejected(self, site: Site) -> None:
        (first,) = order_executions(site, Choice(), requested_by=None)
        with site.store.write() as session:
            jobs.finish(session, first.id, JobState.REJECTED)
        (again,) = order_executions(site, Choice(), requested_by=None)
        assert again.parameters["plan"] == first.parameters["plan"]
        assert again.id != first.id
