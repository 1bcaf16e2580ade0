"""What belongs to whom, as sub-queries of numbers: every list and every single row is filtered by the same ones."""

from typing import Any

from sqlalchemy import Select, false
from sqlmodel import col, select

from api.access.identity import Principal
from api.nouns.benchmarks.tables import Membership
from api.nouns.datasets.tables import Dataset
from api.nouns.models.tables import Model
from api.nouns.sites.tables import Site

Numbers = Select[Any]


def committees_of(principal: Principal) -> Numbers:
    """The benchmarks on whose committee a person is."""
    query = select(col(Membership.benchmark_id))
    if principal.user is None:
        return query.where(false())
    return query.where(col(Membership.user_id) == principal.user.id)


def models_of(principal: Principal) -> Numbers:
    """The models that a person owns."""
    query = select(col(Model.id))
    return query.where(false()) if principal.user is None else query.where(col(Model.owner_id) == principal.user.id)


def datasets_of(principal: Principal) -> Numbers:
    """The datasets of a person's organization, or of a site."""
    query = select(col(Dataset.id))
    if principal.site is not None:
        return query.where(col(Dataset.site_id) == principal.site.id)
    if principal.user is None:
        return query.where(false())
    return query.where(col(Dataset.site_id).in_(sites_of(principal)))


def sites_of(principal: Principal) -> Numbers:
    """The sites of a person's organization, or a site itself."""
    query = select(col(Site.id))
    if principal.site is not None:
        return query.where(col(Site.id) == principal.site.id)
    if principal.user is None:
        return query.where(false())
    return query.where(col(Site.organization_id) == principal.user.organization_id)
