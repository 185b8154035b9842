"""The URL of a relay: what it names, what is refused, and that no password is repeated."""

import pytest

from lrpmirror.errors import ConfigurationError
from lrpmirror.relay._address import is_relay, parse


@pytest.mark.parametrize(
    ("url", "hosts", "db"),
    [
        ("redis://redis.example.com", (("redis.example.com", 6379),), 0),
        ("redis://127.0.0.1:7000/3", (("127.0.0.1", 7000),), 3),
        ("redis://[::1]:7000?db=2", (("::1", 7000),), 2),
        ("rediss://redis.example.com", (("redis.example.com", 6379),), 0),
        ("redis+cluster://one:1,two:2", (("one", 1), ("two", 2)), 0),
    ],
)
def test_a_url_names_servers_and_a_database(url: str, hosts: tuple[tuple[str, int], ...], db: int) -> None:
    address = parse(url)

    assert (address.hosts, address.db) == (hosts, db)
    assert address.encrypted == url.startswith("rediss")


def test_sentinels_name_a_service_and_read_from_replicas_where_asked_to() -> None:
    address = parse("redis+sentinel://a,b:5/main/2?read_from=replica&sentinel_username=u&sentinel_password=p")

    assert address.hosts == (("a", 26379), ("b", 5))
    assert (address.service, address.db, address.replica) == ("main", 2, True)
    assert (address.sentinel_username, address.sentinel_password) == ("u", "p")


def test_a_socket_is_a_path() -> None:
    address = parse("unix://user:secret@/run/redis.sock?db=1&prefix=cf")

    assert (address.path, address.db, address.prefix) == ("/run/redis.sock", 1, "cf")
    assert (address.username, address.password) == ("user", "secret")


def test_a_password_may_be_encoded_and_is_not_in_the_name() -> None:
    address = parse("redis://rea%40der:s%2Fcr%3At@redis:1/2?prefix=cf-prod")

    assert (address.username, address.password) == ("rea@der", "s/cr:t")
    assert address.name == "redis://redis:1/2?prefix=cf-prod"
    assert "cr" not in repr(address)


@pytest.mark.parametrize(
    "url",
    [
        "redis://",
        "redis://user:sesame@",
        "redis://host:port-sesame",
        "redis://u:sesame@host/one",
        "redis://u:sesame@host/1/2",
        "redis://u:sesame@host/1?db=2",
        "redis://u:sesame@host?colour=red",
        "redis://u:sesame@host?prefix={x}",
        "redis://u:sesame@host?prefix=",
        "redis://u:sesame@host?read_from=replica",
        "redis://u:sesame@host#x",
        "redis+sentinel://u:sesame@host",
        "redis+sentinel://u:sesame@host/main?read_from=nobody",
        "redis+cluster://u:sesame@host/1",
        "unix://host/path",
        "unix://",
        "http://u:sesame@host",
        "redis://u:sesame@[::1",
    ],
)
def test_what_is_no_relay_s_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse(url)

    assert "u:sesame" not in str(refused.value)
    assert str(refused.value)


def test_a_bbs_is_not_taken_for_a_relay() -> None:
    assert [is_relay(url) for url in ("https://bbs:8889", "redis://x", "UNIX:///y", "bbs")] == [
        False,
        True,
        True,
        False,
    ]
