"""The public mirror for programs that do not run trio, and its views."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager
from functools import cached_property, partial
from os import PathLike
from random import Random
from types import TracebackType
from typing import Literal, NoReturn, Self, TypeVar

from msgspec.structs import replace

from lrpmirror.client import TLS, Limits, Timeouts
from lrpmirror.core.derived.subscriptions import Lag
from lrpmirror.core.derived.view import AnyView, C, K, V
from lrpmirror.core.explain.counters import Counts
from lrpmirror.core.explain.decisions import Decision
from lrpmirror.core.freshness.status import Phase, Status
from lrpmirror.core.rows.changes import RowKey
from lrpmirror.core.session import Session, Tuning
from lrpmirror.errors import MirrorClosed, NotSeen, NotSynced
from lrpmirror.mirror import BBS, Mirror, MirrorView, open_mirror
from lrpmirror.mirror._bbs import StreamName
from lrpmirror.mirror._feed import Callback, ErrorPolicy
from lrpmirror.mirror._reads import Reads
from lrpmirror.mirror._view import ViewReads
from lrpmirror.model import ActualLRP, DesiredLRP, ModificationTag
from lrpmirror.statefile import StateFile
from lrpmirror.thread._delivery import ThreadChanges, ThreadSubscription
from lrpmirror.thread._runner import Runner


class ThreadView(ViewReads[K, V]):
    """Derived state as a read-only mapping, made by `MirrorThread.view`; may be used from any thread."""

    def __init__(self, view: MirrorView[K, V], runner: Runner, check_fresh: Callable[[float], None]) -> None:
        self._view = view
        self.derivation = view.derivation
        self._check_fresh = check_fresh
        self._runner = runner

    def __repr__(self) -> str:
        return repr(self._view)

    @property
    def revision(self) -> int:
        """The last commit that this view includes; later reads are as new or newer. O(1)."""
        return self._view.revision

    @property
    def lags(self) -> list[Lag]:
        """How far behind each subscriber is. O(subscribers)."""
        return self._view.lags

    def subscribe(
        self,
        callback: Callback[K, V],
        *,
        keys: Iterable[K] | None = None,
        where: Callable[[V], bool] | None = None,
        replay: bool = True,
        errors: ErrorPolicy = "raise",
        executor: Executor | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> ThreadSubscription[K, V]:
        """Call back on changes from now on; as `MirrorThread.subscribe`, with keys of the view."""
        changes = self._view.changes(keys=keys, where=where, replay=replay)
        return self._runner.deliver(callback, changes, errors, executor, loop)

    def changes(
        self, *, keys: Iterable[K] | None = None, where: Callable[[V], bool] | None = None, replay: bool = True
    ) -> ThreadChanges[K, V]:
        """Iterate over changes, blocking: `with view.changes() as changes: for batch in changes: …`."""
        return ThreadChanges(self._view.changes(keys=keys, where=where, replay=replay), self._runner.portal)

    def drop(self) -> None:
        """Stop updating the view: it stays as it is, and its subscriptions end once they have all changes."""
        self._runner.portal.call(self._view.drop)


logger = logging.getLogger("lrpmirror")

T = TypeVar("T")


class MirrorThread(Reads):
    """A mirror of a BBS in a thread of its own, for programs that do not run trio.

        with lrpmirror.MirrorThread("https://bbs.service.cf.internal:8889", tls=lrpmirror.TLS(…)) as mirror:
            mirror.wait_synced(timeout=30)
            mirror.actual_lrps(process_guid)

    The arguments are those of `open_mirror`. A client, or a context manager that yields one, is entered in the mirror's
    thread, and is for that thread only. Entering the block, once, starts the thread, with the state of a `state_file`
    and without requests to the BBS yet: see `wait_synced`. It raises ConfigurationError for options or files that
    cannot be used. Leaving it closes the mirror: see `close`.

    Reads are those of `Mirror`, may be called from any thread, take no lock and do not wait. Each returns complete
    values, which never change; but one read and the next can be of different revisions, and a read of many rows can
    fall between two rows of one commit: `consistently` reads at one revision.

    Waiting, subscribing, making views and closing can take a moment, until the mirror's thread is free. An asyncio
    program that must not block calls them as in `await asyncio.to_thread(mirror.wait_synced)`.

    After `os.fork()` nothing keeps the child's copy current: its status is CLOSED with MirrorForked, which waits,
    subscriptions and new views raise, and no check of freshness passes. The parent's goes on. Programs that fork open
    the mirror in the child, or in another process.

    An error that ends the mirror's thread, such as one that a callback raised, is raised by each wait from then on, and
    by closing where no wait has raised it. Reads go on, and the status is CLOSED with that error.
    """

    def __init__(
        self,
        bbs: str | BBS | AbstractAsyncContextManager[BBS],
        *,
        tls: TLS | None = None,
        stream: StreamName = "instances",
        detail: Literal["routing", "full"] = "routing",
        timeout: Timeouts | float | None = None,
        limits: Limits | None = None,
        state_file: str | PathLike[str] | StateFile | None = None,
        tuning: Tuning | None = None,
        rng: Random | None = None,
        name: str = "lrpmirror",
    ) -> None:
        """Store the arguments; `name` is the thread's."""
        options = partial(
            open_mirror,
            tls=tls,
            stream=stream,
            detail=detail,
            timeout=timeout,
            limits=limits,
            state_file=state_file,
            tuning=tuning,
            rng=rng,
        )
        self._runner = Runner(bbs, options, name, (tuning or Tuning()).state_patience)
        self._portal = self._runner.portal

    def open(self) -> Self:
        """Start the thread, as entering the block does; for programs that call `close`, or leave that to their end.

        Raises ConfigurationError for options or files that cannot be used, MirrorError where it was opened before.
        """
        self._runner.start()
        return self

    def __enter__(self) -> Self:
        return self.open()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a MirrorThread cannot be pickled for another process: it lives in the one that opened it; open one there"
        )

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if value is None:
            self.close()
            return
        try:
            self.close()
        except BaseException as error:
            # The error that leaves the block comes first.
            logger.exception("the mirror's thread had ended by an error")
            value.add_note(f"Meanwhile the mirror's thread had ended by an error, which is logged: {error!r}")

    def close(self, timeout: float = 1.0) -> None:
        """End the mirror and its thread; reads stay, with the last state. Leaving the block does it too.

        No callback begins from now on. One on an executor or an asyncio loop is left to finish there. In the mirror's
        thread, an asynchronous one is cancelled where it awaits, and a synchronous one, like writing the state file, is
        waited for, for `timeout` seconds: then a warning is logged, and the thread ends when it returns. All else is
        cancelled, and waits in other threads raise MirrorClosed. Called by a callback in the mirror's own thread, it
        returns at once and the thread ends after that callback.

        A mirror left open is closed when the program's main thread has ended, before `atexit` functions: the state file
        is written, within `Tuning.state_patience`, and a callback in the mirror's thread has a second to return.

        Closing again does nothing. Raises the error that ended the mirror's thread, if any and no wait has raised it.
        """
        self._runner.stop(timeout)

    # Freshness

    @property
    def status(self) -> Status:
        """How fresh the state is: phase, age, last error. O(1)."""
        status = self._mirror.status
        failure = self._runner.failure
        if failure is not None:
            return replace(status, phase=Phase.CLOSED, trouble=failure, last_error=failure)
        return replace(status, phase=Phase.CLOSED) if self._runner.closed else status

    def wait_synced(self, timeout: float | None = None) -> None:
        """Wait until the mirror has had the full state once, as `Mirror.wait_synced`."""
        mirror = self._mirror

        def after() -> None:
            if mirror.status.synced_at is None:
                raise MirrorClosed("the mirror was closed before it was synchronised")

        self._portal.wait(partial(mirror.wait_synced, timeout), timeout, late=NotSynced, after=after)

    def wait_for(self, predicate: Callable[[Self], bool], timeout: float | None = None, *, what: str = "") -> None:
        """Wait until `predicate(mirror)` holds, as `Mirror.wait_for`.

        It is called in the mirror's thread, so all that it reads is of one revision; and it should be quick. What it
        raises is raised here.
        """
        waits = True
        # An interrupted wait ends a moment later in the mirror's thread, which must not call the predicate by then.
        wait = partial(self._mirror.wait_for, lambda _: waits and predicate(self), timeout, what=what)

        def after() -> None:
            if not predicate(self):
                raise MirrorClosed(f"the mirror was closed before it had {what or 'what was waited for'}")

        try:
            self._portal.wait(wait, timeout, late=NotSeen, after=after)
        finally:
            waits = False

    def wait_for_tag(self, process_guid: str, tag: ModificationTag, timeout: float | None = None) -> None:
        """Wait until the mirror has seen a write, as `Mirror.wait_for_tag`."""
        mirror = self._mirror

        def after() -> None:
            if not mirror.has_seen(process_guid, tag):
                raise MirrorClosed(f"the mirror was closed before it had tag {tag.epoch}:{tag.index} of {process_guid}")

        self._portal.wait(partial(mirror.wait_for_tag, process_guid, tag, timeout), timeout, late=NotSeen, after=after)

    @property
    def counts(self) -> Counts:
        """The counters since the mirror was opened, for monitoring. O(kinds of events + views + subscribers)."""
        return self._portal.call(lambda: self._mirror.counts)

    def explain(self, process_guid: str) -> tuple[Decision, ...]:
        """Return the outcomes of the latest events about a process, and why, as `Mirror.explain`."""
        return self._portal.call(lambda: self._mirror.explain(process_guid))

    def resync(self) -> None:
        """Request a list of everything now, instead of at the next interval. Returns at once."""
        self._portal.run_soon(self._mirror.resync)

    def reconnect(self) -> None:
        """Replace the event stream by a new one, without a gap, as `Mirror.reconnect`. Returns at once."""
        self._portal.run_soon(self._mirror.reconnect)

    def consistently(self, read: Callable[[], T]) -> T:
        """Call `read()` between two commits, so that all that it reads is of one revision; return what it returns.

        It runs in the mirror's thread, so it should be quick. What it raises is raised here. Once the mirror is closed,
        nothing changes any more and it runs in the caller's thread.
        """
        return self._portal.call(read)

    # Changes

    def subscribe(
        self,
        callback: Callback[RowKey, ActualLRP],
        *,
        process_guids: Iterable[str] | None = None,
        where: Callable[[ActualLRP], bool] | None = None,
        replay: bool = True,
        errors: ErrorPolicy = "raise",
        executor: Executor | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> ThreadSubscription[RowKey, ActualLRP]:
        """Call back on changes of rows, as `Mirror.subscribe`; `where` is called in the mirror's thread.

        So is the callback, which then should return soon and may be a function for trio; or it is called on an
        `executor` of threads; or on an asyncio `loop`, where it may be a coroutine function. An executor or loop that
        has been closed ends the subscription, which is logged as a warning. With `errors="raise"` a failure ends the
        mirror, and its next wait or closing raises it. Raises ConfigurationError for arguments that contradict each
        other.
        """
        changes = self._mirror.changes(process_guids=process_guids, where=where, replay=replay)
        return self._runner.deliver(callback, changes, errors, executor, loop)

    def changes(
        self,
        *,
        process_guids: Iterable[str] | None = None,
        where: Callable[[ActualLRP], bool] | None = None,
        replay: bool = True,
    ) -> ThreadChanges[RowKey, ActualLRP]:
        """Iterate over changes of rows, blocking: `with mirror.changes() as changes: for batch in changes: …`."""
        changes = self._mirror.changes(process_guids=process_guids, where=where, replay=replay)
        return ThreadChanges(changes, self._portal)

    def subscribe_desired(
        self,
        callback: Callback[str, DesiredLRP],
        *,
        process_guids: Iterable[str] | None = None,
        where: Callable[[DesiredLRP], bool] | None = None,
        replay: bool = True,
        errors: ErrorPolicy = "raise",
        executor: Executor | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> ThreadSubscription[str, DesiredLRP]:
        """Call back on changes of desired LRPs, keyed by process guid; the rest as in `subscribe`."""
        changes = self._mirror.changes_desired(process_guids=process_guids, where=where, replay=replay)
        return self._runner.deliver(callback, changes, errors, executor, loop)

    def changes_desired(
        self,
        *,
        process_guids: Iterable[str] | None = None,
        where: Callable[[DesiredLRP], bool] | None = None,
        replay: bool = True,
    ) -> ThreadChanges[str, DesiredLRP]:
        """Iterate over changes of desired LRPs, keyed by process guid; the rest as in `changes`."""
        changes = self._mirror.changes_desired(process_guids=process_guids, where=where, replay=replay)
        return ThreadChanges(changes, self._portal)

    def view(self, view: AnyView[K, C, V]) -> ThreadView[K, V]:
        """Make a view of this mirror, as `Mirror.view`; the caller waits until it is complete.

        Raises MirrorClosed when the mirror is closed, MirrorError from a callback in the mirror's thread.
        """

        def after() -> MirrorView[K, V]:
            raise MirrorClosed("the mirror is closed: a view of it would not be kept up to date")

        derived = self._portal.wait(lambda: self._mirror.view(view), None, late=NotSynced, after=after)
        return ThreadView(derived, self._runner, self.check_fresh)

    @property
    def _mirror(self) -> Mirror:
        return self._runner.mirror

    @cached_property
    def _session(self) -> Session:  # type: ignore[override] # such a property can be set
        return self._mirror._session  # noqa: SLF001 - its reads are those of the mirror
