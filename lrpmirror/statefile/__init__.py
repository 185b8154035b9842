"""The state of a mirror in a file, from which the next one begins: its format, and how it is written and read.

A file has no secrets: see `lrpmirror.redaction`.
"""

from lrpmirror.statefile._disk import Disk
from lrpmirror.statefile._file import Loaded, StateFile

__all__ = ["Disk", "Loaded", "StateFile"]
