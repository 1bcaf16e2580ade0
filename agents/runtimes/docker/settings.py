"""The `[docker]` table of a site's settings: which engine, and what it gives a step."""

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

_DIGEST: Final = r"^\S+@sha256:[0-9a-f]{64}$"


class DockerSettings(BaseModel):
    """What the operator of the engine and the site's operator agree on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: Annotated[str, StringConstraints(pattern=r"^(unix|tcp|ssh|npipe)://\S+$")] | None = None
    """The engine's address; left out, what DOCKER_HOST says, or the socket of this machine. An engine elsewhere must
    see the site's folder under the same path: the probe finds out, and without it nothing runs."""
    tls_folder: str | None = None
    """Holds ca.pem, cert.pem and key.pem for an engine behind TLS."""
    image: Annotated[str, StringConstraints(pattern=_DIGEST, max_length=500)] | None = None
    """Runs cubes that are folders, and the deny probe: has Python and what compiled wheels expect. By digest."""
    gpus: bool = False
    """Whether this engine gives GPUs to steps that ask for them."""
    user: int = Field(default=10001, ge=1)
    """Whom steps run as where the agent itself is root; otherwise they run as the agent's own user."""
    scratch_mib: int = Field(default=1024, ge=16)
    """What a step may write to /tmp; it counts as memory."""
    shm_mib: int = Field(default=64, ge=1)
    timeout_s: float = Field(default=120.0, gt=0)
    """How long the engine may take to answer."""
