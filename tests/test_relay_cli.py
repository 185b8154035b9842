"""The commands with a relay: `publish`, what reads from it as from a BBS, and the demo."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest
from cli_support import Simulation, simulated_bbs, started
from relay_support import Server, needs_redis, redis_server
from test_relay_servers import permissions

from lrpmirror.cli import main

pytestmark = needs_redis


class Published:
    """A simulated BBS that is published to a Redis by a process of its own."""

    def __init__(self, bbs: Simulation, redis: Server) -> None:
        self.bbs = bbs
        self.redis = redis
        self.url = redis.url


@pytest.fixture(scope="module")
def published() -> Iterator[Published]:
    with simulated_bbs() as bbs, redis_server() as redis:
        process = started("publish", "--bbs-url", bbs.url, "--to", redis.url)
        try:
            wait_for(redis, "live")
            yield Published(bbs, redis)
        finally:
            process.kill()
            process.wait()


def wait_for(redis: Server, phase: str) -> None:
    for _ in range(500):
        if redis.ask("HGET", "{lrpmirror}:status", "phase").strip() == phase:
            return
        time.sleep(0.02)
    raise AssertionError(redis.ask("HGETALL", "{lrpmirror}:status"))


@pytest.mark.parametrize(
    "command",
    [
        ["actual-lrps"],
        ["actual-lrp-groups"],
        ["desired-lrp-scheduling-infos"],
        ["domains"],
        ["cells"],
        ["routes"],
    ],
    ids=lambda command: str(command[0]),
)
def test_a_command_answers_from_a_relay_as_from_the_bbs(
    published: Published, command: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    answers = []
    for url in (published.bbs.url, published.url):
        assert main([*command, "--bbs-url", url]) == 0
        answers.append(sorted(capfd.readouterr().out.splitlines()))
    assert answers[0]
    assert answers[0] == answers[1]


def test_filters_work_on_a_relay(published: Published, capfd: pytest.CaptureFixture[str]) -> None:
    row = published.bbs.call(published.bbs.diego.actual_lrps)[0]
    answers = []
    for url in (published.bbs.url, published.url):
        for more in (["--process-guid", row.process_guid], ["--cell-id", row.cell_id], ["--domain", "none"]):
            assert main(["actual-lrps", "--bbs-url", url, *more]) == 0
        answers.append(sorted(capfd.readouterr().out.splitlines()))
    assert answers[0]
    assert answers[0] == answers[1]


def test_verify_finds_no_difference_behind_a_relay(published: Published, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--bbs-url", published.url, "--seconds", "0.5"]) == 0
    assert json.loads(capfd.readouterr().out)["equal"]


def test_whole_desired_lrps_are_refused_where_no_secrets_were_published(
    published: Published, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["desired-lrps", "--bbs-url", published.url]) == 1
    assert "--detail full" in capfd.readouterr().err


def test_a_relay_cannot_be_recorded(published: Published, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["record", "/nowhere/x", "--bbs-url", published.url]) == 2
    assert "traffic of a BBS" in capfd.readouterr().err


def test_a_relay_that_is_not_there_is_one_line_without_a_password(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["cells", "--bbs-url", "redis://user:sesame@127.0.0.1:1"]) == 1
    said = capfd.readouterr().err
    assert "is Redis running" in said
    assert len(said.splitlines()) == 1
    assert "sesame" not in said


def test_publish_says_what_is_missing(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RELAY_URL", raising=False)
    assert main(["publish", "--bbs-url", "http://127.0.0.1:1"]) == 2
    assert "--to" in capfd.readouterr().err
    assert main(["publish", "--to", "http://x", "--bbs-url", "http://127.0.0.1:1"]) == 2
    assert main(["publish", "--to", "redis+sentinel://x/y?read_from=replica", "--bbs-url", "http://127.0.0.1:1"]) == 2


def test_publish_ends_in_order_and_says_how_it_fared(published: Published) -> None:
    to = f"{published.url}?prefix=another"
    said = []
    with started("publish", "--bbs-url", published.bbs.url, "--to", to, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        for line in process.stderr:
            said.append(line.decode())
            if "current" in said[-1]:
                break
        process.send_signal(signal.SIGTERM)
        said += [line.decode() for line in process.stderr]
    assert process.returncode == 0
    assert all(line.startswith("lrpmirror publish: ") for line in said), said
    assert published.redis.ask("HGET", "{another}:status", "phase").strip() == "closed"
    assert published.redis.ask("EXISTS", "{another}:lease").strip() == "0"


def test_the_demo_shows_a_relay_end_to_end(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--redis", "--seconds", "1"]) == 0
    assert "mirror and simulator agree" in capfd.readouterr().out


def test_readme_s_users_have_only_what_they_need() -> None:
    assert "-@all" in permissions("reader")
    assert not {"+eval", "+hset", "+del", "+@all"} & set(permissions("reader"))
