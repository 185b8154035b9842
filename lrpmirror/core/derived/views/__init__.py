"""The views that come with the library."""
