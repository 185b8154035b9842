"""State files: the state of a mirror, with which the next one begins; their format, and how they are written and read.

A file has no secrets: see `lrpmirror.redaction`.
"""

from lrpmirror.statefile._file import Disk, Loaded, StateFile

__all__ = ["Disk", "Loaded", "StateFile"]
