"""Opening a mirror: its client, session, state file and tasks, which live as long as a block."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from os import PathLike
from random import Random
from typing import Final, Literal

import trio
from msgspec import Struct

from lrpmirror.background import background
from lrpmirror.client import TLS, BBSClient, Limits, Timeouts
from lrpmirror.core.exported import ExportedState
from lrpmirror.core.freshness.tuning import Tuning
from lrpmirror.core.session import Session
from lrpmirror.errors import ConfigurationError, StateFileError
from lrpmirror.mirror._bbs import BBS, StreamName
from lrpmirror.mirror._mirror import Mirror
from lrpmirror.relay import RelayClient, is_relay
from lrpmirror.statefile import Loaded, StateFile

logger: Final = logging.getLogger("lrpmirror")


class _Export(Struct, frozen=True):
    """A state, when it was taken by the system's clock, and how long before that it was known to be the server's."""

    exported: ExportedState
    at: float
    age: float


@dataclass
class StateFileWriter:
    """Reads and writes the state file of one session. A failure is only logged and recorded in the session."""

    _file: StateFile
    _session: Session
    _clock: Callable[[], float]
    _bbs: str
    _saved_revision: int | None = None  # the revision of the state in the file
    _final: _Export | None = None
    _logged: set[tuple[type, object]] = field(default_factory=set)  # failures logged since the last writing

    async def begin(self) -> None:
        """Lock the file and restore its state. Raises ConfigurationError for a file that cannot be used."""
        # Shielded, since a lock that is taken has to be released.
        with trio.CancelScope(shield=True):
            await self._file.offload(self._file.acquire)
        try:
            loaded: Loaded | None = await self._file.offload(lambda: self._file.load(self._bbs))
        except StateFileError as error:
            logger.warning("%s", error)
            self._session.freshness.noted(error)
            return
        if loaded is not None:
            self._restore(loaded)

    async def run(self, publish: Callable[[], None]) -> None:
        """Write the file at an interval, where anything has changed. Calls `publish` when that has failed."""
        session = self._session
        while True:
            await trio.sleep(session.tuning.state_interval)
            if session.knowledge.revision == self._saved_revision:
                continue
            export = self._take()
            if export is not None and not await self._write(export, lambda: None):
                publish()

    def take_final_state(self) -> None:
        """Export the state that `end` writes. O(rows), as `Knowledge.export`."""
        self._final = self._take()

    async def end(self) -> None:
        """Write the final state, and unlock the file, within `Tuning.state_patience` seconds."""
        last, file = self._final, self._file
        if last is None:
            file.release()
            return
        patience = self._session.tuning.state_patience
        scope = trio.CancelScope(shield=True, deadline=trio.current_time() + patience)
        with scope:
            # The writing thread unlocks it, since it may still be writing when the wait ends here.
            await self._write(last, file.release)
        if scope.cancelled_caught:
            file.give_up()
            logger.warning(
                "the state file %s could not be written within %s s of closing: the one before stays",
                file.path,
                patience,
            )

    def _restore(self, loaded: Loaded) -> None:
        self._saved_revision = loaded.exported.revision
        self._session.restore(loaded.exported, loaded.store, self._clock(), loaded.age)
        if loaded.age is None:
            unknown = StateFileError(
                f"the age of the state in {self._file.path} is not known, since the clock was set back after it was "
                "written; it passes for fresh nowhere"
            )
            logger.warning("%s", unknown)
            self._session.freshness.noted(unknown)
        else:
            logger.info("begun with the state of %.0f s ago, from %s", loaded.age, self._file.path)

    def _take(self) -> _Export | None:
        session = self._session
        # Before a list was committed, the state is what the file has.
        if session.freshness.synced_at is None:
            return None
        now = self._clock()
        current_at = session.freshness.current_at
        return _Export(session.knowledge.export(), self._file.wall(), 0.0 if current_at is None else now - current_at)

    async def _write(self, export: _Export, then: Callable[[], None]) -> bool:
        """Write a state, then call `then`, both in a thread; return whether it was written."""
        file, bbs = self._file, self._bbs

        def work() -> None:
            try:
                file.save(export.exported, bbs=bbs, taken_at=export.at, age=export.age)
            finally:
                then()

        try:
            await file.offload(work)
        except StateFileError as error:
            self._failed(error)
            return False
        self._saved_revision = export.exported.revision
        self._logged.clear()
        return True

    def _failed(self, error: StateFileError) -> None:
        self._session.freshness.noted(error)
        cause = error.__cause__
        kind = type(cause), getattr(cause, "errno", None)
        if kind not in self._logged:
            self._logged.add(kind)
            logger.warning("%s", error)


@asynccontextmanager
async def open_mirror(
    bbs: str | BBS,
    *,
    tls: TLS | None = None,
    stream: StreamName = "instances",
    detail: Literal["routing", "full"] = "routing",
    timeout: Timeouts | float | None = None,
    limits: Limits | None = None,
    state_file: str | PathLike[str] | StateFile | None = None,
    tuning: Tuning | None = None,
    rng: Random | None = None,
) -> AsyncIterator[Mirror]:
    """Open a mirror of a BBS, which lives as long as the block. It connects in the background; see `wait_synced`.

    `bbs` is the URL, such as `https://bbs.service.cf.internal:8889`, with `tls` for its certificates; or a client; or
    the URL of a relay, such as `redis://redis.service.cf.internal`, where `lrpmirror publish` keeps the state of a BBS:
    see `lrpmirror.relay.RelayClient`. `stream` is what to follow: "instances", or "groups" for old servers that have
    only those. `detail="full"` keeps whole desired LRPs, environments and credentials included. `timeout` and `limits`
    are how long a server may take and how much it may send. `tuning` has the mirror's own intervals, delays and limits;
    `rng` makes their jitter repeatable.

    `state_file` keeps the state from one run to the next. It is there before the block begins, STALE, its `state_age`
    by the system's clock: where that was set back since, the age is not known, and no check of freshness passes.
    `status.restored_at` is set until the first list is committed, whose commit is the true difference; revisions go on.
    What may hold secrets is not in the file: `detail`, and the routes of other routers than `cf-router`, `tcp-router`
    and `internal-router`, whose value is `null`; the first list brings them, without a change for subscribers. It is
    written every `Tuning.state_interval` seconds where anything has changed, and when the block ends, which waits for
    that up to `Tuning.state_patience` seconds. A file that is damaged, of a later version or of another BBS is renamed,
    and the mirror begins without it; that, like a failure to write, is logged and in `status.last_error`.

    Raises ConfigurationError for options or files that cannot be used. A BBS that cannot be reached is no error here:
    the status says so, and the mirror goes on trying. What a subscriber raises (by its error policy) ends the block,
    in an ExceptionGroup.
    """
    if stream not in ("instances", "groups"):
        raise ConfigurationError(f"stream={stream!r} is neither 'instances' nor 'groups'")
    if detail not in ("routing", "full"):
        raise ConfigurationError(f"detail={detail!r} is neither 'routing' nor 'full'")
    session = Session(tuning or Tuning(), rng or Random())  # noqa: S311 - jitter, not a secret
    clock = trio.lowlevel.current_clock().current_time
    async with AsyncExitStack() as stack:
        if isinstance(bbs, str) and is_relay(bbs):
            if timeout is not None or limits is not None or stream != "instances":
                raise ConfigurationError("a relay has no timeout, limits or stream of groups to choose")
            client: BBS = await stack.enter_async_context(RelayClient(bbs, tls=tls))
        elif isinstance(bbs, str):
            client = await stack.enter_async_context(
                BBSClient(bbs, tls=tls, timeout=timeout or Timeouts(), limits=limits or Limits())
            )
        elif tls is not None or timeout is not None or limits is not None:
            raise ConfigurationError("tls, timeout and limits belong to the client that was given: set them there")
        else:
            client = bbs
        state_file_writer = None
        if state_file is not None:
            file = state_file if isinstance(state_file, StateFile) else StateFile(state_file)
            state_file_writer = StateFileWriter(file, session, clock, getattr(client, "url", ""))
            stack.push_async_callback(state_file_writer.end)
            await state_file_writer.begin()
        # Closed only after the tasks: what reached one just before it was cancelled is still recorded.
        with ExitStack() as closing:
            async with background() as nursery:
                mirror = Mirror(client, session, nursery, clock, stream=stream, full=detail == "full")
                closing.callback(mirror._close)  # noqa: SLF001 - its own package
                if state_file_writer is not None:
                    closing.callback(state_file_writer.take_final_state)
                    nursery.start_soon(state_file_writer.run, lambda: mirror._publish(()))  # noqa: SLF001
                nursery.start_soon(mirror._follower.run)  # noqa: SLF001
                yield mirror
