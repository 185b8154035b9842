"""Lines on stdout from async code."""

import os

import pytest
import trio

from lrpmirror.cli.shared.output import LineWriter


def test_a_system_that_writes_less_than_it_was_given_is_given_the_rest(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, bytes(data[:3])))
    trio.run(LineWriter().write, [b"the first line", b"the second"])
    monkeypatch.undo()
    assert capfd.readouterr().out == "the first line\nthe second\n"
