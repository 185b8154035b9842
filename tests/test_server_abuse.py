"""A few seconds of the mixed abuse that `tests/abuse.py` goes on with for minutes."""

import re
import subprocess
import sys
from pathlib import Path

ABUSE = Path(__file__).with_name("abuse.py")


def test_neither_server_ends_freezes_or_swells() -> None:
    options = ("--seconds", "5", "--strangers", "6", "--rows", "200", "--seed", "2")
    done = subprocess.run([sys.executable, ABUSE, *options], capture_output=True, text=True, timeout=150, check=True)
    report = done.stdout.splitlines()
    for line in report[1:3]:
        assert "ended 0, frozen 0;" in line
        assert int(re.findall(r"MB at first \d+, at most (\d+)", line)[0]) < 200, line
        assert int(re.findall(r"descriptors at most (\d+)", line)[0]) < 256, line
    for line in report[3:]:
        assert int(re.findall(r"answered (\d+)", line)[0]) > 5, line
    assert len(report) == 6
