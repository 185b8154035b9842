"""What holds for all tests."""

import faulthandler
import gc
import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from tls_support import Files, issue
from xdist.scheduler import LoadFileScheduling

# The same examples in every run: a test that fails fails for everyone, and what is covered does not depend on luck. No
# deadline, since a busy machine is no failure of the code.
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")

# A shell starts what it runs in the background with Ctrl-C ignored, and so do all its children: then the tests of what
# Ctrl-C does would wait for it for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

LONGEST = (
    "test_benchmarks",
    "test_simulation",
    "test_cli_top",
    "test_simulation_mutants",
    "test_statefile",
    "test_view_recordings",
    "test_view_preparation",
    "test_cli_output",
    "test_replica_cli",
    "test_encode",
    "test_text",
    "test_cli_query",
)
"""The files that take longest, from the longest on."""

STDERR = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    # Now nothing is captured.
    config.stash[STDERR] = os.dup(2)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Leave what the tests are made of out of all runs of the garbage collector: it stays, and is much to look through.

    Some tests and benchmarks run it again and again.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have the files that take longest tried first: at the end, one would leave the others with nothing to do."""
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Have the process end, rather than only say where it is, once a test has taken longer than `faulthandler_timeout`.

    pytest 9 has an option for it.
    """
    limit = float(item.config.getini("faulthandler_timeout"))
    faulthandler.dump_traceback_later(limit, exit=True, file=item.config.stash[STDERR])


class OnceScheduling(LoadFileScheduling):  # type: ignore[misc] # xdist has no types
    """Hands out tests by file, and one whose worker died not again: xdist itself has it take all other workers down."""

    def remove_node(self, node: Any) -> str | None:
        """Take back what a worker has not done, but for the test that it died of, whose name is returned."""
        files = self.assigned_work[node]
        left = ((tests, name) for tests in files.values() for name, done in tests.items() if not done)
        at, crashed = next(left, (None, None))
        if at is not None:
            at[crashed] = True
        self.assigned_work[node] = {file: tests for file, tests in files.items() if not all(tests.values())}
        super().remove_node(node)
        return crashed


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Have the tests handed out so, where xdist does as pyproject.toml says."""
    return OnceScheduling(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Kill what the tests of a worker of xdist have left running: one whose test hung ends without a clean-up."""
    run = {
        f"PYTEST_XDIST_WORKER={node.workerinput['workerid']}".encode(),
        f"PYTEST_XDIST_TESTRUNUID={node.workerinput['testrunuid']}".encode(),
    }
    for environment in Path("/proc").glob("[0-9]*/environ"):
        # It can have ended meanwhile, or be somebody else's.
        with suppress(OSError):
            if run <= set(environment.read_bytes().split(b"\0")):
                os.kill(int(environment.parent.name), signal.SIGKILL)


@pytest.fixture(autouse=True)
def server_failures() -> Iterator[list[str]]:
    """Fail each test in which a server here has failed a request, since only that request is told; what was logged.

    A test that wants a server to fail takes the list, looks at it and empties it.
    """
    logged: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: logged.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("lrpmirror.server")
    logger.addHandler(handler)
    yield logged
    logger.removeHandler(handler)
    assert not logged


@pytest.fixture
def no_thread_outlives() -> Iterator[None]:
    """Fail a test that has left a thread running."""
    before = set(threading.enumerate())
    yield
    left = [one for one in threading.enumerate() if one not in before and not one.daemon]
    assert left == [], "a test has left threads"


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The certificates of an authority, a server and a client."""
    return issue(tmp_path_factory.mktemp("tls") / "mine")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The certificates of an authority that whoever has `mine` does not know."""
    return issue(tmp_path_factory.mktemp("tls") / "other")
