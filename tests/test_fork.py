"""A forked child has a copy of a mirror that nothing keeps current: it says so, and the parent is unharmed."""

import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from thread_support import DiegoThread, run_program

BEGINNING = """
import gc, os, signal, sys, time, traceback
import lrpmirror
from lrpmirror.errors import MirrorForked, NotFresh
from lrpmirror.views import HTTPRoutes, Processes

def in_child(work):
    # Return what a forked child prints; the parent waits for it, but not for ever.
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        signal.alarm(20)
        try:
            work()
            sys.stdout.flush()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert status == 0, f"the child ended with {status}"

def refused(work):
    began = time.monotonic()
    try:
        work()
    except MirrorForked as error:
        assert "open a mirror after the fork" in str(error), error
        assert time.monotonic() - began < 1
        return
    raise AssertionError("not refused")
"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with DiegoThread() as diego:
        yield diego.url


def outcome(program: str, tmp_path: Path, *arguments: str) -> str:
    done = run_program(BEGINNING + textwrap.dedent(program), tmp_path, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_in_the_child_everything_that_would_wait_says_why_it_does_not(url: str, tmp_path: Path) -> None:
    program = """
        def child():
            status = mirror.status
            assert status.phase is lrpmirror.Phase.CLOSED and not status.live
            assert isinstance(status.trouble, MirrorForked) and status.last_error is status.trouble
            assert mirror.actual_lrps() == rows, "reads go on with the last state"
            for read in (lambda: mirror.check_fresh(1e9), lambda: mirror.actual_lrps(max_age=1e9),
                         lambda: routes.get("x", max_age=1e9), lambda: routes.copy(max_age=1e9)):
                try:
                    read()
                except NotFresh as error:
                    assert isinstance(error.__cause__, MirrorForked)
                else:
                    raise AssertionError("fresh")
            tag = rows[0]
            for wait in (
                mirror.wait_synced,
                lambda: mirror.wait_for(lambda _: True),
                lambda: mirror.wait_for_tag("p", lrpmirror.ModificationTag("e", 1)),
                lambda: mirror.consistently(list),
                lambda: mirror.view(Processes()),
                lambda: mirror.subscribe(print),
                lambda: mirror.subscribe_desired(print),
                lambda: routes.subscribe(print),
                lambda: mirror.changes().__enter__(),
                lambda: next(changes),
                lambda: changes.take(1),
            ):
                refused(wait)
            subscription.cancel()
            mirror.resync()
            mirror.reconnect()
            mirror.close()
            refused(mirror.wait_synced)
            print("child")

        with lrpmirror.MirrorThread(sys.argv[1]) as mirror:
            mirror.wait_synced(30)
            routes = mirror.view(HTTPRoutes())
            subscription = mirror.subscribe(lambda change: None)
            rows = mirror.actual_lrps()
            with mirror.changes() as changes:
                in_child(child)
                mirror.check_fresh(10)
                assert mirror.status.live
                mirror.consistently(list)
                changes.take(1)
        print("parent")
    """
    assert outcome(program, tmp_path, url) == "child\nparent\n"


def test_a_child_may_leave_the_block_and_end_as_programs_do(url: str, tmp_path: Path) -> None:
    program = """
        with lrpmirror.MirrorThread(sys.argv[1]) as mirror:
            mirror.wait_synced(30)
            pid = os.fork()
            if pid:
                _, status = os.waitpid(pid, 0)
                assert status == 0, status
                mirror.check_fresh(10)
        print("parent" if pid else "child")
    """
    assert outcome(program, tmp_path, url) == "child\nparent\n"


def test_a_mirror_that_was_made_before_the_fork_and_opened_after_it_is_the_childs(url: str, tmp_path: Path) -> None:
    program = """
        mirror = lrpmirror.MirrorThread(sys.argv[1], state_file=sys.argv[2])
        with lrpmirror.MirrorThread(sys.argv[1]) as other:
            other.wait_synced(30)

            def child():
                mirror.open().wait_synced(30)
                mirror.check_fresh(10)
                assert mirror.status.live and not other.status.live
                mirror.close()
                with lrpmirror.MirrorThread(sys.argv[1]) as another:
                    another.wait_synced(30)
                print("child")

            for _ in range(3):
                in_child(child)
            assert os.path.exists(sys.argv[2])
            other.check_fresh(10)
    """
    assert outcome(program, tmp_path, url, str(tmp_path / "state")) == "child\n" * 3


def test_a_child_that_lives_on_keeps_neither_the_parents_connection_nor_its_state_file(
    url: str, tmp_path: Path
) -> None:
    program = """
        def sockets():
            found = []
            for name in os.listdir("/proc/self/fd"):
                try:
                    found.append(os.readlink(f"/proc/self/fd/{name}"))
                except OSError:
                    pass
            return found

        mirror = lrpmirror.MirrorThread(sys.argv[1], state_file=sys.argv[2]).open()
        mirror.wait_synced(30)
        connections = [link for link in sockets() if link.startswith("socket:")]
        reading, writing = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(writing)
            mine = sockets()
            assert not any(link.endswith(".lock") for link in mine), mine
            # trio's own pair is there still, which is nobody else's; of what goes to the BBS there is nothing.
            gone = [link for link in connections if link not in mine]
            assert gone, (connections, mine)
            os.read(reading, 1)
            os._exit(0)
        mirror.close()
        # The child lives, and the file can be had.
        with lrpmirror.MirrorThread(sys.argv[1], state_file=sys.argv[2]) as again:
            assert again.status.restored_at is not None or again.status.synced_at is not None
            again.wait_synced(30)
        os.close(writing)
        _, status = os.waitpid(pid, 0)
        assert status == 0, status
        print("parent")
    """
    assert outcome(program, tmp_path, url, str(tmp_path / "state")) == "parent\n"


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_process_of_multiprocessing_opens_its_own(url: str, tmp_path: Path, method: str) -> None:
    program = """
        import multiprocessing

        def work(url, queue):
            with lrpmirror.MirrorThread(url) as mirror:
                mirror.wait_synced(30)
                queue.put(mirror.status.live)

        def leave_open(url, queue):
            mirror = lrpmirror.MirrorThread(url).open()
            mirror.wait_synced(30)
            queue.put(mirror.status.live)

        if __name__ == "__main__":
            context = multiprocessing.get_context(sys.argv[2])
            with lrpmirror.MirrorThread(sys.argv[1]) as mirror:
                mirror.wait_synced(30)
                for target in (work, leave_open):
                    queue = context.SimpleQueue()
                    process = context.Process(target=target, args=(sys.argv[1], queue))
                    process.start()
                    assert queue.get()
                    process.join(20)
                    assert process.exitcode == 0, process.exitcode
                mirror.check_fresh(10)
            print("parent")
    """
    assert outcome(program, tmp_path, url, method) == "parent\n"


def test_a_mirror_that_is_given_to_another_process_is_refused_with_what_to_do(url: str, tmp_path: Path) -> None:
    program = """
        import pickle

        try:
            pickle.dumps(lrpmirror.MirrorThread(sys.argv[1]))
        except TypeError as error:
            print(error)
    """
    assert "open one there" in outcome(program, tmp_path, url)


def test_a_fork_in_a_callback_of_the_mirrors_thread_is_a_copy_too(url: str, tmp_path: Path) -> None:
    program = """
        import threading

        done = threading.Event()

        def callback(change):
            if not done.is_set():
                in_child(lambda: refused(mirror.wait_synced))
                done.set()

        with lrpmirror.MirrorThread(sys.argv[1]) as mirror:
            mirror.subscribe(callback)
            assert done.wait(30)
            mirror.wait_synced(30)
            mirror.check_fresh(10)
        print("parent")
    """
    assert outcome(program, tmp_path, url) == "parent\n"


def test_a_mirror_in_trio_says_it_in_the_child_too(url: str, tmp_path: Path) -> None:
    program = """
        import trio

        def child():
            status = mirror.status
            assert status.phase is lrpmirror.Phase.CLOSED
            assert isinstance(status.trouble, MirrorForked)
            try:
                mirror.check_fresh(1e9)
            except NotFresh:
                print("child")

        async def main():
            global mirror
            async with lrpmirror.open_mirror(sys.argv[1]) as mirror:
                await mirror.wait_synced(30)
                in_child(child)
                await mirror.wait_for(lambda one: one.status.live, 30)
                mirror.check_fresh(10)

        trio.run(main)
        print("parent")
    """
    assert outcome(program, tmp_path, url) == "child\nparent\n"


def test_many_forks_leave_the_parent_as_it_was(url: str, tmp_path: Path) -> None:
    program = """
        with lrpmirror.MirrorThread(sys.argv[1]) as mirror:
            mirror.wait_synced(30)
            streams = mirror.counts.streams
            for _ in range(200):
                pid = os.fork()
                if not pid:
                    os._exit(mirror.status.live)
                assert os.waitpid(pid, 0)[1] == 0
            mirror.check_fresh(10)
            assert mirror.counts.streams == streams, "the stream was never lost"
        print("parent")
    """
    assert outcome(program, tmp_path, url) == "parent\n"
