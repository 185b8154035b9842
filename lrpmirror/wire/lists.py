"""The framing of replies: a list's body, in any pieces, to the protobuf bytes of its records, one after another.

Every reply of a BBS is a message with an error as field 1 and its records, one or many, as field 2. A list is not
paged, so its body can be hundreds of megabytes: no more than one record and the chunk at hand are ever held.
"""

from typing import Final

from google.protobuf.message import DecodeError

from lrpmirror.errors import LimitExceeded, MalformedRecord, RequestRefused, ResourceNotFound, TruncatedReply, WireError
from lrpmirror.wire.proto import diego_pb2
from lrpmirror.wire.text import BYTES, FIXED, LOW, MAX_VARINT, VARINT, number_at, parse

_ERROR_FIELD: Final = 1
_MAX_TAG: Final = 2**32 - 1
_MAX_LENGTH: Final = 2**31 - 1
_MAX_MESSAGE: Final = 4096
"""Characters that are kept of an error's message, which a status keeps long after the reply."""


class ReplySplitter:
    """Splits one reply into its records as it arrives, with no I/O: any partition of the bytes gives the same records.

    `record_field` is the number of the field that holds the records (2 to 15), `max_record` the bytes that one may
    have, `what` the name of the request, for messages. Fields of other numbers are skipped without being kept. After an
    error every later call raises it again.
    """

    def __init__(self, *, record_field: int = 2, max_record: int = 16 * 1024 * 1024, what: str = "the reply") -> None:
        self._record_field = record_field
        self._record_tag = record_field << 3 | BYTES
        self._max_record = max_record
        self._what = what
        self._failed: WireError | RequestRefused | None = None
        self._offset = 0  # of the chunk at hand, in the reply
        self._kept = bytearray()  # what has arrived of a field that is not complete
        self._size = 0  # how many bytes of it have to be there before it is looked at again
        self._skipped = 0  # bytes that are still to come of a field that is skipped
        self._start = 0  # where the field starts in the reply

    @property
    def buffered(self) -> int:
        """The number of bytes that are kept of a record which is not complete."""
        return len(self._kept)

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes of the reply, and return the records that they complete, as protobuf bytes.

        Raises RequestRefused (ResourceNotFound where it is that) for the reply's error field, MalformedRecord for bytes
        that are no protobuf message, LimitExceeded for a record beyond `max_record`; the last two name the offset in
        the reply. Cost: below 1 µs a record, and one copy of its bytes, three where it came in pieces.
        """
        if self._failed is not None:
            raise self._failed
        try:
            return self._split(chunk)
        except (WireError, RequestRefused) as exc:
            self._failed = exc
            raise

    def finish(self) -> None:
        """Say that the body has ended; raises TruncatedReply where that is in the middle of a field."""
        if self._failed is not None:
            raise self._failed
        if self._kept or self._skipped:
            self._failed = TruncatedReply(
                f"{self._what} ends in the middle of the field that starts at byte {self._start}: "
                "the connection broke, ask again"
            )
            raise self._failed

    def _split(self, chunk: bytes) -> list[bytes]:
        out: list[bytes] = []
        size, tag, limit = len(chunk), self._record_tag, self._max_record
        pos = self._resume(chunk, out)
        while pos < size:
            # Nearly every field is a record of 128 bytes to 16 KiB, whose length takes two bytes, and whole.
            if chunk[pos] == tag and pos + 2 < size and chunk[pos + 2] <= LOW < chunk[pos + 1]:
                length = chunk[pos + 1] & LOW | chunk[pos + 2] << 7
                end = pos + 3 + length
                if end <= size and length <= limit:
                    out.append(chunk[pos + 3 : end])
                    pos = end
                    continue
            self._start = self._offset + pos
            pos = self._one(chunk, pos, out)
        self._offset += size
        return out

    def _resume(self, chunk: bytes, out: list[bytes]) -> int:
        """Take what the chunk has of a field that began before it; return where the next one starts."""
        pos, size = 0, len(chunk)
        while pos < size and (self._kept or self._skipped):
            end = min(size, pos + (self._skipped or self._size - len(self._kept)))
            if self._skipped:
                self._skipped -= end - pos
            else:
                self._kept += chunk[pos:end]
                if len(self._kept) == self._size:
                    field, self._kept = bytes(self._kept), bytearray()
                    self._one(field, 0, out)
            pos = end
        return pos

    def _one(self, chunk: bytes, pos: int, out: list[bytes]) -> int:
        """Take the field at `pos`, or the part received; return where the next one starts."""
        size = len(chunk)
        header = self._header(chunk, pos)
        if header is None:
            self._kept, self._size = bytearray(chunk[pos:]), size - pos + 1
            return size
        field, length, start = header
        end = start + length
        if not field:
            self._skipped = max(0, end - size)
        elif end > size:
            self._kept, self._size = bytearray(chunk[pos:]), end - pos
        else:
            self._complete(field, chunk[start:end], out)
        return min(end, size)

    def _complete(self, field: int, body: bytes, out: list[bytes]) -> None:
        if field == self._record_field:
            out.append(body)
            return
        try:
            error = parse(diego_pb2.Error, body)
        except DecodeError as exc:
            raise self._malformed("has an error field that is no error") from exc
        kinds = diego_pb2.Error.Type
        name = kinds.Name(error.type) if error.type in kinds.values() else str(error.type)
        if error.type == diego_pb2.Error.ResourceNotFound:
            raise ResourceNotFound(name, error.message[:_MAX_MESSAGE])
        raise RequestRefused(name, error.message[:_MAX_MESSAGE])

    def _header(self, chunk: bytes, pos: int) -> tuple[int, int, int] | None:
        """Read a field's tag and length at `pos`; None where they are not all there.

        The result is the field's number (0 for one to skip), the bytes of its body, and where they start.
        """
        tag, pos = self._varint(chunk, pos)
        if pos < 0:
            return None
        field = self._wanted(tag)
        wire = tag & 7
        if wire in FIXED:
            return 0, FIXED[wire], pos
        length, pos = self._varint(chunk, pos)
        if pos < 0:
            return None
        if wire == VARINT:
            return 0, 0, pos
        if length > _MAX_LENGTH:
            raise self._malformed("has a field whose length no message can have")
        if field and length > self._max_record:
            raise LimitExceeded(
                f"{self._what} has a record of {length} bytes at byte {self._start}, more than max_record, "
                f"{self._max_record}: raise max_record if such records are real"
            )
        return field, length, pos

    def _wanted(self, tag: int) -> int:
        """Return the number of a tag's field, or 0 for one that is to be skipped."""
        field, wire = tag >> 3, tag & 7
        if not field or tag > _MAX_TAG:
            raise self._malformed("has a field without a valid number")
        if field not in {self._record_field, _ERROR_FIELD}:
            if wire not in (VARINT, BYTES, *FIXED):
                raise self._malformed(f"has a field of wire type {wire}, which no reply uses")
            return 0
        if wire != BYTES:
            raise self._malformed(f"has field {field} in wire type {wire}, not as a record")
        return field

    def _varint(self, chunk: bytes, pos: int) -> tuple[int, int]:
        """Return the number at `pos` and where it ends, which is -1 where it is not all there."""
        try:
            return number_at(chunk, pos)
        except DecodeError:
            if len(chunk) - pos >= MAX_VARINT:
                raise self._malformed("has a number of more than ten bytes") from None
            return 0, -1

    def _malformed(self, what: str) -> MalformedRecord:
        return MalformedRecord(f"{self._what} {what}, at byte {self._start}")
