"""Measurements: verify first, then time, always beside a peer in the same run. See CONTRIBUTING.md."""
