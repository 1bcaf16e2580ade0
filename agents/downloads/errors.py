"""What can be wrong with a download, as one tree.

DownloadError
 ├─ DownloadRefusedError    the URL, or the size of what is there, is not for this site
 ├─ DownloadFailedError     it cannot be had now
 └─ DownloadTamperedError   it is not what its digest says
"""

from agents.errors import AgentError


class DownloadError(AgentError):
    """The base of everything that this package raises on purpose."""


class DownloadRefusedError(DownloadError):
    """This site does not fetch that."""


class DownloadFailedError(DownloadError):
    """It is not there, or its server is away; what came is kept, and the next try goes on from there."""


class DownloadTamperedError(DownloadError):
    """What came is not what was asked for."""

    def __init__(self, url: str, wanted: str, got: str) -> None:
        super().__init__(f"{url!r}: wanted {wanted}, got {got}: nothing was unpacked. Ask its owner which is right")
        self.wanted, self.got = wanted, got
