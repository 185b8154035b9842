"""The programs in README that run a mirror without trio, each against a simulated Diego."""

import http.server
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
from thread_support import PATIENCE, DiegoThread

from lrpmirror import CellPresence, DesiredLRP, PortMapping
from lrpmirror.sim import InstanceKey, NetInfo

README = Path(__file__).parents[1] / "README.md"


@contextmanager
def program(name: str, tmp_path: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run the program that README shows under this name."""
    found: list[str] = re.findall(rf"^```python\n(# {name}: .*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
    assert len(found) == 1, f"README shows {len(found)} programs {name}"
    path = tmp_path / name
    path.write_text(found[0])
    running = subprocess.Popen(
        [sys.executable, "-W", "error", "-W", "ignore:This process:DeprecationWarning", str(path), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with running:
        try:
            yield running
        finally:
            if running.poll() is None:
                running.kill()


def lines_until(output: IO[str] | None, pattern: str) -> re.Match[str]:
    """Read lines until one matches."""
    assert output is not None
    for line in output:
        found = re.search(pattern, line)
        if found:
            return found
    raise AssertionError(f"the program ended without a line like {pattern!r}")


class Greeter(http.server.BaseHTTPRequestHandler):
    """An app."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"hello from " + self.headers["Host"].encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def app_port() -> Iterator[int]:
    with http.server.HTTPServer(("127.0.0.1", 0), Greeter) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join(PATIENCE)


def test_the_router_in_asyncio_follows_the_routes(tmp_path: Path, app_port: int) -> None:
    def get(port: str, host: str) -> str:
        request = urllib.request.Request(f"http://127.0.0.1:{port}/", headers={"Host": host})
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310 - as above
            return str(answer.read().decode())

    with DiegoThread() as sim, program("asyncio_router.py", tmp_path, sim.url) as router:
        port = lines_until(router.stdout, r"listening on port (\d+)")[1]

        instance = InstanceKey("instance", sim.diego.cells()[0].cell_id)

        def push() -> None:
            routes = {"cf-router": b'[{"hostnames": ["mine.example.com"], "port": 8080}]'}
            sim.diego.desire(DesiredLRP(process_guid="mine", domain="cf-apps", instances=1, root_fs="x", routes=routes))
            net = NetInfo("127.0.0.1", (PortMapping(8080, app_port),))
            sim.diego.claim("mine", 0, instance)
            sim.diego.start("mine", 0, instance, net)

        sim.do(push)
        lines_until(router.stdout, rf"^mine\.example\.com -> \['127\.0\.0\.1:{app_port}'\]")
        assert get(port, "mine.example.com") == "hello from mine.example.com"

        sim.do(lambda: sim.diego.crash("mine", 0, instance))
        lines_until(router.stdout, r"^mine\.example\.com -> \[\]")
        with pytest.raises(urllib.error.HTTPError, match="404") as caught:
            get(port, "mine.example.com")
        caught.value.close()

        router.send_signal(signal.SIGINT)
        assert router.wait(PATIENCE) == 0


def test_the_scheduler_in_threads_places_by_what_cells_hold_now(tmp_path: Path) -> None:
    with DiegoThread() as sim:
        first, *others = sorted(sim.diego.cells(), key=lambda cell: cell.cell_id)

        def fill(*cells: CellPresence) -> None:
            for cell in cells:
                assert cell.capacity is not None
                guid, memory_mb = f"filling-{cell.cell_id}", cell.capacity.memory_mb * 9 // 10
                wanted = DesiredLRP(process_guid=guid, domain="cf-apps", instances=1, root_fs="x", memory_mb=memory_mb)
                sim.diego.desire(wanted)
                sim.diego.claim(guid, 0, InstanceKey(guid, cell.cell_id))

        def ask(line: str) -> str:
            assert scheduler.stdin is not None
            scheduler.stdin.write(f"{line}\n")
            scheduler.stdin.flush()
            return lines_until(scheduler.stdout, rf"^{line.split(maxsplit=1)[0]} (\S+)")[1]

        sim.do(lambda: fill(*others))
        with program("thread_scheduler.py", tmp_path, sim.url) as scheduler:
            assert ask("web 1024") == first.cell_id
            assert ask("huge 2000000000") == "nowhere"
            sim.do(lambda: fill(first))
            assert "nowhere" in (ask("web 1024") for _ in range(10_000))
            assert scheduler.stdin is not None
            scheduler.stdin.close()
            assert scheduler.wait(PATIENCE) == 0


def test_the_preforking_server_has_a_mirror_in_each_worker_and_ends_when_it_is_terminated(tmp_path: Path) -> None:
    with DiegoThread() as sim, program("preforking.py", tmp_path, sim.url, "2") as server:
        port = lines_until(server.stdout, r"listening on port (\d+)")[1]
        row = sim.do(lambda: next(one for one in sim.diego.actual_lrps() if one.cell_id))
        answered: set[str] = set()
        while len(answered) < 2:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{row.process_guid}", timeout=PATIENCE) as answer:
                found = [line.split() for line in answer.read().decode().splitlines()]
            answered.update(worker for worker, _, _ in found)
            assert [str(row.index), row.cell_id] in [rest for _, *rest in found]
        assert str(server.pid) not in answered

        server.send_signal(signal.SIGTERM)
        assert server.wait(PATIENCE) == 0
