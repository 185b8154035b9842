"""What the tests of the relay share: servers of Redis, and mirrors before and behind one."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from functools import wraps
from pathlib import Path
from random import Random
from socket import socket
from typing import Any, TypeVar

import pytest
import trio
from patience import PATIENCE
from replica_support import differences

from lrpmirror import Mirror, Tuning, open_mirror
from lrpmirror.client import BBSClient
from lrpmirror.errors import NotSeen
from lrpmirror.relay import Publisher, RelayClient, open_publisher
from lrpmirror.sim import Autopilot, Diego, serve_diego
from lrpmirror.sim.serving import ServedDiego

__all__ = [
    "QUICK",
    "Autopilot",
    "Server",
    "agree",
    "eventually",
    "free_port",
    "needs_redis",
    "on_loopback",
    "publishing",
    "reading",
    "redis_server",
    "serve_diego",
    "settled",
    "small_diego",
]

T = TypeVar("T")

QUICK = Tuning(
    first_delay=0.05,
    most_delay=0.2,
    repair_delay=0.02,
    resync_interval=3600,
    audit_grace=0.05,
    ping_interval=1.0,
    ping_timeout=2.0,
)


def _redis() -> str | None:
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is None and os.environ.get("CI") == "true":
        raise AssertionError("CI has no redis-server: install it (apt-get install redis-server)")
    return found


REDIS = _redis()

needs_redis = pytest.mark.skipif(REDIS is None, reason="NO REDIS: redis-server or valkey-server is not installed")


def on_loopback(limit: float = 30) -> Callable[[Callable[..., Awaitable[None]]], Callable[..., None]]:
    """Run an async test on the real clock; it must be over within so many seconds."""

    def wrap(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
        @wraps(test)
        def run_test(*args: Any, **kwargs: Any) -> None:
            async def limited() -> None:
                with trio.fail_after(limit):
                    await test(*args, **kwargs)

            trio.run(limited)

        return run_test

    return wrap


BUS = 10_000
"""How much higher than a cluster's port that of its own bus is."""


def free_port() -> int:
    """Return a port that is free, with that of a cluster's bus.

    Both are below those that the system gives to outgoing connections (32,768 and up): of those each can be taken at
    any moment.
    """
    rng = Random(time.monotonic_ns())
    while True:
        port = rng.randrange(12_000, 22_000)
        with socket() as one, socket() as bus, suppress(OSError):
            one.bind(("127.0.0.1", port))
            bus.bind(("127.0.0.1", port + BUS))
            return port


class Server:
    """A server of Redis in a folder of its own, on a free port and a socket."""

    def __init__(self, folder: Path, *options: str, port: int | None = None, sentinel: bool = False) -> None:
        self.folder = folder
        self.port = free_port() if port is None else port
        self.path = folder / "redis.sock"
        self.options = options
        self._sentinel = sentinel
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.path}"

    @property
    def tcp(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        assert REDIS is not None
        self.folder.mkdir(exist_ok=True)
        own = ["--unixsocket", str(self.path), "--save", ""]
        config = self.folder / "sentinel.conf"
        if self._sentinel:
            config.touch()
        self._process = subprocess.Popen(
            [
                REDIS,
                *([str(config), "--sentinel"] if self._sentinel else []),
                *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)),
                *("--logfile", str(self.folder / "log"), "--daemonize", "no"),
                *([] if self._sentinel else own),
                *self.options,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(500):
            if self.ask("PING", check=False).strip() == "PONG":
                return
            if self._process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError((self.folder / "log").read_text())

    def ask(self, *command: str, check: bool = True, account: tuple[str, ...] = ()) -> str:
        """Run a command by redis-cli and return what it prints."""
        done = subprocess.run(
            [shutil.which("redis-cli") or "valkey-cli", "-p", str(self.port), *account, *command],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if check:
            assert not done.returncode, done.stdout + done.stderr
        return done.stdout

    def kill(self) -> None:
        """Kill it as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


@contextmanager
def redis_server(*options: str, sentinel: bool = False) -> Iterator[Server]:
    """Have a server of Redis for as long as the block lasts."""
    # A short path: that of a socket may have 107 characters only.
    folder = Path(tempfile.mkdtemp(prefix="lrpredis"))
    server = Server(folder, *options, sentinel=sentinel)
    try:
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


def small_diego(seed: int = 1) -> tuple[Diego, Autopilot]:
    diego = Diego(seed=seed)
    pilot = Autopilot(diego, seed=seed, apps=6, cells=3)
    pilot.run(30)
    return diego, pilot


@asynccontextmanager
async def publishing(served: ServedDiego, to: str, **options: Any) -> AsyncIterator[Publisher]:
    """Publish what a simulated BBS has."""
    detail = options.get("detail", "routing")
    async with (
        BBSClient(served.url) as client,
        open_mirror(client, tuning=QUICK, rng=Random(1), detail=detail) as mirror,
        open_publisher(mirror, client, to, **{"refresh": 0.1, "rng": Random(3), **options}) as publisher,
    ):
        yield publisher


def reading(url: str | RelayClient, **options: Any) -> AbstractAsyncContextManager[Mirror]:
    return open_mirror(url, **{"tuning": QUICK, "rng": Random(2), **options})


async def eventually(ask: Callable[[], Awaitable[T]], holds: Callable[[T], bool], seconds: float = PATIENCE) -> bool:
    """Ask again and again until the answer is such."""
    with trio.move_on_after(seconds):
        for _ in iter(int, 1):
            if holds(await ask()):
                return True
            await trio.sleep(0.05)
    return False


def agree(mirror: Mirror, diego: Diego) -> bool:
    return mirror.status.live and not differences(mirror, diego)


async def settled(mirror: Mirror, diego: Diego, seconds: float = PATIENCE) -> None:
    """Wait until a mirror is live and has what the simulation has; else fail with what it has otherwise."""
    try:
        await mirror.wait_for(lambda one: agree(one, diego), seconds)
    except NotSeen as error:
        raise AssertionError(f"{mirror.status.phase} {mirror.status.trouble!r} {differences(mirror, diego)}") from error
