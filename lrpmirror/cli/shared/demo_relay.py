"""The relay of `lrpmirror demo --redis`: a Redis or Valkey of its own, and a publisher that keeps it current."""

import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Final

import trio

from lrpmirror.client import BBSClient
from lrpmirror.core.session import Tuning
from lrpmirror.errors import ConfigurationError
from lrpmirror.mirror import open_mirror
from lrpmirror.relay import open_publisher

SERVERS: Final = ("valkey-server", "redis-server")

PATIENCE: Final = 10.0
"""Seconds that the server may take to start."""

REFRESH: Final = 0.2
"""Seconds between two reads of domains and cells: the demo compares them at its end."""


@asynccontextmanager
async def relayed(bbs_url: str, tuning: Tuning, seed: int) -> AsyncIterator[str]:
    """Publish the BBS at a URL to a server that lives as long as the block; yields the relay's URL.

    Raises ConfigurationError where no server is installed.
    """
    with TemporaryDirectory(prefix="lrpmirror-") as folder:
        path = Path(folder) / "redis.sock"
        process = await trio.to_thread.run_sync(_start, path)
        try:
            async with (
                BBSClient(bbs_url) as client,
                open_mirror(client, tuning=tuning, rng=Random(seed)) as mirror,  # noqa: S311 - jitter
                open_publisher(mirror, client, f"unix://{path}", refresh=REFRESH),
            ):
                yield f"unix://{path}"
        finally:
            process.kill()
            process.wait()


def _start(path: Path) -> subprocess.Popen[bytes]:
    server = next((found for name in SERVERS if (found := shutil.which(name))), None)
    if server is None:
        raise ConfigurationError(f"--redis needs one of {' and '.join(SERVERS)}: install it, or leave the option out")
    command = [server, "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(path.parent)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)  # noqa: S603 - found above
    for _ in range(round(PATIENCE / 0.02)):
        if path.exists():
            return process
        try:
            process.wait(0.02)
        except subprocess.TimeoutExpired:
            continue
        break
    process.kill()
    raise ConfigurationError(f"--redis: {server} did not begin; does it run by itself?")
