"""The simulated Diego in a thread, for fixtures of tests that have no event loop."""

import inspect
import socket
import textwrap
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import trio
from bbs_support import WHOLE
from sim_support import diego, wanted

import lrpmirror.sim
from lrpmirror.errors import ConfigurationError
from lrpmirror.model import DesiredLRP
from lrpmirror.sim import Diego, FaultPlan, serve_diego_in_thread


def test_it_answers_and_is_written_to_from_both_sides() -> None:
    with serve_diego_in_thread(diego()) as bbs:
        assert httpx.post(f"{bbs.url}/v1/actual_lrps/list").content == b""
        bbs.do(bbs.diego.desire, wanted(instances=2))
        assert httpx.post(f"{bbs.url}/v1/actual_lrps/list").content
        assert len(bbs.do(bbs.diego.actual_lrps)) == 2
        with pytest.raises(lrpmirror.errors.RequestRefused, match="ResourceExists"):
            bbs.do(bbs.diego.desire, wanted())


def test_after_the_block_nobody_answers_and_nothing_can_be_done() -> None:
    with serve_diego_in_thread(Diego()) as bbs:
        pass
    with pytest.raises(httpx.ConnectError):
        httpx.post(f"{bbs.url}/v1/ping")
    with pytest.raises(trio.RunFinishedError):
        bbs.do(bbs.diego.advance, 1)


def test_its_faults_end_when_they_are_told_to() -> None:
    bbs_of_one = diego()
    bbs_of_one.desire(wanted())
    with serve_diego_in_thread(bbs_of_one, plan=FaultPlan(truncated_lists=1)) as bbs:
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.post(f"{bbs.url}/v1/actual_lrps/list")
        bbs.calm()
        assert httpx.post(f"{bbs.url}/v1/actual_lrps/list").content


def test_what_the_block_raises_leaves_it_as_it_was_raised() -> None:
    error = ValueError("mine")
    with pytest.raises(ValueError, match="mine") as raised, serve_diego_in_thread(Diego()):
        raise error
    assert raised.value is error


def test_a_port_that_is_taken_is_told_before_the_block_begins() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=str(port)), serve_diego_in_thread(Diego(), port=port):
            raise AssertionError("unreachable")


class Broken(Diego):
    def desire(self, wanted: DesiredLRP) -> None:
        raise ZeroDivisionError(wanted.process_guid)


def test_a_server_that_breaks_is_told_at_the_end_of_the_block(server_failures: list[str]) -> None:
    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True), serve_diego_in_thread(Broken()) as bbs:
        path = "/v1/desired_lrp/desire.r2"
        assert httpx.post(f"{bbs.url}{path}", content=WHOLE[path].SerializeToString()).status_code == 500
    assert len(server_failures) == 1
    server_failures.clear()


def test_the_fixture_of_the_documentation_works() -> None:
    example = inspect.cleandoc(lrpmirror.sim.__doc__ or "").partition("pytest::\n")[2].partition("\nWith trio")[0]
    assert "@pytest.fixture\n" in example
    names: dict[str, Any] = {"once": contextmanager}
    exec(textwrap.dedent(example).replace("@pytest.fixture\n", "@once\n"), names)  # noqa: S102 - our own text
    with names["bbs"]() as bbs:
        names["test_something"](bbs)
