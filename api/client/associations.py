"""Associations: a model's or a dataset's place in a benchmark."""

from typing import TYPE_CHECKING

from api.client.noun import Listed, Noun
from api.schemas.benchmarks import (
    AssociationChange,
    AssociationCreate,
    AssociationPublic,
    Compatibility,
    PriorityUpdate,
    Withdrawal,
)

if TYPE_CHECKING:
    from builtins import list as List  # noqa: N812 - inside the classes `list` is the method


class Associations(Noun[AssociationPublic, AssociationCreate]):
    """Associations; `benchmark_id`, `kind`, `state`, `model_id` and `dataset_id` filter. `create` asks, or invites."""

    def history(self, association_id: int) -> "List[AssociationChange]":
        """Every change, oldest first."""
        return list(Listed(self._transport, f"{self._path}/{association_id}/history", AssociationChange).all())

    def withdraw(self, association_id: int, reason: str) -> AssociationPublic:
        """Take the model or the dataset out, by its owner or the committee."""
        return self._transport.post(
            f"{self._path}/{association_id}/withdraw", AssociationPublic, Withdrawal(reason=reason)
        )

    def attach_compatibility(self, association_id: int, report: Compatibility) -> AssociationPublic:
        """Bring the report of a model that was invited; without it the invitation cannot be accepted."""
        path = f"{self._path}/{association_id}/compatibility"
        return self._transport.post(path, AssociationPublic, report, method="PUT")

    def set_priority(self, association_id: int, update: PriorityUpdate) -> AssociationPublic:
        """Models of a higher priority run first at every site."""
        return self._transport.post(f"{self._path}/{association_id}/priority", AssociationPublic, update, method="PUT")

    def consent(self, association_id: int) -> AssociationPublic:
        """Let others see the model's released results, where the benchmark asks its owner."""
        return self._transport.post(f"{self._path}/{association_id}/consent", AssociationPublic)

    def revoke_consent(self, association_id: int) -> AssociationPublic:
        """Hide them again."""
        return self._transport.post(f"{self._path}/{association_id}/consent", AssociationPublic, method="DELETE")
