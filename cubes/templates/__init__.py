"""Cubes to begin with: one folder a kind, each of which runs as it is."""
