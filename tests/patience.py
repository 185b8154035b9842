"""How long a test waits by the real clock for what must come."""

PATIENCE = 100.0
"""In seconds: far beyond what a busy machine takes for anything here, and within `faulthandler_timeout`."""
