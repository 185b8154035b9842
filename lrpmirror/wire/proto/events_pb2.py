"""The messages of `events.proto`."""

from lrpmirror.wire.proto import define

DESCRIPTOR = define("events.proto", globals())
