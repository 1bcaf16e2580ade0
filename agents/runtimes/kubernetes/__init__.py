"""The `kubernetes` runtime: every step is one hardened Job, watched to its end."""
