"""What can be wrong with a bundle, as one tree.

BundleError
 ├─ BundleDamagedError   not what was written: cut, changed, or something else altogether
 ├─ BundleForgedError    signed by nobody who is trusted
 └─ BundleRefusedError   good in itself, and not for here or not for now
"""

from agents.errors import AgentError


class BundleError(AgentError):
    """The base of everything that this package raises on purpose."""


class BundleDamagedError(BundleError):
    """The file is not what was written: copy it again."""


class BundleForgedError(BundleError):
    """No key that is trusted here has signed it."""


class BundleRefusedError(BundleError):
    """For another site, older than what is here already, or of another kind."""
