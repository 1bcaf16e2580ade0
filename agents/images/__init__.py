"""Container images without an engine: found by reference, fetched by digest, verified, unpacked, cached by content."""
