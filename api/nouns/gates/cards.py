"""What gates show of cubes, models and datasets: everything that decides what would run, or what would be let in."""

from typing import Any

from sqlmodel import Session

from api.nouns.cubes.tables import Cube
from api.nouns.datasets.tables import Dataset
from api.nouns.models.tables import Model
from api.nouns.people.tables import Organization, User
from api.nouns.sites.tables import Site

_CUBE = {
    "id",
    "name",
    "kind",
    "pack_digest",
    "additional_files_digest",
    "parameters",
    "parameters_digest",
    "contract",
} | {"attachments"}
_MODEL = {"id", "name", "title", "intended_use", "training_data", "architecture", "licence", "contact"}
_DATASET = {"id", "name", "title", "preparator_digest", "root", "data_root", "labels_root", "metadata_root", "cases"}


def cube_card(session: Session, cube_id: int) -> dict[str, Any]:
    """A cube with its digests and its whole contract: commands, resources, deadlines."""
    return session.get_one(Cube, cube_id).model_dump(mode="json", include=_CUBE)


def model_card(session: Session, model_id: int) -> dict[str, Any]:
    """A model with its card, its cube and who owns it."""
    model = session.get_one(Model, model_id)
    return {
        **model.model_dump(mode="json", include=_MODEL),
        "owner": label(session, model.owner_id),
        "organization": session.get_one(Organization, model.organization_id).title,
        "cube": cube_card(session, model.cube_id),
    }


def dataset_card(session: Session, dataset_id: int, *, statistics: bool) -> dict[str, Any]:
    """A dataset with its digests and where it lies; its statistics only for those whom its owner asked."""
    dataset = session.get_one(Dataset, dataset_id)
    site = session.get_one(Site, dataset.site_id)
    card = {
        **dataset.model_dump(mode="json", include=_DATASET),
        "site": site.name,
        "organization": session.get_one(Organization, site.organization_id).title,
    }
    return {**card, "statistics": dataset.statistics, "decision": dataset.decision} if statistics else card


def label(session: Session, user_id: int) -> str:
    """A person's name and address."""
    return session.get_one(User, user_id).label
