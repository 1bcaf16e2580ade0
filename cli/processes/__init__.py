"""Processes put together: what a registry and a site run, each part startable and stoppable by itself."""
