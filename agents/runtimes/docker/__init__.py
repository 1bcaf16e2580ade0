"""The `docker` runtime: every step is one hardened container of an engine, here or elsewhere."""
