"""What README shows is what happens: its programs run, its commands are those of the CI."""

import importlib
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
import trio

import lrpmirror
from lrpmirror.sim import Autopilot, Diego, InstanceKey, NetInfo
from lrpmirror.sim.serving import ServedDiego, serve_diego

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PROGRAMS = {
    match[1]: match[0]
    for match in re.findall(r"^```python\n((?:# (\w+\.py): .*\n)(?:.*\n)*?)```$", README, re.MULTILINE)
}
SHELL = re.findall(r"^```sh\n(.*?)```$", README, re.MULTILINE | re.DOTALL)
SECONDS = 60


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str], Path]:
    def written(name: str) -> Path:
        path = tmp_path / name
        path.write_text(PROGRAMS[name])
        return path

    return written


def lively_diego() -> Diego:
    diego = Diego(seed=7)
    autopilot = Autopilot(diego, seed=7, cells=3, apps=4)
    for _ in range(30):
        autopilot.step()
    return diego


def served(use: Callable[[ServedDiego], Awaitable[None]], diego: Diego) -> None:
    async def main() -> None:
        with trio.fail_after(SECONDS):
            async with serve_diego(diego) as server:
                await use(server)

    trio.run(main)


async def output_of(path: Path, *arguments: str) -> str:
    done = await trio.run_process([sys.executable, path, *arguments], capture_stdout=True, capture_stderr=True)
    return done.stdout.decode()


def test_every_program_in_readme_is_run_here() -> None:
    fences = len(re.findall(r"^```python$", README, re.MULTILINE))
    assert fences == len(PROGRAMS), "a python block of README does not begin with the name of its program"
    here = Path(__file__)
    sources = here.read_text() + (here.parent / "test_thread_readme.py").read_text()
    assert set(re.findall(r'program\("(\w+\.py)"', sources)) == PROGRAMS.keys()


def test_the_ci_runs_the_tests_as_readme_says() -> None:
    command = next(block for block in SHELL if "pytest" in block)
    assert command.strip() in (ROOT / ".ci" / "run").read_text()


def test_readme_names_no_file_that_is_not_there() -> None:
    parts = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", README.partition("## Layout")[2], re.MULTILINE)
    names = [name for part in parts for name in re.findall(r"`(\w+)`", part)]
    assert names
    for name in names:
        found = (ROOT / "lrpmirror" / name).is_dir() or (ROOT / "lrpmirror" / f"{name}.py").is_file()
        assert found, f"README speaks of lrpmirror.{name}"


def test_the_first_program_prints_every_instance_of_every_process(program: Callable[[str], Path]) -> None:
    diego = lively_diego()

    async def use(server: ServedDiego) -> None:
        lines = (await output_of(program("first.py"), server.url)).splitlines()
        assert lines[0] == f"live: {len(diego.actual_lrps())} instances"
        desired = {lrp.process_guid for lrp in diego.desired_lrps()}
        rows = [row for row in diego.actual_lrps() if row.process_guid in desired]
        expected = {f"{r.process_guid} {r.index} {r.state} {r.presence.name} {r.cell_id or '-'}" for r in rows}
        assert set(lines[1:]) == expected

    served(use, diego)


def test_an_instance_is_looked_up_where_the_state_is_fresh_enough(program: Callable[[str], Path]) -> None:
    diego = lively_diego()
    row = next(row for row in diego.actual_lrps() if row.instance_guid)

    async def use(server: ServedDiego) -> None:
        assert await output_of(program("fresh.py"), server.url, row.instance_guid, "60") == f"{row.cell_id}\n"
        assert await output_of(program("fresh.py"), server.url, "nobody", "60") == "nowhere\n"
        notified = await output_of(program("fresh.py"), server.url, row.instance_guid, "0")
        assert notified.startswith("not known: the mirror is live and has a state that is 0.0 s old")

    served(use, diego)


def test_the_scorer_ranks_the_cells_that_have_room(program: Callable[[str], Path]) -> None:
    async def use(server: ServedDiego) -> None:
        lines = (await output_of(program("scorer.py"), server.url, "64")).splitlines()
        assert len(lines) == 3
        shares = [int(line.split(": ")[1].split("%")[0]) for line in lines]
        assert shares == sorted(shares)

    served(use, lively_diego())


def test_the_view_of_zones_counts_the_instances_that_run(program: Callable[[str], Path]) -> None:
    diego = lively_diego()

    async def use(server: ServedDiego) -> None:
        output = await output_of(program("zones.py"), server.url)
        running = sum(row.state == "RUNNING" for row in diego.actual_lrps())
        assert sum(int(line.rpartition(": ")[2]) for line in output.splitlines()) == running

    served(use, diego)


def test_the_simulated_process_is_seen_running(program: Callable[[str], Path]) -> None:
    done = subprocess.run(
        [sys.executable, program("simulated.py")], capture_output=True, text=True, timeout=SECONDS, check=True
    )
    assert "process_guid='web'" in done.stdout
    assert "RUNNING" in done.stdout


def test_the_router_forwards_to_the_instances_of_a_host(program: Callable[[str], Path]) -> None:
    async def answer(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")

    async def ask(port: int, host: str) -> bytes:
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            return b"".join([chunk async for chunk in stream])

    diego = Diego(seed=1)

    async def use(server: ServedDiego) -> None:
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(partial(trio.serve_tcp, answer, 0, host="127.0.0.1"))
            backend_port = listeners[0].socket.getsockname()[1]
            port = await free_port()
            route = b'[{"hostnames": ["app.example.com"], "port": 8080}]'
            diego.add_cell("cell-1")
            diego.upsert_domain("cf-apps")
            diego.desire(
                lrpmirror.DesiredLRP(
                    process_guid="web", domain="cf-apps", root_fs="x", instances=1, routes={"cf-router": route}
                )
            )
            instance = InstanceKey("instance-1", "cell-1")
            diego.claim("web", 0, instance)
            net = NetInfo(address="127.0.0.1", ports=(lrpmirror.PortMapping(8080, backend_port),))
            diego.start("web", 0, instance, net, routable=True)
            router = await nursery.start(
                partial(
                    trio.run_process,
                    [sys.executable, program("router.py"), server.url, str(port)],
                    stdout=subprocess.PIPE,
                    check=False,
                )
            )
            assert await line_of(router.stdout) == b"app.example.com: 1 endpoints\n"
            while True:
                try:
                    assert (await ask(port, "app.example.com:8080")).endswith(b"hello")
                    break
                except OSError:
                    # The table is there before the listener is.
                    await trio.lowlevel.checkpoint()
            assert (await ask(port, "other.example.com")).startswith(b"HTTP/1.1 404 ")
            diego.crash("web", 0, instance, "gone")
            assert await line_of(router.stdout) == b"app.example.com: 0 endpoints\n"
            assert (await ask(port, "app.example.com")).startswith(b"HTTP/1.1 404 ")
            router.terminate()
            await router.wait()
            nursery.cancel_scope.cancel()

    served(use, diego)


async def line_of(stream: trio.abc.ReceiveStream) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        byte = await stream.receive_some(1)
        assert byte, f"the output ended after {line!r}"
        line += byte
    return line


async def free_port() -> int:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port: int = listeners[0].socket.getsockname()[1]
    for listener in listeners:
        await listener.aclose()
    return port


def test_every_step_that_readme_walks_through_is_in_the_code() -> None:
    steps = re.findall(r"`([a-z_.]+):([A-Za-z_.]+)`", README)

    assert len(steps) > 20
    for module, name in steps:
        found: object = importlib.import_module(f"lrpmirror.{module}")
        for part in name.split("."):
            assert hasattr(found, part), f"{module} has no {name}"
            found = getattr(found, part)
