"""Pages of our own in front of Prefect's: signing in and out, what waits for a decision, one gate as a person reads it."""

from flows.server.pages.application import OWN_PATHS, Pages

__all__ = ["OWN_PATHS", "Pages"]
