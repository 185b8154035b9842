"""What the writing requests of the protocol may not lack, and how a server without writes refuses them."""

import httpx
import pytest
import trio
from bbs_support import WHOLE, desired_and, key_of
from google.protobuf.message import Message
from sim_support import A

from lrpmirror.errors import BBSError, RequestRefused, ServiceUnavailable, UnknownPath
from lrpmirror.model import DesiredLRP
from lrpmirror.server import WRITES, BBSApp, serve_app
from lrpmirror.sim import Diego
from lrpmirror.wire.proto import diego_pb2
from lrpmirror.wire.proto import requests_pb2 as pb

NEEDED = {
    "desired_lrp": [f"desired_lrp{field}" for field in ("", ".process_guid", ".domain", ".root_fs", ".action")],
    "actual_lrp_key": ["actual_lrp_key", "actual_lrp_key.process_guid", "actual_lrp_key.domain"],
    "actual_lrp_instance_key": [
        "actual_lrp_instance_key",
        "actual_lrp_instance_key.instance_guid",
        "actual_lrp_instance_key.cell_id",
    ],
    "actual_lrp_net_info": ["actual_lrp_net_info", "actual_lrp_net_info.address"],
    "process_guid": ["process_guid"],
    "domain": ["domain"],
    "error_message": ["error_message"],
}
KEEPING = {
    "/v1/actual_lrps/evacuate_claimed",
    "/v1/actual_lrps/evacuate_running",
    "/v1/actual_lrps/evacuate_running.r1",
}


def missing() -> list[tuple[str, str]]:
    """Return each path with each field, or field of a field, that it cannot do without."""
    return [
        (path, needed)
        for path, asked in WHOLE.items()
        for name, fields in NEEDED.items()
        if name in {field.name for field, _ in asked.ListFields()}
        for needed in fields
    ]


def answer(path: str, body: bytes) -> pb.EvacuationResponse:
    """Return the reply to a body; an EvacuationResponse has all that any of them can have."""
    made = desired_and(A)
    before = made.snapshot()
    reply = WRITES[path].answer(made, body, "")
    assert made.snapshot() == before
    return pb.EvacuationResponse.FromString(reply)


def test_every_path_that_writes_is_known_here() -> None:
    assert WHOLE.keys() == WRITES.keys()


@pytest.mark.parametrize(("path", "name"), missing())
def test_a_missing_field_is_named(path: str, name: str) -> None:
    asked = type(WHOLE[path])()
    asked.CopyFrom(WHOLE[path])
    holder: Message = asked
    *outer, last = name.split(".")
    for each in outer:
        holder = getattr(holder, each)
    holder.ClearField(last)
    reply = answer(path, asked.SerializeToString())
    called = last.replace("root_fs", "rootfs")
    assert (reply.error.type, reply.error.message) == (diego_pb2.Error.InvalidRequest, f"Invalid field: {called}")
    assert reply.keep_container == (path in KEEPING)


@pytest.mark.parametrize("path", WRITES)
def test_a_body_that_is_no_protobuf_of_the_kind_is_an_invalid_request(path: str) -> None:
    reply = answer(path, b"\xff\xff")
    assert reply.error.type == diego_pb2.Error.InvalidRequest
    assert WRITES[path].request.DESCRIPTOR.name in reply.error.message
    assert reply.keep_container == (path in KEEPING)


def test_all_that_is_missing_is_named_at_once() -> None:
    reply = answer("/v1/actual_lrps/start.r1", b"")
    assert reply.error.message == (
        "Invalid field: actual_lrp_key, Invalid field: actual_lrp_instance_key, Invalid field: actual_lrp_net_info"
    )


@pytest.mark.parametrize("path", ["/v1/actual_lrps/remove", "/v1/actual_lrps/retire"])
def test_an_index_below_zero_is_named(path: str) -> None:
    asked = (
        pb.RemoveActualLRPRequest(process_guid="p", index=-1)
        if path.endswith("remove")
        else pb.RetireActualLRPRequest(actual_lrp_key=key_of("p", -1))
    )
    assert answer(path, asked.SerializeToString()).error.message == "Invalid field: index"


# ------------------------------------------------------------------ who has no writes


def post_to(app: BBSApp, path: str, body: bytes = b"") -> httpx.Response:
    async def main() -> httpx.Response:
        async with serve_app(app) as host, httpx.AsyncClient(base_url=host.url) as client:
            return await client.post(path, content=body)

    return trio.run(main)


@pytest.mark.parametrize("path", WRITES)
def test_a_server_without_writes_refuses_each_with_the_error_that_it_was_given(path: str) -> None:
    refusal = RequestRefused("InvalidRequest", "this is a replica")
    reply = post_to(BBSApp(Diego(), writes=refusal), path, WHOLE[path].SerializeToString())
    answered = pb.EvacuationResponse.FromString(reply.content)
    assert (reply.status_code, answered.error.type, answered.error.message) == (200, 4, "this is a replica")
    assert answered.keep_container == ("/evacuate_" in path)


@pytest.mark.parametrize(("error", "status"), [(ServiceUnavailable("migrating"), 503), (UnknownPath("none"), 404)])
def test_an_error_of_another_kind_is_a_status(error: BBSError, status: int) -> None:
    assert post_to(BBSApp(Diego(), writes=error), "/v1/actual_lrps/claim").status_code == status


def test_a_server_that_was_given_nothing_to_write_to_does_not_know_the_path() -> None:
    reply = post_to(BBSApp(Diego()), "/v1/actual_lrps/claim")
    assert (reply.status_code, reply.text) == (404, "404 page not found\n")


class Locked(Diego):
    """A writer that cannot write now."""

    def desire(self, wanted: DesiredLRP) -> None:
        raise ServiceUnavailable(f"no lock, so no {wanted.process_guid}")


def test_a_writer_that_cannot_write_now_is_a_503() -> None:
    made = Locked()
    path = "/v1/desired_lrp/desire.r2"
    assert post_to(BBSApp(made, writes=made), path, WHOLE[path].SerializeToString()).status_code == 503
    assert made.trace_id == ""
