"""Talking to a BBS over httpx and trio: lists, single records and event streams, with mutual TLS."""

from lrpmirror.client._bbs import BBSClient
from lrpmirror.client._options import Limits, Timeouts
from lrpmirror.client._replies import Batches, EventStream
from lrpmirror.client._tls import TLS, InsecureTLSWarning

__all__ = ["TLS", "BBSClient", "Batches", "EventStream", "InsecureTLSWarning", "Limits", "Timeouts"]
