"""What a mirror shows to the outside: a read replica of the BBS, and its health."""

from lrpmirror.serve.app import ReplicaApp
from lrpmirror.serve.replica import Replica, open_replica

__all__ = ["Replica", "ReplicaApp", "open_replica"]
