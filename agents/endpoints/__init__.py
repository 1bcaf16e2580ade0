"""Models that are reached over a network: a step asks through a socket, and the site alone speaks to the endpoint."""
