"""The `[kubernetes]` table of a site's settings: where steps run in the cluster, and on what."""

from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

_LABEL: Final = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
_DIGEST: Final = r"^\S+@sha256:[0-9a-f]{64}$"
DnsLabel = Annotated[str, StringConstraints(pattern=_LABEL)]
ImageByDigest = Annotated[str, StringConstraints(pattern=_DIGEST, max_length=500)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class VolumeMapping(_Table):
    """How a folder that the agent sees becomes a volume of a step: a claim, or a path of the node."""

    path: Path
    """Where the agent sees it. Steps get folders below it, one by one, never all of it."""
    claim: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")] | None = None
    host_path: Path | None = None
    """Needs `allow_host_path`, and a namespace whose Pod Security admits it: `restricted` does not."""
    sub_path: str = ""
    """Where `path` lies inside the claim, when it is not its root."""
    read_only: bool = False

    @model_validator(mode="after")
    def _one_source(self) -> "VolumeMapping":
        if (self.claim is None) == (self.host_path is None):
            raise ValueError(f"the volume for {str(self.path)!r} needs either `claim` or `host_path`")
        if not self.path.is_absolute() or (self.host_path is not None and not self.host_path.is_absolute()):
            raise ValueError(f"the volume for {str(self.path)!r}: paths must be absolute")
        if self.sub_path.startswith("/") or ".." in Path(self.sub_path).parts:
            raise ValueError(f"the volume for {str(self.path)!r}: sub_path is a relative path without '..'")
        return self


class Toleration(_Table):
    """As in a pod's `tolerations`."""

    key: str | None = None
    operator: Literal["Exists", "Equal"] = "Equal"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None


class KubernetesSettings(_Table):
    """What the platform team and the site's operator agree on."""

    namespace: DnsLabel
    image: ImageByDigest
    """Runs cubes that are folders: has Python and what compiled wheels expect. By digest."""
    flow_image: ImageByDigest | None = None
    """Where flows have pods of their own: the application's image, by digest; `image` when left out."""
    volumes: tuple[VolumeMapping, ...] = Field(min_length=1, max_length=20)
    """The site's folder must be below one of them, and so must whatever else steps are to read."""
    several_nodes: bool = False
    """The volumes can be mounted on several nodes at once (ReadWriteMany): steps run on any of them. Otherwise all of them
    run on the agent's own node."""
    allow_host_path: bool = False
    node_selector: dict[str, str] = Field(default={}, max_length=20)
    tolerations: tuple[Toleration, ...] = Field(default=(), max_length=20)
    runtime_class: DnsLabel | None = None
    priority_class: DnsLabel | None = None
    gpu_resource: str = "nvidia.com/gpu"
    shm_mib: int = Field(default=64, ge=1)
    scratch_mib: int = Field(default=1024, ge=16)
    """What a step may write to /tmp."""
    node_disk_mib: int = Field(default=4096, ge=64)
    """Scratch, log and the writable layer of an image together (`ephemeral-storage`)."""
    writable_images: bool = True
    """Cubes that are images of other federations expect to write to their own file system: they get a layer that is
    thrown away. Folder cubes never do."""
    pull_secrets: tuple[DnsLabel, ...] = ()
    user: int = Field(default=10001, ge=1)
    """Whom steps run as where the agent itself is root; otherwise they run as the agent's own user."""
    owner: DnsLabel | None = None
    """The agent's Deployment: the steps' Jobs go when it goes."""
    pending_s: float = Field(default=3600.0, gt=0)
    """How long a step may wait for a node that is busy."""
    hopeless_s: float = Field(default=5.0, ge=0)
    """How long it may wait where no node could ever take it. Longer where nodes are made on demand."""
    pull_s: float = Field(default=1800.0, gt=0)
    """How long an image may take to be pulled."""
    pull_retry_s: float = Field(default=60.0, ge=0)
    """How long a registry may fail in a way that may pass, before its image counts as not to be had."""
    away_s: float = Field(default=300.0, gt=0)
    """How long the cluster's API may be away before a step counts as lost."""
    kubeconfig: Path | None = None
    """For an agent outside the cluster: the file that KUBECONFIG names when left out. Inside, its service account."""
    context: str | None = None
    """Of the kubeconfig; its current one when left out."""
    template: Path | None = None
    """The reviewed Job that steps are made of; the one that comes with Assay when left out."""

    @model_validator(mode="after")
    def _host_paths_are_allowed(self) -> "KubernetesSettings":
        for volume in self.volumes:
            if volume.host_path is not None and not self.allow_host_path:
                raise ValueError(
                    f"the volume for {str(volume.path)!r} is a path of the node: whoever may mount those is root there."
                    " Use a claim, or set allow_host_path = true"
                )
        return self

    def extras(self) -> dict[str, Any]:
        """What goes into each pod as it is."""
        found: dict[str, Any] = {
            "nodeSelector": self.node_selector,
            "tolerations": [item.model_dump(exclude_none=True) for item in self.tolerations],
            "runtimeClassName": self.runtime_class,
            "priorityClassName": self.priority_class,
            "imagePullSecrets": [{"name": name} for name in self.pull_secrets],
        }
        return {key: value for key, value in found.items() if value}
