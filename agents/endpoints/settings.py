"""The `[endpoints.NAME]` tables of a site's settings: which private endpoint which cube may ask, and how much."""

from collections.abc import Mapping
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from agents.hosts import is_here
from cubes.digests import Digest


def _encrypted(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "https" and not is_here(parts.hostname or ""):
        raise ValueError(f"{url!r} is not encrypted: patient data go there; use https://")
    if parts.username or parts.password:
        raise ValueError("a password does not belong into a URL: write the key into the secret's file")
    return url


class EndpointSettings(BaseModel):
    """One endpoint. What it is asked leaves this hospital, so its operator names each cube that may."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Annotated[str, StringConstraints(pattern=r"^https?://\S+$"), AfterValidator(_encrypted)]
    """The full address that each request goes to; a step cannot choose another."""
    cubes: tuple[Digest, ...] = Field(min_length=1)
    """Packs that may ask it."""
    secret: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$")] | None = None
    """A file below the site's `secrets`, sent as a bearer token. The cube never sees it."""
    requests_per_minute: float = Field(default=60.0, gt=0)
    most_requests: int = Field(default=10_000, ge=1)
    """Of one step."""
    most_bytes: int = Field(default=32 << 20, ge=1)
    """Of one request, and of one answer."""
    timeout_s: float = Field(default=120.0, gt=0)
    tries: int = Field(default=4, ge=1, le=10)
    price_per_request: float = Field(default=0.0, ge=0)
    price_per_thousand_tokens: float = Field(default=0.0, ge=0)

    @property
    def host(self) -> str:
        """The one host that is reached, with its port where one is named."""
        return urlsplit(self.url).netloc


def hosts_of(endpoints: Mapping[str, EndpointSettings], pack_digest: str) -> list[str]:
    """Which hosts a cube may ask at this site; its contract names one endpoint, most name none."""
    return sorted({each.host for each in endpoints.values() if pack_digest in each.cubes})
