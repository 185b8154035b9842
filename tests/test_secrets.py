"""No secret is told by accident: marked values in everything that can hold one, and where they may not stand."""

import base64
import logging
import re
import traceback
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
from client_support import STREAM_HEAD, Answering, chunk, run, says, serving
from msgspec.structs import replace
from replica_support import QUICK, http, on_loopback
from sim_support import diego, wanted
from tls_support import issue

from lrpmirror import BBSClient, DesiredLRP, Limits, Timeouts, open_mirror, views
from lrpmirror.detail import DesiredLRPDetail
from lrpmirror.errors import LRPMirrorError, MalformedRecord
from lrpmirror.events import DesiredLRPChanged, DesiredLRPCreated, DesiredLRPRemoved, UnknownEvent
from lrpmirror.recording import Recorder
from lrpmirror.serve.ops import ops_routes
from lrpmirror.serve.serving import serve_replica
from lrpmirror.server import mutual_tls
from lrpmirror.sim import serve_diego
from lrpmirror.wire import decode, encode
from lrpmirror.wire.sse import EventStreamDecoder, Frame

MARK = "xMARKEDx"


def marked(kind: Any, depth: int = 4) -> Any:
    """A value of the type in which every text has the mark."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is str:
        return f"{MARK}-text"
    if origin is tuple:
        return (marked(arguments[0], depth),) if depth else ()
    if origin in {Union, UnionType}:
        return marked(arguments[0], depth) if depth else None
    if origin is Mapping:
        return {f"{MARK}-name": f"{MARK}-value"}
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints = get_type_hints(kind)
        return kind(**{name: marked(hints[name], depth - 1) for name in kind.__struct_fields__})
    return kind(1)


def secretive(process_guid: str = "p", **fields: object) -> DesiredLRP:
    """A desired LRP with a mark in everything that Diego keeps secret."""
    detail: DesiredLRPDetail = marked(DesiredLRPDetail)
    # The driver's name is none: schedulers place by it.
    detail = replace(detail, volume_mounts=tuple(replace(mount, driver="nfs") for mount in detail.volume_mounts))
    ssh = f'{{"container_port":2222,"private_key":"{MARK}","password":"{MARK}"}}'.encode()
    routes = {"diego-ssh": ssh, "cf-router": b'[{"hostnames":["a.example.com"],"port":8080}]', "odd": MARK.encode()}
    return replace(wanted(process_guid), detail=detail, routes=routes, volume_drivers=("nfs",), **fields)


def leaks(texts: Iterable[str]) -> list[str]:
    """The texts in which a mark stands, plainly or in base64."""
    return [text for text in texts if MARK in text or any(MARK.encode() in data for data in _unpacked(text))]


def _unpacked(text: str) -> Iterator[bytes]:
    for token in re.findall(r"[A-Za-z0-9+/]{12,}={0,2}", text):
        for cut in range(4):
            part = token[cut:]
            yield base64.b64decode(part[: len(part) // 4 * 4])


def notified(error: BaseException) -> list[str]:
    """All that an error shows of itself and of its causes."""
    texts = ["".join(traceback.format_exception(error))]
    while error is not None:
        texts += [str(error), repr(error)]
        error = error.__cause__ or error.__context__  # type: ignore[assignment] # until there is none
    return texts


def test_the_mark_is_found_where_it_stands() -> None:
    assert leaks([repr(secretive().routes), base64.b64encode(b"x" + MARK.encode() + b"yz").decode(), "nothing"]) != []
    message = encode.desired_lrp(secretive())
    assert message.count(MARK.encode()) > 60


def printed_forms_of(*values: object) -> list[str]:
    return [form for value in values for form in (repr(value), str(value), f"{value}")]


def test_no_printed_form_of_a_value_tells_a_secret() -> None:
    lrp = secretive()
    assert lrp.detail is not None
    assert not leaks(
        printed_forms_of(
            lrp,
            lrp.detail,
            lrp.detail.environment_variables,
            lrp.detail.action,
            DesiredLRPCreated(lrp),
            DesiredLRPChanged(lrp, lrp),
            DesiredLRPRemoved(lrp),
            UnknownEvent("desired_lrp_scaled", MARK.encode()),
            Frame("desired_lrp_scaled", base64.b64encode(MARK.encode() * 3), "1"),
        )
    )


def test_no_error_of_bytes_that_cannot_be_read_tells_a_secret() -> None:
    lrp = secretive()
    records = [encode.desired_lrp(lrp), encode.event(DesiredLRPCreated(lrp)), encode.event(DesiredLRPChanged(lrp, lrp))]
    texts: list[str] = []
    errors = 0
    for record in records:
        for at in range(1, len(record), 97):
            for broken in (record[:at], record[:at] + b"\xff\xff\xff" + record[at:]):
                for read in (
                    lambda data: decode.desired_lrp(data, full=True),
                    lambda data: decode.event_payload("desired_lrp_created", data, full=True),
                    lambda data: decode.event_payload("desired_lrp_changed", data),
                    lambda data: decode.event("desired_lrp_created", base64.b64encode(data) + b"!"),
                    lambda data: decode.events([("desired_lrp_created", base64.b64encode(data) + b"!")]),
                ):
                    try:
                        read(broken)
                    except MalformedRecord as exc:
                        errors += 1
                        texts += notified(exc)
    assert errors > 500
    assert not leaks(texts)


@pytest.mark.parametrize(
    "sent",
    [
        chunk(b"id: 1\nevent: desired_lrp_created\ndata: " + base64.b64encode(MARK.encode() * 9) + b"\n\n"),
        chunk(b"id: 1\nevent: desired_lrp_created\ndata: " + base64.b64encode(MARK.encode() * 999) + b"\n\n"),
        b"5\r\n" + MARK.encode() * 9 + b"\r\n",
        MARK.encode() * 9 + b"\r\n",
        b"0\r\n" + MARK.encode() * 9 + b"\r\n\r\n",
    ],
)
def test_no_error_of_a_stream_that_cannot_be_read_tells_a_secret(sent: bytes) -> None:
    errors: list[LRPMirrorError] = []

    async def main() -> None:
        async with (
            serving(says(STREAM_HEAD + sent)) as bbs,
            BBSClient(bbs.url, limits=Limits(max_frame=2000)) as client,
            client.events("instances", full=True) as stream,
        ):
            try:
                while True:
                    await anext(stream)
            except LRPMirrorError as exc:
                errors.append(exc)

    run(main)
    assert not leaks(notified(errors[0]))


def test_no_error_of_a_list_that_cannot_be_read_tells_a_secret() -> None:
    body = encode.reply([encode.desired_lrp(secretive())])

    async def main() -> None:
        for broken in (body[:-5], body[:700] + b"\xff" * 20 + body[720:], MARK.encode() * 20):
            async with BBSClient("http://bbs.test", transport=Answering(broken)) as client:
                with pytest.raises(LRPMirrorError) as failed:
                    await client.desired_lrps(full=True)
            assert not leaks(notified(failed.value))

    run(main)


def recorded_texts(folder: Path) -> list[str]:
    """All that a recording holds, with the events' data unpacked."""
    texts = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            texts.append(data.decode("latin-1"))
            if path.suffix == ".sse":
                texts += [base64.b64decode(frame.data).decode("latin-1") for frame in EventStreamDecoder().feed(data)]
    assert len(texts) > 5
    return texts


@pytest.mark.parametrize("detail", ["routing", "full"])
def test_nothing_that_is_logged_shown_or_recorded_tells_a_secret(
    detail: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    texts: list[str] = []
    files = issue(tmp_path / "client")
    server = files.authority.issue_cert("localhost", "127.0.0.1")
    (tmp_path / "server.key").write_bytes(server.private_key_pem.bytes())
    (tmp_path / "server.crt").write_bytes(server.cert_chain_pems[0].bytes())
    tls = mutual_tls(ca=files.ca, cert=tmp_path / "server.crt", key=tmp_path / "server.key")
    key_line = files.key.read_text().splitlines()[1]

    @on_loopback
    async def main() -> None:
        simulated = diego()
        simulated.desire(secretive())
        simulated.desire(secretive("gone"))
        with Recorder(tmp_path / "recording") as recorder:
            async with (
                serve_diego(simulated, tls=tls) as served,
                BBSClient(served.url, tls=files.tls, tap=recorder.tap, timeout=Timeouts()) as client,
                open_mirror(client, detail=detail, tuning=QUICK) as mirror,
                serve_replica(
                    served.url, tls=files.tls, detail=detail, tuning=QUICK, refresh=0.05, routes=ops_routes
                ) as replica,
            ):
                subscription = mirror.subscribe_desired(lambda change: texts.extend(printed_forms_of(change)))
                routes = await mirror.view(views.HTTPRoutes())
                await mirror.wait_synced(5)
                await replica.mirror.wait_synced(5)
                simulated.desire(secretive("late"))
                simulated.remove_desired("gone")
                await mirror.wait_for(lambda m: {lrp.process_guid for lrp in m.desired_lrps()} == {"p", "late"}, 5)
                await client.desired_lrps(full=True)
                mirror.resync()
                served.host.cut()
                await mirror.wait_for(lambda m: not m.status.live, 5)
                await mirror.wait_for(lambda m: m.status.live, 5)
                texts.extend(
                    printed_forms_of(
                        *(mirror, mirror.status, mirror.counts, mirror.explain("p"), mirror.desired_lrps()),
                        *(routes, dict(routes), subscription, client, recorder, replica, replica.mirror.status),
                        *(files.tls, simulated, served),
                    )
                )
                async with http() as asking:
                    paths = ("/metrics", "/healthz", "/readyz", "/", "/page/state")
                    texts.extend([(await asking.get(f"{replica.url}{path}")).text for path in paths])
        texts.extend(recorded_texts(tmp_path / "recording"))

    with caplog.at_level(logging.DEBUG):
        for name in list(logging.root.manager.loggerDict):
            caplog.set_level(logging.DEBUG, name)
        main()
    texts.extend(f"{record.getMessage()} {record.args!r}" for record in caplog.records)
    texts.append(caplog.text)
    assert len(texts) > 30
    assert not leaks(texts)
    assert not [text for text in texts if key_line in text]


@pytest.mark.parametrize("stream", ["instances", "groups"])
@pytest.mark.parametrize("detail", ["routing", "full"])
def test_a_replica_shows_no_routes_that_may_hold_keys_unless_it_was_told_to(detail: Any, stream: Any) -> None:
    simulated = diego()
    simulated.desire(secretive())
    expected = {"diego-ssh", "odd", "cf-router"}
    seen: list[DesiredLRP] = []

    @on_loopback
    async def main() -> None:
        async with (
            serve_diego(simulated) as served,
            serve_replica(served.url, detail=detail, tuning=QUICK) as replica,
            BBSClient(replica.url) as client,
        ):
            await replica.mirror.wait_synced(5)
            async with client.events(stream) as events:
                for found in (await client.scheduling_infos(), await client.scheduling_infos(process_guids=["p"])):
                    seen.extend(found)
                simulated.update_desired("p", annotation="new")
                simulated.desire(secretive("q"))
                while len(seen) < 5:
                    for event in await anext(events):
                        if isinstance(event, DesiredLRPChanged):
                            seen.extend([event.before, event.after])
                        elif isinstance(event, DesiredLRPCreated):
                            seen.append(event.desired_lrp)

    main()
    for lrp in seen:
        assert lrp.routes.keys() == expected
        assert lrp.routes["cf-router"].startswith(b"[")
        hidden = {lrp.routes["diego-ssh"] == b"null", lrp.routes["odd"] == b"null"}
        assert hidden == {detail == "routing"}
