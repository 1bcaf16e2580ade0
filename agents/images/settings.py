"""The `[images]` table of a site's settings."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from agents.images.documents import ImageLimits
from cubes.public_keys import PublicKeyPem

RegistryHost = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.\-\[\]:]{1,255}$")]


class ImageSettings(BaseModel):
    """How a site gets images. Logins are in `secrets/registries.json`, never here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    plain_http: tuple[RegistryHost, ...] = ()
    """Registries (`host:port`) that are asked without encryption: inside the hospital alone. This machine always may be."""
    keys: tuple[PublicKeyPem, ...] = ()
    """Where there are any, one of them must have signed every image that runs here, whatever a benchmark asks."""
    image_gib: int = Field(default=40, ge=1)
    """The largest image that is pulled; unpacked it may become twice as large."""

    def limits(self) -> ImageLimits:
        return ImageLimits(
            layer_bytes=self.image_gib << 30, image_bytes=self.image_gib << 30, unpacked_bytes=self.image_gib << 31
        )
