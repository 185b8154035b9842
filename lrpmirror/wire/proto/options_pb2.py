"""The options of fields in `options.proto`."""

from lrpmirror.wire.proto import define

DESCRIPTOR = define("options.proto", globals())
