"""The `process` runtime: every step in namespaces of its own, with nothing installed but Python."""

from agents.runtimes.outputs import safe_outputs
from agents.runtimes.process.runtime import ProcessRuntime

__all__ = ["ProcessRuntime", "safe_outputs"]
