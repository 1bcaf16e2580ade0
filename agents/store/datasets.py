"""Datasets of a site, from raw folders to a registration."""

import re
from pathlib import Path
from typing import Any, Final

from sqlmodel import Session, col, select

from agents.errors import ConflictError, InvalidInputError, NotFoundError
from agents.store.tables import Dataset, DatasetState

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{1,62}")
"""As api.schemas.common.Name, said before a dataset is prepared for hours."""


def add_dataset(
    session: Session, *, name: str, title: str, benchmark_id: int, data_path: Path, labels_path: Path, requested_by: int
) -> Dataset:
    """Note raw folders under a name, to be prepared. A dataset that failed or was rejected may be asked for again.

    Raises:
        InvalidInputError: a folder does not exist, or the name is none that the registry would take.
        ConflictError: the name is taken by a dataset that is prepared or under way.
    """
    if not _NAME.fullmatch(name):
        raise InvalidInputError(
            f"{name!r} is no name for a dataset: use 2 to 63 lower-case letters, digits, '.', '_' or '-'"
        )
    for folder in (data_path, labels_path):
        if not folder.is_dir():
            raise InvalidInputError(f"{str(folder)!r} is not a folder: name the folder that holds the raw files")
    known = session.exec(select(Dataset).where(Dataset.name == name)).first()
    if known is not None and known.state not in {DatasetState.FAILED, DatasetState.REJECTED}:
        raise ConflictError(f"dataset {name!r} is {known.state.value} already: choose another name")
    dataset = known or Dataset(name=name, title="", benchmark_id=0, data_path="", labels_path="", requested_by=0)
    dataset.title, dataset.benchmark_id, dataset.requested_by = title, benchmark_id, requested_by
    dataset.data_path, dataset.labels_path = str(data_path.resolve()), str(labels_path.resolve())
    dataset.state, dataset.message = DatasetState.PREPARING, ""
    session.add(dataset)
    session.flush()
    return dataset


def find_dataset(session: Session, name: str) -> Dataset:
    dataset = session.exec(select(Dataset).where(Dataset.name == name)).first()
    if dataset is None:
        raise NotFoundError(f"there is no dataset {name!r} at this site: see `assay dataset list`")
    return dataset


def dataset_by_registration(session: Session, registered_id: int) -> Dataset:
    dataset = session.exec(select(Dataset).where(Dataset.registered_id == registered_id)).first()
    if dataset is None:
        raise NotFoundError(f"the registry names dataset {registered_id}, which this site never registered")
    return dataset


def list_datasets(session: Session) -> list[Dataset]:
    return list(session.exec(select(Dataset).order_by(col(Dataset.name))))


def update_dataset(session: Session, name: str, **changes: Any) -> Dataset:
    dataset = find_dataset(session, name)
    for key, value in changes.items():
        setattr(dataset, key, value)
    session.add(dataset)
    return dataset
