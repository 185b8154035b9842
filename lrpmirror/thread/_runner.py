"""Running a mirror's thread: start, stop, failure, and the end of the program, at which open mirrors are closed."""

import atexit

# Imported first, since it registers a function that waits for the threads of executors, which may wait for a mirror.
# What is registered later runs earlier.
import concurrent.futures.thread  # noqa: F401 - as above
import logging
import select
import sys
import threading
from asyncio import AbstractEventLoop
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Any, Final

import trio

from lrpmirror.core.derived.view import K, V
from lrpmirror.errors import ConfigurationError, LRPMirrorError, MirrorClosed, MirrorError
from lrpmirror.forks import notify_when_forked
from lrpmirror.mirror import BBS, Changes, Mirror
from lrpmirror.mirror._feed import Callback, ErrorPolicy
from lrpmirror.thread._delivery import ThreadSubscription, delivery_to
from lrpmirror.thread._portal import Portal

logger = logging.getLogger("lrpmirror")

CALLBACK_PATIENCE: Final = 1.0  # seconds that the end of the program waits for a callback in the mirror's thread


@dataclass(eq=False)
class Runner:
    """Runs a mirror, opened by `open_mirror`, in a thread of its own, and delivers changes to its subscribers."""

    _bbs: str | BBS | AbstractAsyncContextManager[BBS]
    _open_mirror: Callable[[str | BBS], AbstractAsyncContextManager[Mirror]]
    _name: str
    _patience: float
    portal: Portal = field(default_factory=Portal)
    _stop: trio.CancelScope = field(default_factory=trio.CancelScope)
    _deliveries: trio.Nursery | None = None
    _subscriptions: dict[ThreadSubscription[Any, Any], None] = field(default_factory=dict)
    _mirror: Mirror | None = None
    _begun: Event = field(default_factory=Event)
    closed: bool = False  # whether a stop has been requested
    _left_running: bool = False
    _thread: Thread | None = None

    @property
    def mirror(self) -> Mirror:
        """The mirror. Raises MirrorError before there is one."""
        if self._mirror is None:
            raise MirrorError("the mirror has not been started: enter the MirrorThread with `with`")
        return self._mirror

    @property
    def failure(self) -> LRPMirrorError | None:
        """The error that ended the mirror, if any."""
        failure = self.portal.failure
        if failure is None or isinstance(failure, LRPMirrorError):
            return failure
        error = MirrorError(f"the mirror's thread ended by an error: {failure!r}")
        error.__cause__ = failure
        return error

    def start(self) -> None:
        """Start the thread, and return once the mirror is open. Raises the error that prevents that."""
        if self._thread is not None:
            raise MirrorError("a MirrorThread is entered once: make another")
        _check_threads()
        # A daemon: the end of the program waits for it for a bounded time, see `_close_all`. Made only now, since
        # CPython 3.13 does not start a thread in a fork that was made before the fork.
        thread = self._thread = Thread(target=self._run, name=self._name, daemon=True)
        notify_when_forked(self.portal)
        try:
            thread.start()
            self._begun.wait()
            if self._mirror is None:
                thread.join()
                self.portal.raise_failure(again=True)
        except BaseException:
            self.request_stop()
            raise

    def stop(self, timeout: float) -> None:
        """Stop the thread, and wait up to `timeout` seconds. Raises its failure where no caller has got it."""
        self.request_stop()
        if self.portal.inside or self.portal.is_copy or self._thread is None or self._thread.ident is None:
            return
        self._thread.join(timeout)
        if self._thread.is_alive():
            self._left_running = True
            logger.warning(
                "the mirror is closed, but its thread lives until the callback that runs in it returns, or its state "
                "file is written"
            )
            return
        _RUNNING.pop(self, None)
        self.portal.raise_failure(again=False)

    def stop_at_exit(self) -> None:
        """Wait for the thread, whose stop was requested, as long as it may take to write its state file."""
        if self._thread is None or self._thread.ident is None:
            return
        self._thread.join(self._patience + CALLBACK_PATIENCE)
        if self._thread.is_alive():
            logger.warning("the program ends, and with it a callback that still runs in the mirror's thread")
        elif self.portal.unseen_failure is not None:
            logger.error("the mirror's thread had ended by an error", exc_info=self.portal.unseen_failure)

    def deliver(
        self,
        callback: Callback[K, V],
        changes: Changes[K, V],
        errors: ErrorPolicy,
        executor: Executor | None,
        loop: AbstractEventLoop | None,
    ) -> ThreadSubscription[K, V]:
        """Begin to deliver changes to a callback. Raises MirrorClosed, ConfigurationError."""
        delivery = delivery_to(callback, executor, loop, errors)
        subscription = ThreadSubscription(callback, changes, delivery, errors, self.portal)

        def begin() -> None:
            if self._deliveries is None:
                raise MirrorClosed("there will be no more changes: the mirror is closed")
            changes.begin()
            self._subscriptions[subscription] = None
            self._deliveries.start_soon(self._run_subscription, subscription)

        self.portal.call(begin)
        return subscription

    async def _run_subscription(self, subscription: ThreadSubscription[K, V]) -> None:
        try:
            await subscription.run()
        finally:
            del self._subscriptions[subscription]

    def request_stop(self) -> None:
        """Request that the thread ends; no callback begins from now on."""
        self.closed = True
        for subscription in list(self._subscriptions):
            subscription.cancel()
        self.portal.run_soon(self._stop.cancel)

    def _run(self) -> None:
        _RUNNING[self] = None
        failure = None
        try:
            trio.run(self._main)
        except BaseException as error:  # noqa: BLE001 - it is raised to the owner
            failure = _unwrapped(error)
        self.portal.ended(failure)
        self._begun.set()
        if self.portal.unseen_failure is None:
            _RUNNING.pop(self, None)
        if self._left_running and self.portal.failure is not None:
            logger.error("the mirror's thread ended by an error after it was closed", exc_info=self.portal.failure)

    async def _main(self) -> None:
        async with trio.open_nursery() as waits:
            self.portal.open(waits)
            failure = None
            try:
                await self._mirror_until_stopped()
            except Exception as error:  # noqa: BLE001 - it is raised to the owner
                failure = _unwrapped(error)
            finally:
                self.portal.shut()
            self.portal.closed(failure)

    async def _mirror_until_stopped(self) -> None:
        async with AsyncExitStack() as stack:
            bbs = self._bbs
            if isinstance(bbs, AbstractAsyncContextManager):
                bbs = await stack.enter_async_context(bbs)
            mirror = await stack.enter_async_context(self._open_mirror(bbs))
            async with trio.open_nursery() as deliveries:
                self._deliveries, self._mirror = deliveries, mirror
                self._begun.set()
                try:
                    with self._stop:
                        if not self.closed:
                            await trio.sleep_forever()
                finally:
                    self._deliveries = None
                    self.portal.closing = True
                deliveries.cancel_scope.cancel()


_RUNNING: Final[dict[Runner, None]] = {}  # threads that have not ended: they are stopped when the main thread has


def _close_all() -> None:
    """Stop all of them, at the same time, and wait for that."""
    # A forked child does not have the parent's threads.
    running = [runner for runner in list(_RUNNING) if not runner.portal.is_copy]
    for runner in running:
        runner.request_stop()
    for runner in running:
        runner.stop_at_exit()


try:
    # Not public, but used by executors for many years. `atexit` is too late: it runs after the wait for all threads
    # that are no daemons, and since CPython 3.12 no thread can be started then.
    threading._register_atexit(_close_all)  # type: ignore[attr-defined]  # noqa: SLF001 - as above
except (AttributeError, RuntimeError):
    atexit.register(_close_all)


def _check_threads() -> None:
    """Raise ConfigurationError where threads are greenlets: an event loop in one would block the whole program."""
    gevent = sys.modules.get("gevent.monkey")
    patched = gevent is not None and any(map(gevent.is_module_patched, ("threading", "select")))
    if patched or (sys.platform == "linux" and not hasattr(select, "epoll")):
        raise ConfigurationError(
            "threads or `select` are replaced here, as by gevent's or eventlet's monkey patching, and a mirror needs "
            "the real ones: patch with gevent.monkey.patch_all(thread=False, select=False)"
        )


def _unwrapped(error: BaseException) -> BaseException:
    """Return the error in groups that nurseries made of a single one; else the group."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
