"""The URL of a relay: which servers, as whom, over what, and under which prefix its keys are."""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from msgspec import Struct

from lrpmirror.errors import ConfigurationError

DEFAULT_PREFIX: Final = "lrpmirror"  # the prefix of the keys where the URL names none

_PORTS: Final[Mapping[str, int]] = {"single": 6379, "sentinel": 26379, "cluster": 6379}

_SCHEMES: Final[Mapping[str, tuple[str, bool]]] = {
    "redis": ("single", False),
    "rediss": ("single", True),
    "unix": ("unix", False),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
}

_OPTIONS: Final = frozenset({"prefix", "db", "read_from", "sentinel_username", "sentinel_password"})

_PREFIX: Final = re.compile(r"[A-Za-z0-9_.:-]{1,100}")


class Address(Struct, frozen=True):
    """What a relay's URL says."""

    kind: str  # single, unix, sentinel or cluster
    encrypted: bool
    hosts: tuple[tuple[str, int], ...]  # the servers, or the Sentinels, or the first nodes of a cluster that are asked
    path: str = ""  # the socket, for `unix`
    service: str = ""  # what the Sentinels call the primary
    username: str | None = None
    password: str | None = None
    sentinel_username: str | None = None
    sentinel_password: str | None = None
    db: int = 0
    replica: bool = False  # whether to read from the replicas that the Sentinels know
    prefix: str = DEFAULT_PREFIX

    @property
    def name(self) -> str:
        """The URL as it may be logged: without user and password."""
        scheme = next(name for name, way in _SCHEMES.items() if way == (self.kind, self.encrypted))
        where = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        path = "".join(f"/{part}" for part in (self.service, str(self.db) if self.db else "") if part)
        prefix = "" if self.prefix == DEFAULT_PREFIX else f"?prefix={self.prefix}"
        return f"{scheme}://{where}{self.path or path}{prefix}"

    def __repr__(self) -> str:
        return f"<relay at {self.name}>"


def is_relay(url: str) -> bool:
    """Return whether a URL is that of a relay, by its scheme."""
    return url.partition("://")[0].lower() in _SCHEMES


def parse(url: str) -> Address:
    """Read a relay's URL; raises ConfigurationError that says what is wrong, without repeating a password.

    The forms are `redis://[user[:password]@]host[:port][/db]`, `unix://[user[:password]@]/path/of/socket`,
    `redis+sentinel://host[:port],…/service[/db]` and `redis+cluster://host[:port],…`; `rediss` is TLS. What stands
    after `?` is `prefix` of the keys, `db`, and for Sentinels `read_from=replica`, `sentinel_username` and
    `sentinel_password`. User and password may be percent-encoded.
    """
    try:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError as exc:
        raise ConfigurationError("the relay's URL cannot be read: write redis://HOST:PORT/DB?prefix=NAME") from exc
    if parts.scheme not in _SCHEMES:
        raise ConfigurationError(f"the scheme of a relay's URL is one of {', '.join(_SCHEMES)}, not {parts.scheme!r}")
    unknown = options.keys() - _OPTIONS
    if unknown or parts.fragment:
        what = ", ".join(sorted(unknown)) or "#…"
        raise ConfigurationError(f"the relay's URL has {what}; it can have {', '.join(sorted(_OPTIONS))}")
    kind, encrypted = _SCHEMES[parts.scheme]
    account, _, where = parts.netloc.rpartition("@")
    username, colon, password = account.partition(":")
    service, db = _path(kind, parts, options)
    prefix = options.get("prefix", DEFAULT_PREFIX)
    if not _PREFIX.fullmatch(prefix):
        raise ConfigurationError(f"the prefix {prefix!r} of the relay's keys must be letters, digits and any of _.:-")
    if options.get("read_from", "primary") not in {"primary", "replica"} or ("read_from" in options) > (
        kind == "sentinel"
    ):
        raise ConfigurationError("read_from in a relay's URL is primary or replica, and for Sentinels only")
    return Address(
        kind=kind,
        encrypted=encrypted,
        hosts=() if kind == "unix" else _hosts(where, _PORTS[kind]),
        path=unquote(parts.path) if kind == "unix" else "",
        service=service,
        username=unquote(username) or None,
        password=unquote(password) if colon else None,
        sentinel_username=options.get("sentinel_username"),
        sentinel_password=options.get("sentinel_password"),
        db=db,
        replica=options.get("read_from") == "replica",
        prefix=prefix,
    )


def _path(kind: str, parts: SplitResult, options: Mapping[str, str]) -> tuple[str, int]:
    """Return the service's name and the database."""
    steps = [unquote(step) for step in parts.path.split("/") if step]
    service = ""
    if kind == "unix":
        if not steps or parts.netloc.rpartition("@")[2]:
            raise ConfigurationError("the relay's URL names no socket: write unix:///path/of/socket")
        steps = []
    elif kind == "sentinel":
        if not steps:
            raise ConfigurationError(
                "the relay's URL names no service: write redis+sentinel://HOST:PORT,HOST:PORT/SERVICE"
            )
        service = steps.pop(0)
    text = steps[0] if steps else options.get("db", "0")
    if len(steps) > 1 or not (text.isascii() and text.isdigit()) or (steps and "db" in options):
        raise ConfigurationError(f"the path of a relay's URL is the number of a database, such as /0, not {text!r}")
    if kind == "cluster" and int(text):
        raise ConfigurationError("a cluster has database 0 only: leave it out of the relay's URL")
    return service, int(text)


def _hosts(where: str, default: int) -> tuple[tuple[str, int], ...]:
    hosts = []
    for one in where.split(","):
        try:
            parts = urlsplit(f"//{one}")
            host, port = parts.hostname, parts.port
        except ValueError as exc:
            raise ConfigurationError(f"the relay's URL has {one!r}, which is no HOST:PORT") from exc
        if not host:
            raise ConfigurationError("the relay's URL names no host: write redis://HOST:PORT")
        hosts.append((host, default if port is None else port))
    return tuple(hosts)
