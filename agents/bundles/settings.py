"""The `[bundles]` table of a site's settings."""

from pydantic import BaseModel, ConfigDict

from cubes.public_keys import PublicKeyPem


class BundleSettings(BaseModel):
    """Whose bundles a site without a network takes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keys: tuple[PublicKeyPem, ...] = ()
    """Public keys of the connected places; none: no bundle is taken."""
