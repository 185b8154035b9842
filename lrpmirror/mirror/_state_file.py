"""The state file of a mirror: restored at the beginning, written at an interval and at the end."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import trio
from msgspec import Struct

from lrpmirror.core.knowledge import ExportedState
from lrpmirror.core.session import Session
from lrpmirror.errors import StateFileError
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
