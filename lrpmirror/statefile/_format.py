r"""The bytes of a state file.

    lrpmirror state 1\n           the name and version of the format
    length, header               JSON: of which BBS and when, and how many records of each kind follow
    length, record; …            rows, desired LRPs, retained ones, domains, cells: as in the lists of a BBS
    checksum                     BLAKE2b of all before, 16 bytes

Lengths are 32 bits, big-endian. The checksum is compared before anything but the first line is used, and every length
and count is checked against the size of the file, so reading takes no more memory than a small multiple of that.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from typing import Annotated, BinaryIO, Final, TypeVar

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from lrpmirror.core.knowledge import ExportedState
from lrpmirror.errors import MalformedRecord
from lrpmirror.model import ActualLRP, DesiredLRP
from lrpmirror.redaction import without_secrets
from lrpmirror.wire import decode, encode

VERSION: Final = 1  # the version that is written, and the newest that is read
MAGIC: Final = b"lrpmirror state "  # the first bytes of every version; its number and a line feed follow
MOST_BYTES: Final = 4 << 30  # a larger file is no state of a mirror: it would have some ten million rows
RECORDS: Final = 64  # how many records one part has: encoding them takes about half a millisecond

_DIGEST: Final = 16
_LENGTH: Final = 4
_MOST_DIGITS: Final = 9
_CHUNK: Final = 1 << 20

_KINDS: Final = ("actual_lrps", "desired_lrps", "retained", "domains", "cells")

T = TypeVar("T")
Count = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(ge=0, le=1e15)]


class Header(Struct, frozen=True, kw_only=True):
    """The header of a state file."""

    software: str  # the program that wrote it, for people
    bbs: str  # the URL of the BBS whose state it is; empty where the client had none
    taken_at: Seconds  # when the state was taken, in seconds since 1970
    age: Seconds  # how long before that the state was last known to be the server's, in seconds
    revision: Annotated[int, Meta(ge=0, lt=2**62)]
    actual_lrps: Count
    desired_lrps: Count
    retained: Count
    domains: Count
    cells: Count


class UnusableError(Exception):
    """A file cannot be used. `kind`, the suffix with which it is set aside, is "damaged", "foreign" or "future"."""

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(why)
        self.kind = kind


_damaged = partial(UnusableError, "damaged")
_json = msgspec.json.Decoder(Header)


def parts(exported: ExportedState, *, bbs: str, taken_at: float, age: float) -> Iterator[bytes]:
    """Yield a state file, without secrets, in parts of few records, some 10 µs each. Raises MalformedRecord."""
    header = Header(
        software=_software(),
        bbs=bbs,
        taken_at=taken_at,
        age=age,
        revision=exported.revision,
        **{kind: len(getattr(exported, kind)) for kind in _KINDS},
    )
    digest = blake2b(digest_size=_DIGEST)
    for part in _content(header, exported):
        digest.update(part)
        yield part
    yield digest.digest()


def _content(header: Header, exported: ExportedState) -> Iterator[bytes]:
    yield b"%b%d\n" % (MAGIC, VERSION) + _framed(msgspec.json.encode(header))
    yield from _records(_row, exported.actual_lrps)
    yield from _records(_desired, exported.desired_lrps)
    yield from _records(_desired, exported.retained)
    yield from _records(encode.domain, sorted(exported.domains))
    yield from _records(encode.cell_presence, exported.cells)


def _row(row: ActualLRP) -> bytes:
    # Encode a copy: reading all fields of a lazy row leaves half a kilobyte in it for as long as the mirror has it.
    return encode.actual_lrp(replace(row))


def _desired(lrp: DesiredLRP) -> bytes:
    return encode.desired_lrp(without_secrets(lrp))


def _records(encoder: Callable[[T], bytes], values: Iterable[T]) -> Iterator[bytes]:
    left = iter(values)
    while part := b"".join([_framed(encoder(value)) for value in islice(left, RECORDS)]):
        yield part


def _framed(record: bytes) -> bytes:
    return len(record).to_bytes(_LENGTH, "big") + record


def read(file: BinaryIO, size: int, bbs: str) -> tuple[Header, ExportedState]:
    """Read a file of `size` bytes, 10 µs a record. Raises UnusableError (also for another BBS's), OSError."""
    first = file.read(len(MAGIC) + _MOST_DIGITS + 1)
    number = _version(first)
    if number > VERSION:
        raise UnusableError("future", f"has format {number}, and this lrpmirror reads formats up to {VERSION}")
    if size > MOST_BYTES:
        raise UnusableError("foreign", f"has {size} bytes, which no state has")
    _compare_checksum(file, size)
    content = _Content(file, len(MAGIC) + len(str(number)) + 1, size - _DIGEST)
    try:
        header = _json.decode(content.record("header"))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise _damaged(f"has a header that cannot be read: {exc}") from exc
    if header.bbs != bbs:
        theirs, ours = (url or "a client without a URL" for url in (header.bbs, bbs))
        raise UnusableError("foreign", f"has the state of {theirs}, not of {ours}")
    content.check_count(sum(getattr(header, kind) for kind in _KINDS))
    exported = ExportedState(
        revision=header.revision,
        actual_lrps=content.records(header.actual_lrps, decode.actual_lrp, "actual LRP"),
        desired_lrps=content.records(header.desired_lrps, decode.desired_lrp, "desired LRP"),
        retained=content.records(header.retained, decode.desired_lrp, "retained desired LRP"),
        domains=frozenset(content.records(header.domains, decode.domain, "domain")),
        cells=content.records(header.cells, decode.cell_presence, "cell"),
    )
    content.check_end()
    return header, exported


def _version(first: bytes) -> int:
    """Return the version that the first line names."""
    if not first.startswith(MAGIC):
        if MAGIC.startswith(first):
            raise _damaged(f"has {len(first)} bytes only")
        raise UnusableError("foreign", "is no state file of lrpmirror")
    digits, end, _ = first[len(MAGIC) :].partition(b"\n")
    if not digits.isdigit() or not end or digits.startswith(b"0"):
        raise _damaged("has a first line that names no version")
    return int(digits)


def _compare_checksum(file: BinaryIO, size: int) -> None:
    digest = blake2b(digest_size=_DIGEST)
    file.seek(0)
    left = size - _DIGEST
    while left > 0:
        chunk = file.read(min(left, _CHUNK))
        if not chunk:
            raise _damaged("became shorter while it was read")
        digest.update(chunk)
        left -= len(chunk)
    if left < 0 or file.read(_DIGEST) != digest.digest():
        raise _damaged("is not what was written: its checksum differs")


class _Content:
    """The records of a file between two positions."""

    def __init__(self, file: BinaryIO, start: int, end: int) -> None:
        file.seek(start)
        self._file = file
        self._at = start
        self._end = end

    def record(self, what: str) -> bytes:
        length = int.from_bytes(self._take(_LENGTH, what), "big")
        return self._take(length, what)

    def records(self, count: int, decoder: Callable[[bytes], T], what: str) -> tuple[T, ...]:
        try:
            return tuple([decoder(self.record(what)) for _ in range(count)])
        except MalformedRecord as exc:
            raise _damaged(f"has a record before byte {self._at} that cannot be read: {exc}") from exc

    def check_count(self, count: int) -> None:
        if count > (self._end - self._at) // _LENGTH:
            raise _damaged(f"names {count} records, and has no room for them")

    def check_end(self) -> None:
        if self._at != self._end:
            raise _damaged(f"goes on after its last record, at byte {self._at}")

    def _take(self, length: int, what: str) -> bytes:
        if length > self._end - self._at:
            raise _damaged(f"ends in the middle of a record of the kind {what!r}, at byte {self._at}")
        data = self._file.read(length)
        if len(data) != length:
            raise _damaged("became shorter while it was read")
        self._at += length
        return data


def _software() -> str:
    try:
        return f"lrpmirror {version('lrpmirror')}"
    except PackageNotFoundError:
        return "lrpmirror"
