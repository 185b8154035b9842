"""TLS files and options: which are refused when a client is made, in which words, and never with a secret in them."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from tls_support import EXPIRED, Files, issue

from lrpmirror.client import TLS, BBSClient
from lrpmirror.client._tls import certificate_problem, validity
from lrpmirror.errors import ConfigurationError

URL = "https://bbs.test:8889"


def test_tls_files_for_an_http_url_are_refused(mine: Files) -> None:
    with pytest.raises(ConfigurationError, match="is http: use https"):
        BBSClient("http://bbs.test:8889", tls=mine.tls)


def test_a_key_without_certificate_is_refused(mine: Files) -> None:
    with pytest.raises(ConfigurationError, match=f"{mine.key}.*without a certificate"):
        BBSClient(URL, tls=TLS(ca=mine.ca, key=mine.key))


def test_a_certificate_without_key_is_refused_unless_its_file_has_the_key(mine: Files, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"no TLS key is given, and '{mine.cert}' holds no private key"):
        BBSClient(URL, tls=TLS(ca=mine.ca, cert=mine.cert))
    both = tmp_path / "both.pem"
    both.write_bytes(mine.cert.read_bytes() + mine.key.read_bytes())
    BBSClient(URL, tls=TLS(ca=mine.ca, cert=both))


@pytest.mark.parametrize("option", ["ca", "cert", "key"])
def test_a_file_that_is_missing_a_folder_or_of_another_kind_is_named(mine: Files, tmp_path: Path, option: str) -> None:
    garbage = tmp_path / "garbage.pem"
    garbage.write_bytes(b"\x00\xff not PEM \xe9")
    broken = tmp_path / "broken.pem"
    kind = "PRIVATE KEY" if option == "key" else "CERTIFICATE"
    broken.write_text(f"-----BEGIN {kind}-----\nAAAA\n-----END {kind}-----\n")
    given: dict[str, Any] = {"ca": mine.ca, "cert": mine.cert, "key": mine.key}
    unpadded = tmp_path / "unpadded.pem"
    unpadded.write_text(broken.read_text().replace("AAAA", "AAA"))
    for path in (tmp_path / "missing.pem", tmp_path, garbage, broken, unpadded):
        with pytest.raises(ConfigurationError) as refused_:
            BBSClient(URL, tls=TLS(**{**given, option: path}))
        assert str(path) in str(refused_.value)


def test_a_file_that_may_not_be_read_is_named_with_the_reason(mine: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path, *_args: object, **_options: object) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    # The tests may run as root, who may read everything.
    monkeypatch.setattr(Path, "read_text", denied)
    with pytest.raises(ConfigurationError, match=f"TLS CA '{mine.ca}' cannot be read: Permission denied"):
        BBSClient(URL, tls=mine.tls)


def test_a_key_of_another_certificate_is_refused(mine: Files, other: Files) -> None:
    with pytest.raises(ConfigurationError, match=f"'{other.key}' does not belong to certificate '{mine.cert}'"):
        BBSClient(URL, tls=TLS(ca=mine.ca, cert=mine.cert, key=other.key))


def test_an_encrypted_key_is_refused_rather_than_asked_about(mine: Files, tmp_path: Path) -> None:
    key = load_pem_private_key(mine.key.read_bytes(), None)
    encrypted = tmp_path / "encrypted.pem"
    secret = BestAvailableEncryption(b"hunter2")
    encrypted.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, secret))
    with pytest.raises(ConfigurationError, match=f"'{encrypted}' is encrypted"):
        BBSClient(URL, tls=TLS(ca=mine.ca, cert=mine.cert, key=encrypted))


def test_a_certificate_that_has_expired_or_is_not_yet_valid_is_refused_with_the_date(tmp_path: Path) -> None:
    expired = issue(tmp_path / "expired", not_after=EXPIRED)
    with pytest.raises(ConfigurationError, match=f"'{expired.cert}': the certificate has expired, on 2001-01-01 00:00"):
        BBSClient(URL, tls=expired.tls)
    start = datetime.now(UTC) + timedelta(days=2)
    early = issue(tmp_path / "early", not_before=start)
    with pytest.raises(ConfigurationError, match=f"not valid before {start:%Y-%m-%d}"):
        BBSClient(URL, tls=early.tls)


def test_a_secret_never_stands_in_a_message(mine: Files, tmp_path: Path) -> None:
    key = mine.key.read_text()
    shuffled = tmp_path / "key.pem"
    shuffled.write_text(key.replace("PRIVATE KEY-----\n", "PRIVATE KEY-----\nAAAA", 1))
    with pytest.raises(ConfigurationError) as refused_:
        BBSClient(URL, tls=TLS(ca=mine.ca, cert=mine.cert, key=shuffled))
    assert key.splitlines()[1] not in str(refused_.value)


def test_the_validity_is_read_as_openssl_reads_it(mine: Files) -> None:
    authority = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.load_verify_locations(mine.ca)
    (known,) = authority.get_ca_certs()
    period = validity(authority.get_ca_certs(binary_form=True)[0])
    assert period is not None
    assert [moment.timestamp() for moment in period] == [
        ssl.cert_time_to_seconds(str(known[name])) for name in ("notBefore", "notAfter")
    ]


def test_the_validity_of_no_certificate_is_unknown(mine: Files) -> None:
    der = ssl.PEM_cert_to_DER_cert(
        mine.cert.read_text().partition("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----"
    )
    assert validity(der) is not None
    for cut in range(150):
        assert validity(der[:cut]) is None


def test_of_several_authorities_one_that_is_valid_is_enough(mine: Files, tmp_path: Path) -> None:
    folder = issue(tmp_path / "old", not_after=EXPIRED)
    bundle = tmp_path / "bundle.pem"
    # An expired leaf stands in for an expired authority: OpenSSL takes any certificate as an anchor.
    bundle.write_text("# Autorit\u00e9s\n" + folder.cert.read_text() + mine.ca.read_text(), encoding="utf-8")
    BBSClient(URL, tls=TLS(ca=bundle))
    with pytest.raises(ConfigurationError, match=f"'{folder.cert}': the certificate has expired"):
        BBSClient(URL, tls=TLS(ca=folder.cert))


def test_a_certificate_that_openssl_cannot_read_is_named(mine: Files, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text(mine.cert.read_text().replace("CERTIFICATE-----\nM", "CERTIFICATE-----\nT"))
    with pytest.raises(ConfigurationError, match=f"TLS certificate '{broken}' and key '{mine.key}' cannot be used"):
        BBSClient(URL, tls=TLS(ca=mine.ca, cert=broken, key=mine.key))


def test_a_certificate_whose_dates_cannot_be_read_is_left_to_openssl() -> None:
    assert certificate_problem(b"") == ""
