"""Neither side agrees on a TLS older than 1.2, also where the system's OpenSSL would."""

import ssl
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
import trustme

from lrpmirror.client import TLS
from lrpmirror.client._tls import load
from lrpmirror.server import mutual_tls

OLD = [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1]


def old(context: ssl.SSLContext, *, oldest: ssl.TLSVersion, newest: ssl.TLSVersion) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version, context.maximum_version = oldest, newest
    context.set_ciphers("ALL:@SECLEVEL=0")


def lax(protocol: int) -> ssl.SSLContext:
    """Return what a system gives whose administrator, or whose Python, allows everything."""
    context = ssl.SSLContext(protocol)
    old(context, oldest=ssl.TLSVersion.TLSv1, newest=ssl.TLSVersion.MAXIMUM_SUPPORTED)
    return context


@pytest.fixture
def pems(tmp_path: Path) -> dict[str, Path]:
    authority = trustme.CA()
    paths = {name: tmp_path / f"{name}.pem" for name in ("ca", "server", "client")}
    authority.cert_pem.write_to_path(paths["ca"])
    for name in ("server", "client"):
        authority.issue_cert(name).private_key_and_cert_chain_pem.write_to_path(paths[name])
    return paths


def client_of(pems: dict[str, Path]) -> ssl.SSLContext:
    return load(TLS(ca=pems["ca"], cert=pems["client"])).context


def server_of(pems: dict[str, Path]) -> ssl.SSLContext:
    return mutual_tls(ca=pems["ca"], cert=pems["server"], key=pems["server"])


def agreed(client: ssl.SSLContext, server: ssl.SSLContext) -> str | None:
    """Shake hands in memory; return the version. Raises SSLError where they do not agree."""
    one, other = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(one, other, server_hostname="server")
    theirs = server.wrap_bio(other, one, server_side=True)
    for _ in range(4):
        for side in (ours, theirs):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
    return ours.version()


def test_a_client_and_a_server_of_ours_agree(pems: dict[str, Path]) -> None:
    assert agreed(client_of(pems), server_of(pems)) == "TLSv1.3"


@pytest.mark.parametrize("version", OLD)
@pytest.mark.parametrize("side", [client_of, server_of])
def test_what_is_older_than_tls_1_2_is_refused_by_either_side(
    side: Callable[[dict[str, Path]], ssl.SSLContext],
    version: ssl.TLSVersion,
    pems: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for of in (load, mutual_tls):
        monkeypatch.setattr(sys.modules[of.__module__], "ssl", SimpleNamespace(**{**vars(ssl), "SSLContext": lax}))
    sides: dict[Callable[[dict[str, Path]], ssl.SSLContext], ssl.SSLContext]
    sides = {make: make(pems) for make in (client_of, server_of)}
    peer = next(context for make, context in sides.items() if make is not side)
    old(peer, oldest=version, newest=version)
    with pytest.raises(ssl.SSLError, match=r"(?i)version|protocol"):
        agreed(sides[client_of], sides[server_of])
    # It is the version and nothing else.
    old(sides[side], oldest=version, newest=version)
    assert agreed(sides[client_of], sides[server_of]) == version.name.replace("v1_1", "v1.1")
