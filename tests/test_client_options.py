"""What a client refuses at its construction: URLs, timeouts and limits that cannot be meant."""

import pytest

from lrpmirror.client import BBSClient, Limits, Timeouts
from lrpmirror.errors import ConfigurationError

URL = "http://bbs.test:8889"


@pytest.mark.parametrize(
    ("url", "says_"),
    [
        ("bbs.test:8889", "must begin with https:// or http://"),
        ("ftp://bbs.test", "must begin with https:// or http://"),
        ("", "must begin with https:// or http://"),
        ("https://", "names no host"),
        ("http://:8889", "names no host"),
        ("http://bbs.test:port", "cannot be read"),
        ("http://bbs.test:99999", "cannot be read"),
        ("http://[::1", "cannot be read"),
        ("http://bbs.test/?a=1", "must end with"),
        ("http://bbs.test/#top", "must end with"),
        ("http://bbs .test", "characters"),
        ("http://bbs.test/\r\nX-Evil: 1", "characters"),
        ("http://a\u00e9.test", "characters"),
        ("http://a..b", "characters"),
        ("http://a<b", "characters"),
        (f"http://{'a' * 64}.test", "characters"),
    ],
)
def test_a_url_that_is_no_bbs_s_is_refused_at_construction(url: str, says_: str) -> None:
    with pytest.raises(ConfigurationError, match=says_):
        BBSClient(url)


def test_a_user_and_password_in_the_url_are_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigurationError) as refused:
        BBSClient("https://admin:hunter2@bbs.test")
    assert "hunter2" not in str(refused.value)
    assert "admin" not in str(refused.value)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), Timeouts(read=0), Timeouts(list=0)])
def test_a_timeout_that_is_no_positive_number_is_refused(timeout: float | Timeouts) -> None:
    with pytest.raises(ConfigurationError, match="not a positive number of seconds"):
        BBSClient(URL, timeout=timeout)


@pytest.mark.parametrize("name", Limits.__struct_fields__)
@pytest.mark.parametrize("value", [0, -1, 1.5])
def test_a_limit_that_is_no_positive_whole_number_is_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match=f"limit {name}={value} is not a positive whole number"):
        BBSClient(URL, limits=Limits(**{name: value}))  # type: ignore[arg-type] # what is refused


@pytest.mark.parametrize("host", ["[::1]:8889", "127.0.0.1", "bbs.service.cf.internal:8889"])
def test_the_url_is_kept_without_its_trailing_slash(host: str) -> None:
    assert BBSClient(f"http://{host}/").url == f"http://{host}"
