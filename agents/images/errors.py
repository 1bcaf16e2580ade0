"""What can be wrong with an image, as one tree.

ImageError
 ├─ ImageUnavailableError   its registry has it not, gives it not, or is away
 ├─ ImageTamperedError      its bytes are not what a digest says
 ├─ ImageRefusedError       it holds what is not unpacked, is too large, or is for another machine
 ├─ SignatureError          nobody who is trusted has signed it
 └─ CredentialsError        the site's credentials for registries cannot be used
"""

from agents.errors import AgentError


class ImageError(AgentError):
    """The base of everything that this package raises on purpose."""


class ImageUnavailableError(ImageError):
    """The registry has no such image, does not give it out, or cannot be reached."""


class ImageTamperedError(ImageError):
    """What came is not what was asked for; both digests are in the message."""

    def __init__(self, what: str, wanted: str, got: str) -> None:
        super().__init__(f"{what}: wanted {wanted}, got {got}: what was approved is not what is there; nothing runs")
        self.wanted, self.got = wanted, got


class ImageRefusedError(ImageError):
    """Something in the image is not unpacked here."""


class SignatureError(ImageError):
    """No signature by a key that is trusted."""


class CredentialsError(ImageError):
    """The file of credentials is open to others, or is not what it should be."""
