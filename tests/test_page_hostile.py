"""What people have named things shows on the page as the text that it is, and is never a part of the page."""

import re
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import msgspec
import pytest
import trio
from page_support import document_at, require_chromium

from lrpmirror.serve.event_rates import Second
from lrpmirror.serve.ops import content_policy
from lrpmirror.serve.page_model import CellModel, PageModel, ProcessModel
from lrpmirror.serve.routes import not_found, routed
from lrpmirror.server import serve_app
from lrpmirror.server.asgi import Receive, Scope, Send, send_whole

HTML = files("lrpmirror.serve").joinpath("page.html").read_bytes()
HOSTILE = "<u class=taken onclick=a()>{}</u><script>document.title='taken'</script><img src=x onerror=a()>\"'&amp;"


def hostile(name: str) -> str:
    return HOSTILE.format(name)


def page_model() -> PageModel:
    """A picture in which every text is hostile that is not one of a few words of ours."""
    cell = CellModel(cell_id=hostile("cell-id"), zone=hostile("zone"), present=True, instances="rr", memory_share=None)
    gone = msgspec.structs.replace(cell, cell_id=hostile("gone"), present=False, memory_share=0.5)
    process = ProcessModel(
        process_guid=hostile("guid"), health=hostile("word"), desired=2, running=1, detail=hostile("detail")
    )
    return PageModel(
        ready=False,
        cause=hostile("cause"),
        phase=hostile("phase"),
        revision=7,
        age=1.0,
        silence=1.5,
        state_age=1.5,
        listed_ago=2.0,
        trouble=hostile("trouble"),
        last_error=hostile("error"),
        desired_lrps=1,
        totals={"r": 4, "?": 1},
        cells=[cell, gone],
        more_cells=3,
        waiting="u",
        health={"healthy": 1, hostile("health"): 1},
        processes=[process],
        rates=(Second(1, 2, 3),),
    )


class Elements(HTMLParser):
    """What a document is made of."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.handlers: list[str] = []
        self.feed(document)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.handlers += [name for name, _ in attrs if name.startswith("on")]


@pytest.mark.parametrize("policy", [True, False], ids=["with its policy", "without a policy"])
def test_no_name_is_a_part_of_the_page(tmp_path: Path, *, policy: bool) -> None:
    require_chromium()

    async def page(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - as ASGI calls it
        headers = [(b"content-security-policy", content_policy(HTML))] if policy else []
        await send_whole(send, 200, b"text/html; charset=utf-8", HTML, *headers)

    async def state(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - as ASGI calls it
        await send_whole(send, 200, b"application/json", msgspec.json.encode(page_model()))

    async def main() -> str:
        with trio.fail_after(60):
            app = routed({"/": page, "/page/state": state}, fallback=not_found)
            async with serve_app(app) as host:
                return await document_at(f"{host.url}/", tmp_path)

    document = trio.run(main)
    assert '<b id="revision">7</b>' in document, "the state is shown"
    assert "<title>lrpmirror</title>" in document
    elements = Elements(document)
    assert not {"u", "img"} & set(elements.tags)
    assert elements.tags.count("script") == 1
    assert elements.handlers == []
    # As text.
    for name in ("cell-id", "gone", "guid", "word", "detail", "cause", "error"):
        assert re.search(rf"&lt;u class=taken onclick=a\(\)&gt;{name}&lt;/u&gt;", document), name
    assert "PHASE" in document
