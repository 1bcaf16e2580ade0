"""A site's own memory: people, datasets, jobs, gates, decisions, executions, scores and the outbox, in one SQLite file."""

from agents.store.engine import Store

__all__ = ["Store"]
