"""The validity period of a certificate, read from its DER: which the ssl module does not expose."""

from datetime import UTC, datetime

_UTC_TIME = 0x17
_VERSION = 0xA0
_LONG_FORM = 0x80
_CENTURY_PIVOT = 50


def validity(der: bytes) -> tuple[datetime, datetime] | None:
    """Return the first and last moment of a certificate's validity; None where that cannot be read."""
    try:
        certificate, _ = _element(der, 0)[1:]
        body = _element(certificate, 0)[1]
        tag, _, after = _element(body, 0)
        position = after if tag == _VERSION else 0
        for _ in ("serial number", "signature algorithm", "issuer"):
            position = _element(body, position)[2]
        period = _element(body, position)[1]
        first_tag, first, after = _element(period, 0)
        last_tag, last, _ = _element(period, after)
        return _moment(first_tag, first), _moment(last_tag, last)
    except (IndexError, ValueError, OverflowError):
        return None


def _element(data: bytes, start: int) -> tuple[int, bytes, int]:
    """Return the tag and content of the DER element at `start`, and where the next one starts."""
    length = data[start + 1]
    content = start + 2
    if length & _LONG_FORM:
        size = length ^ _LONG_FORM
        length = int.from_bytes(data[content : content + size])
        content += size
    end = content + length
    if end > len(data):
        raise ValueError("cut short")
    return data[start], data[content:end], end


def _moment(tag: int, text: bytes) -> datetime:
    """Read a UTCTime (two-digit year) or GeneralizedTime, both of which RFC 5280 requires to be in seconds and UTC."""
    digits = text.decode("ascii")
    if tag == _UTC_TIME:
        digits = ("20" if int(digits[:2]) < _CENTURY_PIVOT else "19") + digits
    return datetime.strptime(digits, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
