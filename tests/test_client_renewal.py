"""TLS files that are replaced on disk: taken up when they are whole and valid, reported when they are not."""

import logging
import os
import ssl
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trio
import trustme
from client_support import STREAM_HEAD, Received, Script, chunk, reply, run, serving
from tls_support import EXPIRED, Files, issue

from lrpmirror.client import TLS, BBSClient, InsecureTLSWarning, _tls
from lrpmirror.client._tls import Identity
from lrpmirror.errors import ConfigurationError, TLSFailed
from lrpmirror.events import UnknownEvent
from lrpmirror.wire.sse import encode_frame


class Deployment:
    """A client's files, and what they can be replaced by."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = issue(folder / "files")
        self.identity: Identity | None = None

    @property
    def tls(self) -> TLS:
        return self.files.tls

    def next_certificate(self, *, not_after: datetime | None = None) -> tuple[bytes, bytes]:
        leaf = self.files.authority.issue_cert("client", not_after=not_after)
        return b"".join(blob.bytes() for blob in leaf.cert_chain_pems), leaf.private_key_pem.bytes()

    def renew(self) -> bytes:
        """Replace certificate and key; return the new certificate as DER."""
        cert, key = self.next_certificate()
        replace(self.files.cert, cert)
        replace(self.files.key, key)
        return der(cert)


@pytest.fixture
def deployed(tmp_path: Path) -> Deployment:
    return Deployment(tmp_path)


def replace(path: Path, data: bytes) -> None:
    """Replace a file at once, as those who know how to do it."""
    aside = path.with_suffix(".new")
    aside.write_bytes(data)
    aside.rename(path)


def der(pem: bytes) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pem.decode().partition("-----END")[0] + "-----END CERTIFICATE-----\n")


def age(*paths: Path) -> None:
    """Make files look as if nobody had written them lately."""
    for path in paths:
        then = path.stat().st_mtime_ns - 60 * 10**9
        os.utime(path, ns=(then, then))


def noting(shown: list[bytes | None]) -> Script:
    """Answer pings, and streams with one event; note the certificate that each connection shows."""

    async def script(received: Received, stream: trio.abc.Stream) -> bool:
        assert isinstance(stream, trio.SSLStream)
        shown.append(stream._ssl_object.getpeercert(binary_form=True))
        if received.path == "/v1/ping":
            await stream.send_all(reply(b"\x08\x01"))
            return False
        await stream.send_all(STREAM_HEAD)
        await stream.send_all(chunk(encode_frame(len(shown), "e", b"")))
        await trio.sleep_forever()
        return False

    return script


def test_new_connections_are_made_with_the_new_files_while_the_stream_goes_on(deployed: Deployment) -> None:
    shown: list[bytes | None] = []

    async def main() -> None:
        async with (
            serving(noting(shown), tls=deployed.files.server(), host="localhost") as bbs,
            BBSClient(bbs.url, tls=deployed.tls) as client,
            client.events("instances") as stream,
        ):
            before = der(deployed.files.cert.read_bytes())
            assert not client.renewed()
            after = deployed.renew()
            assert [client.renewed(), client.renewed()] == [True, False]
            await client.ping()
            async with client.events("instances") as replacement:
                assert await anext(replacement) == [UnknownEvent("e")]
            assert await anext(stream) == [UnknownEvent("e")]
            assert shown == [before, after, after]
            assert client.tls_problem is None

    run(main)


def test_a_connection_takes_the_new_files_up_without_being_told(deployed: Deployment) -> None:
    shown: list[bytes | None] = []

    async def main() -> None:
        async with (
            serving(noting(shown), tls=deployed.files.server(), host="localhost") as bbs,
            BBSClient(bbs.url, tls=deployed.tls) as client,
        ):
            after = deployed.renew()
            await client.ping()
            assert shown == [after]
            assert client.renewed()

    run(main)


def test_a_new_authority_is_trusted_once_it_is_in_the_file(deployed: Deployment, tmp_path: Path) -> None:
    other = issue(tmp_path / "other")
    server = other.server(client_ca=deployed.files.ca)

    async def main() -> None:
        async with (
            serving(noting([]), tls=server, host="localhost") as bbs,
            BBSClient(bbs.url, tls=deployed.tls) as client,
        ):
            with pytest.raises(TLSFailed, match="the server's certificate is not accepted"):
                await client.ping()
            replace(deployed.files.ca, deployed.files.ca.read_bytes() + other.ca.read_bytes())
            assert await client.ping()

    run(main)


@pytest.mark.parametrize("order", ["cert key", "key cert"])
def test_files_that_are_written_piece_by_piece_in_any_order_are_taken_up_when_they_are_whole(
    deployed: Deployment, order: str
) -> None:
    identity = Identity(deployed.tls)
    first = identity.context()
    new = dict(zip(("cert", "key"), deployed.next_certificate(), strict=True))
    contexts = []
    for name in order.split():
        path: Path = getattr(deployed.files, name)
        path.write_bytes(b"")
        contexts.append(identity.context())
        for at in range(0, len(new[name]), 100):
            with path.open("ab") as file:
                file.write(new[name][at : at + 100])
            contexts.append(identity.context())
    assert contexts[:-1] == [first] * (len(contexts) - 1)
    assert contexts[-1] is not first
    assert (identity.changes, identity.problem) == (1, None)


def test_a_new_certificate_with_the_old_key_is_reported_once_and_waits_for_its_key(
    deployed: Deployment, caplog: pytest.LogCaptureFixture
) -> None:
    refused: list[ConfigurationError] = []
    client = BBSClient("https://bbs.test", tls=deployed.tls, on_tls_problem=refused.append)
    cert, key = deployed.next_certificate()
    replace(deployed.files.cert, cert)
    with caplog.at_level(logging.INFO):
        assert [client.renewed() for _ in range(3)] == [False] * 3
    expected = f"TLS key '{deployed.files.key}' does not belong to certificate '{deployed.files.cert}'"
    assert [str(problem) for problem in refused] == [expected]
    assert str(client.tls_problem) == expected
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert expected in caplog.text
    replace(deployed.files.key, key)
    with caplog.at_level(logging.INFO):
        assert client.renewed()
    assert client.tls_problem is None
    assert str(deployed.files.cert) in caplog.records[-1].getMessage()


def test_each_bad_state_of_the_files_is_reported_once_with_the_file_and_the_reason(deployed: Deployment) -> None:
    refused: list[str] = []
    identity = Identity(deployed.tls, lambda problem: refused.append(str(problem)))
    cert = deployed.files.cert
    original = cert.read_bytes()

    def see(data: bytes | None) -> None:
        if data is None:
            cert.unlink(missing_ok=True)
        else:
            replace(cert, data)
        for _ in range(2):
            identity.check()

    see(b"")
    see(None)
    see(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    see(original)
    assert identity.problem is None
    see(None)
    newer, key = deployed.next_certificate()
    replace(deployed.files.key, key)
    see(None)
    # Looked at once only: the next look finds nothing new, and forgets.
    replace(cert, newer)
    identity.check()
    assert identity.changes == 1
    # What was said of that very state was said before it was mended.
    see(None)
    assert [text.removeprefix(f"TLS certificate '{cert}' ")[:20] for text in refused] == [
        "holds no certificate",
        "cannot be read: No s",
        f"and key '{deployed.files.key}'"[:20],
        "cannot be read: No s",
        "cannot be read: No s",
        "cannot be read: No s",
    ]


def test_a_new_certificate_that_has_expired_is_not_taken_up(deployed: Deployment) -> None:
    identity = Identity(deployed.tls)
    cert, key = deployed.next_certificate(not_after=EXPIRED)
    replace(deployed.files.key, key)
    replace(deployed.files.cert, cert)
    identity.check()
    assert identity.changes == 0
    assert str(identity.problem).startswith(
        f"TLS certificate '{deployed.files.cert}': the certificate has expired, on 2001-01-01 00:00 UTC"
    )


def test_a_certificate_that_is_not_yet_valid_is_taken_up_when_it_is(
    deployed: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = Identity(deployed.tls)
    start = datetime.now(UTC) + timedelta(days=2)
    leaf = deployed.files.authority.issue_cert("client", not_before=start)
    replace(deployed.files.key, leaf.private_key_pem.bytes())
    replace(deployed.files.cert, leaf.cert_chain_pems[0].bytes())
    age(deployed.files.ca, deployed.files.cert, deployed.files.key)
    identity.check()
    assert "is not valid before" in str(identity.problem)
    monkeypatch.setattr(_tls, "_now", lambda: start + timedelta(seconds=1))
    identity.check()
    assert (identity.changes, identity.problem) == (1, None)


def test_files_that_are_touched_and_not_changed_are_no_renewal(deployed: Deployment) -> None:
    identity = Identity(deployed.tls)
    age(deployed.files.cert)
    replace(deployed.files.key, deployed.files.key.read_bytes())
    first = identity.context()
    assert identity.context() is first
    assert identity.changes == 0


def test_files_behind_a_link_that_is_turned_are_taken_up(deployed: Deployment, tmp_path: Path) -> None:
    link = tmp_path / "current"
    link.symlink_to(deployed.files.ca.parent)
    identity = Identity(TLS(ca=link / "ca.pem", cert=link / "cert.pem", key=link / "key.pem"))
    issue(tmp_path / "next")
    turned = tmp_path / "turned"
    turned.symlink_to(tmp_path / "next")
    turned.rename(link)
    identity.check()
    assert identity.changes == 1


def test_a_write_that_no_time_or_size_tells_of_is_seen_while_the_file_is_fresh(deployed: Deployment) -> None:
    files = deployed.files
    both = files.ca.parent / "both.pem"
    other = trustme.CA()
    size = max(len(files.ca.read_bytes()), len(other.cert_pem.bytes())) + 1
    both.write_bytes(files.ca.read_bytes().ljust(size, b"\n"))
    now = time.time_ns()
    os.utime(both, ns=(now, now))
    identity = Identity(TLS(ca=both))
    both.write_bytes(other.cert_pem.bytes().ljust(size, b"\n"))
    os.utime(both, ns=(now, now))
    identity.check()
    assert identity.changes == 1


@pytest.mark.parametrize("way", ["another file", "another size"])
def test_a_file_that_keeps_its_time_is_seen_by_what_else_changes(deployed: Deployment, way: str) -> None:
    ca = deployed.files.ca
    age(ca)
    then = ca.stat().st_mtime_ns
    identity = Identity(TLS(ca=ca))
    if way == "another file":
        replace(ca, ca.read_bytes()[:-1] + b" ")
    else:
        ca.write_bytes(trustme.CA().cert_pem.bytes() + ca.read_bytes())
    os.utime(ca, ns=(then, then))
    identity.check()
    assert identity.changes == 1


def test_files_that_stay_as_they_are_are_not_read_again(deployed: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    age(deployed.files.ca, deployed.files.cert, deployed.files.key)
    identity = Identity(deployed.tls)
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"{path} is read"))
    identity.check()


def test_files_that_change_while_they_are_loaded_are_looked_at_again(
    deployed: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = Identity(deployed.tls)
    deployed.renew()
    load = _tls.load

    def slow(tls: TLS) -> _tls.LoadedTLS:
        loaded = load(tls)
        deployed.renew()
        return loaded

    with monkeypatch.context() as patched:
        patched.setattr("lrpmirror.client._tls.load", slow)
        identity.check()
    assert identity.changes == 0
    identity.check()
    assert identity.changes == 1


def as_before_the_end(patched: pytest.MonkeyPatch) -> None:
    """Let the client's clock stand in the year when what is expired was valid."""
    patched.setattr(_tls, "_now", lambda: EXPIRED - timedelta(days=1))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_server_that_refuses_a_certificate_which_has_expired_meanwhile_is_told_of_with_the_file_and_its_date(
    tmp_path: Path, version: ssl.TLSVersion
) -> None:
    files = issue(tmp_path / "old", not_after=EXPIRED)
    server = files.server()
    server.minimum_version = server.maximum_version = version

    async def main() -> None:
        with pytest.MonkeyPatch.context() as patched:
            as_before_the_end(patched)
            client = BBSClient("https://localhost", tls=TLS(cert=files.cert, key=files.key, ca=files.ca))
        async with serving(noting([]), tls=server, host="localhost") as bbs, client:
            client.url = bbs.url
            with pytest.raises(TLSFailed) as failed:
                await client.ping()
        assert "the server refused the TLS handshake" in str(failed.value)
        assert f"TLS certificate '{files.cert}': the certificate has expired, on 2001-01-01 00:00" in str(failed.value)

    run(main)


def test_an_authority_that_has_expired_meanwhile_is_named_where_the_server_is_not_trusted(
    deployed: Deployment, tmp_path: Path
) -> None:
    old = issue(tmp_path / "old", not_after=EXPIRED)

    async def main() -> None:
        with pytest.MonkeyPatch.context() as patched:
            as_before_the_end(patched)
            # An expired leaf stands in for an expired authority: OpenSSL takes any certificate as an anchor.
            client = BBSClient("https://localhost", tls=TLS(ca=old.cert))
        async with serving(noting([]), tls=deployed.files.server(), host="localhost") as bbs, client:
            client.url = bbs.url
            with pytest.raises(TLSFailed, match=f"TLS CA '{old.cert}': the certificate has expired, on 2001-01-01"):
                await client.ping()

    run(main)


def test_a_refused_handshake_says_that_newer_files_could_not_be_used(deployed: Deployment, tmp_path: Path) -> None:
    other = issue(tmp_path / "other")
    server = deployed.files.server(client_ca=other.ca)

    async def main() -> None:
        async with (
            serving(noting([]), tls=server, host="localhost") as bbs,
            BBSClient(bbs.url, tls=deployed.tls) as client,
        ):
            replace(deployed.files.cert, b"half")
            with pytest.raises(TLSFailed) as failed:
                await client.ping()
        assert "the server refused the TLS handshake" in str(failed.value)
        assert (
            "the files that are there now cannot be used: "
            f"TLS certificate '{deployed.files.cert}' holds no certificate" in str(failed.value)
        )

    run(main)


def test_what_is_taken_up_without_verification_does_not_warn_again(deployed: Deployment) -> None:
    with pytest.warns(InsecureTLSWarning):
        client = BBSClient("https://bbs.test", tls=TLS(cert=deployed.files.cert, key=deployed.files.key, verify=False))
    deployed.renew()
    assert client.renewed()


def test_without_tls_there_is_nothing_to_renew() -> None:
    client = BBSClient("http://bbs.test")
    assert not client.renewed()
    assert client.tls_problem is None


def test_the_key_stands_in_no_report(deployed: Deployment, caplog: pytest.LogCaptureFixture) -> None:
    files: Files = deployed.files
    refused: list[ConfigurationError] = []
    identity = Identity(files.tls, refused.append)
    key = files.key.read_bytes()
    with caplog.at_level(logging.DEBUG):
        for data in (key[:-40], key.replace(b"KEY-----\nM", b"KEY-----\nMAAA"), b""):
            replace(files.key, data)
            identity.check()
    assert len(refused) == 3
    secret = key.decode().splitlines()[1]
    assert secret not in caplog.text + "".join(map(repr, refused))
