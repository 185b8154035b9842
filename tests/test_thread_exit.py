"""A program ends when its main thread does, whether the mirror was closed or not; and what a mirror needs for that."""

import select
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from thread_support import PATIENCE, DiegoThread, run_program

from lrpmirror import MirrorThread, Phase
from lrpmirror.errors import ConfigurationError

BEGINNING = """
import atexit, os, sys, threading, time
import lrpmirror, lrpmirror.errors

def opened(**options):
    mirror = lrpmirror.MirrorThread(sys.argv[1], **options).open()
    mirror.wait_synced(30)
    return mirror
"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with DiegoThread() as diego:
        yield diego.url


def ended(program: str, url: str, folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a program to its end, for which there is a time limit."""
    return run_program(BEGINNING + textwrap.dedent(program), folder, url, *arguments)


def test_a_program_ends_with_a_mirror_that_was_not_closed(url: str, tmp_path: Path) -> None:
    done = ended("mirror = opened(); print('end')", url, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


def test_a_program_ends_after_an_error_that_was_not_caught(url: str, tmp_path: Path) -> None:
    done = ended("mirror = opened(); raise ZeroDivisionError('mine')", url, tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "ZeroDivisionError: mine"
    assert done.stderr.count("Traceback") == 1


def test_its_state_file_is_written_then(url: str, tmp_path: Path) -> None:
    path = tmp_path / "state"
    ended("mirror = opened(state_file=sys.argv[2])", url, tmp_path, str(path))
    done = ended(
        """
        with lrpmirror.MirrorThread("http://127.0.0.1:1", state_file=sys.argv[2]) as mirror:
            print(mirror.status.phase, len(mirror.actual_lrps()) > 0)
        """,
        url,
        tmp_path,
        str(path),
    )
    # It is of another BBS for whom it is opened here, so it is set aside, whole.
    assert done.stdout == "connecting False\n"
    assert Path(f"{path}.foreign").exists()


def test_a_state_file_that_cannot_be_written_in_time_holds_up_nothing(url: str, tmp_path: Path) -> None:
    program = """
        from lrpmirror.statefile import StateFile

        class Stuck(StateFile):
            def save(self, *args, **options):
                time.sleep(600)

        mirror = opened(state_file=Stuck(sys.argv[2]), tuning=lrpmirror.Tuning(state_patience=0.5))
    """
    done = ended(program, url, tmp_path, str(tmp_path / "state"))
    assert done.returncode == 0
    assert "could not be written within 0.5 s of closing" in done.stderr


def test_what_atexit_calls_finds_it_closed_and_readable(url: str, tmp_path: Path) -> None:
    program = """
        def at_exit():
            print(mirror.status.phase, len(mirror.actual_lrps()) > 0)
            mirror.close()
            try:
                mirror.wait_for(lambda _: False)
            except lrpmirror.errors.MirrorClosed:
                print("closed")

        atexit.register(at_exit)
        mirror = opened()
        atexit.register(mirror.close)
    """
    assert ended(program, url, tmp_path).stdout == "closed True\nclosed\n"


def test_waits_of_other_threads_are_over_then(url: str, tmp_path: Path) -> None:
    program = """
        from concurrent.futures import ThreadPoolExecutor

        waiting = threading.Semaphore(0)

        def wait():
            try:
                mirror.wait_for(lambda _: waiting.release())
            except lrpmirror.errors.MirrorClosed:
                os.write(1, b"closed\\n")

        def iterate():
            with mirror.changes() as changes:
                waiting.release()
                for _ in changes:
                    pass
            os.write(1, b"closed\\n")

        mirror = opened()
        pool = ThreadPoolExecutor(2)
        for work in (wait, iterate):
            pool.submit(work)
            threading.Thread(target=work).start()
        for _ in range(4):
            waiting.acquire()
    """
    assert ended(program, url, tmp_path).stdout == "closed\n" * 4


def test_a_callback_that_does_not_return_is_not_waited_for_for_ever(url: str, tmp_path: Path) -> None:
    program = """
        begun = threading.Event()

        def callback(change):
            begun.set()
            time.sleep(600)

        mirror = opened(tuning=lrpmirror.Tuning(state_patience=0.5))
        mirror.subscribe(callback)
        begun.wait(100)
    """
    done = ended(program, url, tmp_path)
    assert done.returncode == 0
    assert "with it a callback that still runs in the mirror's thread" in done.stderr


def test_a_failure_that_no_caller_got_is_logged_at_the_end(url: str, tmp_path: Path) -> None:
    program = """
        def callback(change):
            raise ZeroDivisionError("of the callback")

        mirror = opened()
        mirror.subscribe(callback)
        thread = next(one for one in threading.enumerate() if one.name == "lrpmirror")
        thread.join()
    """
    done = ended(program, url, tmp_path)
    assert "ended by an error" in done.stderr
    assert "ZeroDivisionError: of the callback" in done.stderr


def test_a_service_that_is_terminated_ends(url: str, tmp_path: Path) -> None:
    path = tmp_path / "service.py"
    program = """
        import signal

        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        mirror = opened(state_file=sys.argv[2])
        print("serving", flush=True)
        while True:
            signal.pause()
    """
    path.write_text(BEGINNING + textwrap.dedent(program))
    command = [sys.executable, str(path), url, str(tmp_path / "state")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        assert service.stdout.readline() == "serving\n"
        service.send_signal(signal.SIGTERM)
        assert service.wait(PATIENCE) == 0
    assert (tmp_path / "state").exists()


@pytest.mark.parametrize("module", ["threading", "select"])
def test_where_threads_are_greenlets_a_mirror_is_refused_with_what_to_do(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    patched = SimpleNamespace(is_module_patched=lambda name: name == module)
    monkeypatch.setitem(sys.modules, "gevent.monkey", patched)
    with pytest.raises(ConfigurationError, match=r"patch_all\(thread=False, select=False\)"):
        MirrorThread("http://127.0.0.1:1").open()


def test_where_gevent_leaves_threads_alone_a_mirror_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    patched = SimpleNamespace(is_module_patched=lambda name: name == "socket")
    monkeypatch.setitem(sys.modules, "gevent.monkey", patched)
    with MirrorThread("http://127.0.0.1:1") as mirror:
        assert mirror.status.phase is Phase.CONNECTING


def test_without_epoll_a_mirror_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delattr(select, "epoll", raising=False)
    with pytest.raises(ConfigurationError, match="monkey patching"):
        MirrorThread("http://127.0.0.1:1").open()
