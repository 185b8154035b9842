"""What a mirror shows to the outside: a read replica of the BBS, and its health."""

from lrpmirror.serve.replica import Replica, open_replica
from lrpmirror.serve.routes import ReplicaApp

__all__ = ["Replica", "ReplicaApp", "open_replica"]
