"""The records of a list, and what is asked for: what is no record, no text, or no request."""

import pytest
from client_support import Answering, run

from lrpmirror.client import BBSClient
from lrpmirror.errors import ConfigurationError, MalformedRecord
from lrpmirror.model import ActualLRP
from lrpmirror.wire import encode

URL = "http://bbs.test:8889"
ROWS = "POST /v1/actual_lrps/list at "
ROW = encode.actual_lrp(ActualLRP(process_guid="p"))


@pytest.mark.parametrize("number", [1, 2, 101, 250])
def test_a_record_that_is_no_record_is_malformed_and_named_by_its_place_and_size(number: int) -> None:
    records = [ROW] * (number - 1) + [b"\xff\xff"] + [ROW] * 3

    async def main() -> None:
        async with BBSClient(URL, transport=Answering(encode.reply(records))) as client:
            with pytest.raises(MalformedRecord, match=rf"{ROWS}{URL}: the list's record number {number}: 2 bytes are"):
                await client.actual_lrps()

    run(main)


def test_a_text_that_is_no_text_costs_no_list() -> None:
    cut = encode.actual_lrp(ActualLRP(process_guid="p", crash_reason="caf--")).replace(b"--", b"\xc3 ")

    async def main() -> None:
        async with BBSClient(URL, transport=Answering(encode.reply([ROW, cut, ROW]))) as client:
            assert [row.crash_reason for row in await client.actual_lrps()] == ["", "caf\ufffd ", ""]

    run(main)


def test_what_no_request_can_hold_is_named() -> None:
    async def main() -> None:
        async with BBSClient(URL, transport=Answering(b"")) as client:
            with pytest.raises(ConfigurationError, match="such a value of domain: "):
                await client.actual_lrps(domain="\udcff")
            with pytest.raises(ConfigurationError, match="such a value of process_guid, index: "):
                await client.actual_lrps(process_guid="p", index=2**31)
            with pytest.raises(ConfigurationError, match="cell_id"):
                await client.events("instances", "\udcff").__aenter__()

    run(main)
