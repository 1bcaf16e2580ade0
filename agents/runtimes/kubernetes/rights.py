"""What the agent needs to be allowed in its namespace: all of it, and no more. `k8s/site/base/rights.yaml` grants it."""

from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """One verb on one kind of object."""

    verb: str
    resource: str
    group: str = ""
    part: str = ""
    """A subresource."""

    def __str__(self) -> str:
        kind = f"{self.resource}.{self.group}" if self.group else self.resource
        return f"{self.verb} {kind}/{self.part}" if self.part else f"{self.verb} {kind}"

    def attributes(self, namespace: str, name: str = "") -> dict[str, Any]:
        """As an access review asks about it."""
        return {
            "namespace": namespace,
            "verb": self.verb,
            "group": self.group,
            "resource": self.resource,
            "subresource": self.part,
            "name": name,
        }


NEEDED: Final = (
    Right("create", "jobs", "batch"),
    Right("get", "jobs", "batch"),
    Right("list", "jobs", "batch"),
    Right("delete", "jobs", "batch"),
    Right("list", "pods"),
    Right("watch", "pods"),
    Right("get", "pods", part="log"),
    Right("list", "events"),
)
OF_THE_OWNER: Final = Right("get", "deployments", "apps")
"""Of the agent's own Deployment, where the settings name one."""
TOO_MUCH: Final = (
    Right("get", "secrets"),
    Right("create", "pods"),
    Right("create", "pods", part="exec"),
    Right("create", "rolebindings", "rbac.authorization.k8s.io"),
    Right("delete", "networkpolicies", "networking.k8s.io"),
)
"""An account that may one of these is another than the one that k8s/site makes."""
