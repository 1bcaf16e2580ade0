"""Flow runs, executed warm: as tasks of one long-lived process instead of an interpreter each."""

from flows.warm.runner import WarmRunner

__all__ = ["WarmRunner"]
