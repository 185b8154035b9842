"""The messages of `hot.proto`."""

from lrpmirror.wire.proto import define

DESCRIPTOR = define("hot.proto", globals())
