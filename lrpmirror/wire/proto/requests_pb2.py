"""The messages of `requests.proto`."""

from lrpmirror.wire.proto import define

DESCRIPTOR = define("requests.proto", globals())
