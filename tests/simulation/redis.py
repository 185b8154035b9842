"""The few commands of Redis that a relay uses, in memory; with the faults of a Redis.

A test holds it against a real server, command by command.
"""

from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from copy import deepcopy
from functools import partial
from typing import Any, Final

import msgspec
import trio

from lrpmirror.errors import RelayRefused, RelayUnreachable
from lrpmirror.relay._commands import Commands, Later, Pairs
from lrpmirror.relay._format import ACQUIRE, COMMIT, RELEASE, Script, Transaction

__all__ = ["MemoryRedis"]

EPOCH: Final = 1_700_000_000.0
"""The server's clock at the start of trio's."""

ANSWER: Final = 5.0
"""Seconds after which a command is given up."""

REMEMBERED: Final = 10.0
"""Seconds for which earlier states are kept, for `set_back`."""

Stream = list[tuple[str, list[tuple[bytes, bytes]]]]


class _State:
    """Everything that is kept."""

    def __init__(self) -> None:
        self.hashes: dict[str, dict[bytes, bytes]] = {}
        self.strings: dict[str, tuple[bytes, float]] = {}
        self.streams: dict[str, Stream] = {}
        self.last_ids: dict[str, tuple[int, int]] = {}


class MemoryRedis:
    """A server. Its connections are made by `connect`, and fail as `away` and `stalled` have it."""

    def __init__(self, clock: Callable[[], float] = trio.current_time) -> None:
        self._clock = clock
        self._state = _State()
        self._past: deque[tuple[float, _State]] = deque()
        self._changed = trio.lowlevel.ParkingLot()
        self._connections: set[trio.CancelScope] = set()
        self.away = False
        """Whether connections are refused."""
        self.stalled = False
        """Whether commands get no reply."""
        self.ahead = 0.0
        """By how much the server's clock has been set forward."""

    # What goes wrong

    def cut(self) -> None:
        """Break all connections."""
        for connection in self._connections:
            connection.cancel()

    def flush(self) -> None:
        """Forget everything."""
        self._state = _State()
        self._past.clear()

    def drop(self, key: str) -> None:
        """Forget a key."""
        for kind in (self._state.hashes, self._state.strings, self._state.streams):
            kind.pop(key, None)

    def remember(self) -> None:
        """Keep the state, for `set_back`."""
        now = self._clock()
        self._past.append((now, deepcopy(self._state)))
        while self._past[0][0] < now - REMEMBERED:
            self._past.popleft()

    def set_back(self, seconds: float) -> None:
        """Return to the state of so many seconds ago, as after a fail-over to a replica that had lagged."""
        then = self._clock() - seconds
        earlier = [state for at, state in self._past if at <= then]
        self._state = deepcopy(earlier[-1]) if earlier else _State()
        self._past.clear()
        self.cut()

    def keys(self) -> list[str]:
        """Return the present keys."""
        state = self._state
        return sorted([key for kind in (state.hashes, state.streams) for key, value in kind.items() if value])

    # Connections

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Commands]:
        """Connect, for as long as the block lasts."""
        await trio.lowlevel.checkpoint()
        if self.away:
            raise RelayUnreachable("the server in memory is away")
        yield _Connection(self)

    async def answer(self, do: Callable[[], Any]) -> Any:
        """Run a command of a connection; raises RelayUnreachable where that breaks."""
        with trio.CancelScope() as scope:
            self._connections.add(scope)
            try:
                await trio.lowlevel.checkpoint()
                given_up_at = trio.current_time() + ANSWER
                while self.stalled:
                    if trio.current_time() > given_up_at:
                        raise RelayUnreachable("the server in memory does not answer")
                    await trio.sleep(0.1)
                return do()
            finally:
                self._connections.discard(scope)
        raise RelayUnreachable("the connection to the server in memory broke")

    async def wait(self, do: Callable[[], Any], seconds: float) -> Any:
        """Answer once there is a result, or after so many seconds."""
        with trio.move_on_after(seconds):
            while not (found := await self.answer(do)):
                with trio.CancelScope() as scope:
                    self._connections.add(scope)
                    try:
                        await self._changed.park()
                    finally:
                        self._connections.discard(scope)
                if scope.cancelled_caught:
                    raise RelayUnreachable("the connection to the server in memory broke")
            return found
        return []

    # What the commands do

    def now(self) -> float:
        """Return the server's time."""
        return EPOCH + self._clock() + self.ahead

    def hash(self, key: str) -> dict[bytes, bytes]:
        """Return a hash, empty where there is none."""
        return self._state.hashes.setdefault(key, {})

    def string(self, key: str) -> bytes | None:
        """Return a string, unless it has expired."""
        value, until = self._state.strings.get(key, (None, 0.0))
        return value if until > self.now() else None

    def stream(self, key: str) -> Stream:
        """Return a stream, empty where there is none."""
        return self._state.streams.setdefault(key, [])

    def run(self, script: Script, keys: Sequence[str], args: Sequence[bytes]) -> Any:
        """Run a script."""
        done = {ACQUIRE: self._acquire, RELEASE: self._release, COMMIT: self._commit}[script](keys, args)
        self._changed.unpark_all()
        return done

    def _lease(self, key: str, token: bytes, milliseconds: bytes) -> None:
        self._state.strings[key] = token, self.now() + int(milliseconds) / 1000

    def _acquire(self, keys: Sequence[str], args: Sequence[bytes]) -> int:
        holder, status = self.string(keys[0]), self.hash(keys[1])
        if holder is not None and holder != args[0]:
            live_at = status.get(b"live_at")
            if args[2] != b"1" or live_at is None or self._millis() - int(live_at) <= int(args[3]):
                return 0
            status[b"live_at"] = str(self._millis()).encode()
        self._lease(keys[0], args[0], args[1])
        return 1

    def _release(self, keys: Sequence[str], args: Sequence[bytes]) -> int:
        if self.string(keys[0]) == args[0]:
            del self._state.strings[keys[0]]
        return 1

    def _refusal(self, tx: Transaction, keys: Sequence[str]) -> list[Any]:
        """Return why a transaction is not written; nothing where it is."""
        lease, status, _, *hashes = keys
        holder, link, counts = self.string(lease), self.hash(status).get(b"link", b""), self._counts(hashes)
        if holder != tx.token.encode():
            return [b"fenced", holder or b""]
        if link != tx.before.encode():
            return [b"diverged", link]
        if tx.counts and list(tx.counts) != counts:
            return [b"altered", counts]
        if not 0 <= self._millis() - tx.as_of <= tx.patience:
            return [b"late", str(self._millis()).encode()]
        return []

    def _commit(self, keys: Sequence[str], args: Sequence[bytes]) -> list[Any]:
        tx, rest = msgspec.msgpack.decode(args[0], type=Transaction), list(args[1:])
        if refusal := self._refusal(tx, keys):
            return refusal
        lease_key, status_key, changes_key, *hash_keys = keys
        status, heartbeat = self.hash(status_key), str(self._millis())
        said = {
            "link": tx.link,
            "phase": tx.phase,
            "trouble": tx.trouble,
            "age": f"{(tx.age + self._millis() - tx.as_of) / 1000:.3f}",
            "revision": tx.revision,
        }
        entry_id = ""
        if tx.events >= 0:
            entry = [part.encode() for pair in {**said, "before": tx.follows}.items() for part in pair]
            entry_id = self._add(changes_key, entry + rest[: tx.events], tx.oldest)
            del rest[: tx.events]
        changes = 0
        for number, put, removed in tx.hashes:
            there = self.hash(keys[number - 1])
            there.update(_pairs(rest[:put]))
            for field in rest[put : put + removed]:
                there.pop(field, None)
            del rest[: put + removed]
            changes += put // 2 + removed
        counts = self._counts(hash_keys)
        if tx.live or b"live_at" not in status:
            said["live_at"] = heartbeat
        if changes:
            said["changes"] = str(int(status.get(b"changes", b"0")) + changes)
        if list(tx.counts) != counts:
            said["counts"] = " ".join(map(str, counts))
        said |= {"heartbeat": heartbeat, **dict(zip(tx.more[::2], tx.more[1::2], strict=True))}
        status.update({name.encode(): value.encode() for name, value in said.items()})
        self._state.strings[lease_key] = tx.token.encode(), self.now() + int(tx.lease) / 1000
        return [b"done", heartbeat.encode(), entry_id.encode(), counts]

    def _counts(self, keys: Sequence[str]) -> list[int]:
        return [len(self.hash(key)) for key in keys]

    def _millis(self) -> int:
        return int(self.now() * 1000)

    def _add(self, key: str, entry: list[bytes], floor: str) -> str:
        stream = self.stream(key)
        last = self._state.last_ids.get(key, (0, 0)) if stream else (0, 0)
        at = self._millis()
        number = (at, 0) if at > last[0] else (last[0], last[1] + 1)
        self._state.last_ids[key] = number
        stream.append((f"{number[0]}-{number[1]}", list(_pairs(entry).items())))
        while floor and order(stream[0][0]) < order(floor):
            stream.pop(0)
        return stream[-1][0]


class _Connection(Commands):
    """The commands of one connection."""

    def __init__(self, redis: MemoryRedis) -> None:
        self._redis = redis

    async def read_hash(self, key: str) -> Mapping[bytes, bytes]:
        found: Mapping[bytes, bytes] = await self._redis.answer(lambda: dict(self._redis.hash(key)))
        return found

    async def read_fields(self, key: str, fields: Sequence[str]) -> Sequence[bytes | None]:
        found: list[bytes | None] = await self._redis.answer(
            lambda: [self._redis.hash(key).get(field.encode()) for field in fields]
        )
        return found

    async def scan(self, key: str, cursor: int, count: int) -> tuple[int, Mapping[bytes, bytes]]:
        # By the order of the fields, so that what is there all the time is found whatever comes and goes: the cursor is
        # the number of the slice of the space of fields, as that of a real one is of its table.
        def slice_of() -> tuple[int, Mapping[bytes, bytes]]:
            number = max(1, len(self._redis.hash(key)) // max(count, 1))
            slices = 1 << (number - 1).bit_length()
            slices = min(slices, 1 << 8)
            low, high = cursor * 256 // SLICES, (cursor + SLICES // slices) * 256 // SLICES
            some = {field: value for field, value in self._redis.hash(key).items() if low <= place(field) < high}
            following = cursor + SLICES // slices
            return 0 if following >= SLICES else following, some

        found: tuple[int, Mapping[bytes, bytes]] = await self._redis.answer(slice_of)
        return found

    def scan_ahead(self, key: str, cursor: int, count: int) -> Later[tuple[int, Mapping[bytes, bytes]]]:
        # Nothing takes time here: the scan itself is as good.
        return partial(self.scan, key, cursor, count)

    def fields_ahead(self, key: str, fields: bytes) -> Later[Sequence[bytes | None]]:
        return partial(self.read_fields, key, fields.decode().split("\n") if fields else ())

    async def send(self) -> None:
        await self._redis.answer(lambda: None)

    async def last_entry(self, key: str) -> tuple[str, Pairs] | None:
        found: Stream = await self._redis.answer(lambda: self._redis.stream(key)[-1:])
        return found[0] if found else None

    async def has_entry(self, key: str, entry_id: str) -> bool:
        def has() -> bool:
            ids = [order(one) for one, _ in self._redis.stream(key)]
            return bool(ids) and (order(entry_id) in ids or (ids[0] > order(entry_id)))

        return bool(await self._redis.answer(has))

    async def entries_after(self, key: str, entry_id: str, count: int, wait: float) -> Sequence[tuple[str, Pairs]]:
        def later() -> Stream:
            return [entry for entry in self._redis.stream(key) if order(entry[0]) > order(entry_id)][:count]

        found: Stream = await self._redis.wait(later, wait)
        return found

    async def time(self) -> float:
        found: float = await self._redis.answer(self._redis.now)
        return found

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[str | bytes]) -> Any:
        binary = [one.encode() if isinstance(one, str) else one for one in args]
        if script not in (ACQUIRE, COMMIT, RELEASE):
            raise RelayRefused("the server in memory knows no such script")
        return await self._redis.answer(lambda: self._redis.run(script, keys, binary))


SLICES: Final = 256
"""Into how many parts the space of a hash's fields is cut at most."""


def place(field: bytes) -> int:
    """Return in which of 256 parts of the space a field is."""
    return sum(field) % 256


def order(entry_id: str) -> tuple[int, int]:
    """Return a stream's id as what it is ordered by."""
    millis, _, number = entry_id.partition("-")
    return int(millis), int(number or 0)


def _pairs(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
