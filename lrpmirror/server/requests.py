"""What a request asks for: its body, and its filters, each name once and no more than are looked up in one go."""

from collections.abc import Callable, Collection
from typing import Final, TypeVar

from google.protobuf.message import DecodeError, Message

from lrpmirror.errors import RequestRefused
from lrpmirror.model import ActualLRP, DesiredLRP
from lrpmirror.wire import text

_M = TypeVar("_M", bound=Message)

READABLE: Final = 8192  # bytes of a body whose texts may be not UTF-8: to read those takes a microsecond a field
MOST_NAMES: Final = 10_000  # names of a filter; what a BBS takes is bounded by its database, at some ten thousands


def parse(kind: type[_M], body: bytes) -> _M:
    """Return the request; raise RequestRefused of type InvalidRequest for bytes of no such request."""
    try:
        return text.parse(kind, body) if len(body) <= READABLE else kind.FromString(body)
    except DecodeError as exc:
        raise RequestRefused("InvalidRequest", f"the body is not a {kind.DESCRIPTOR.name}") from exc


def unique(names: Collection[str], what: str) -> tuple[str, ...]:
    """Return each name once, in order. Raises RequestRefused of type InvalidRequest where there are too many."""
    if len(names) > MOST_NAMES:
        raise RequestRefused(
            "InvalidRequest", f"{len(names)} {what} are asked for, {MOST_NAMES} at most are answered at once"
        )
    return tuple(dict.fromkeys(names))


def begins_with(prefixes: Collection[str]) -> Callable[[str], bool]:
    """Return a test whether a text begins with any of these. O(their different lengths), however many they are."""
    known = frozenset(prefixes)
    lengths = sorted({len(prefix) for prefix in known})
    if len(lengths) == 1:
        length = lengths[0]
        return lambda text: text[:length] in known

    def test(text: str) -> bool:
        return any(text[:length] in known for length in lengths)

    return test


def row_filter(domain: str, cell_id: str, index: int | None) -> Callable[[ActualLRP], bool]:
    """Return the test of a request for rows; what is empty lets all pass."""

    def test(row: ActualLRP) -> bool:
        return (
            (not domain or row.domain == domain)
            and (not cell_id or row.cell_id == cell_id)
            and (index is None or row.index == index)
        )

    return test


def desired_filter(
    domain: str, process_guids: Collection[str], app_guids: Collection[str]
) -> Callable[[DesiredLRP], bool]:
    """Return the test of a request for desired LRPs; what is empty lets all pass. `app_guids` are prefixes."""
    wanted = frozenset(process_guids)
    is_of_app = begins_with(app_guids)

    def test(lrp: DesiredLRP) -> bool:
        guid = lrp.process_guid
        return (
            (not domain or lrp.domain == domain)
            and (not wanted or guid in wanted)
            and (not app_guids or is_of_app(guid))
        )

    return test
