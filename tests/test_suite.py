"""What the tests are run by: a test that hangs fails, whatever it waits for, and it alone."""

import os
import select
import subprocess
import sys
from pathlib import Path

from patience import PATIENCE

HERE = Path(__file__).parent

HANGING = """
import subprocess, sys, threading
from pathlib import Path

import trio


def test_before():
    pass


def test_of_trio_that_cannot_be_cancelled():
    async def stay():
        with trio.CancelScope(shield=True):
            await trio.sleep_forever()

    trio.run(stay)


def test_of_threads_that_forgives_everything():
    while True:
        try:
            threading.Event().wait()
        except BaseException:
            continue


def test_of_a_process():
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        Path("pid").write_text(str(process.pid))
        process.communicate()


def test_of_trio_after_them():
    trio.run(trio.sleep, 0)
"""


def ends(pid: int) -> bool:
    """Return whether a process, which was killed, is gone; one that its parent has not asked after yet is."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([process], [], [], PATIENCE)[0])
    finally:
        os.close(process)


def test_a_test_that_hangs_fails_and_its_processes_end_while_the_others_pass(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text((HERE / "conftest.py").read_text())
    (tmp_path / "test_hanging.py").write_text(HANGING)
    settings = ["-c", str(HERE.parent / "pyproject.toml"), "--rootdir", str(tmp_path), "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *settings, "-n", "1", "-o", "faulthandler_timeout=1", "test_hanging.py"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    *_, total = done.stdout.splitlines()
    assert "3 failed, 2 passed" in total
    # Where it hung is said too.
    for name in ("test_of_trio_that_cannot_be_cancelled", "test_of_threads_that_forgives", "test_of_a_process"):
        assert f"in {name}" in done.stderr
    assert ends(int((tmp_path / "pid").read_text()))
