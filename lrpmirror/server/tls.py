"""Certificate and client authorities of a server, from files, also when they are replaced."""

from os import PathLike

from lrpmirror.client import TLS
from lrpmirror.client._identity import Identity
from lrpmirror.client._tls import load_server


class ServerTLS(Identity):
    """Mutual TLS for a server: a certificate and its key, and the authorities of the clients' certificates, all PEM.

    The files are looked at before each connection, which takes microseconds; a new set is taken up when it is whole and
    valid, and the one before serves until then, with a warning in the log. Open connections stay.
    Raises ConfigurationError, naming the file and what is wrong with it, for a set that cannot be used at construction.
    """

    def __init__(self, *, ca: str | PathLike[str], cert: str | PathLike[str], key: str | PathLike[str]) -> None:
        super().__init__(TLS(ca=ca, cert=cert, key=key), loader=load_server)
