"""The messages of `diego.proto`."""

from lrpmirror.wire.proto import define

DESCRIPTOR = define("diego.proto", globals())
