"""The story of a mirror, which `demo` and `top` tell: what it remembers."""

import trio
from mirror_support import FakeBBS, mirroring, settled, simulated, small
from sim_support import A, wanted

from lrpmirror.cli.shared.story import Story


@simulated
async def test_the_name_of_a_process_is_forgotten_when_nothing_is_left_of_it() -> None:
    diego = small()
    async with mirroring(FakeBBS(diego)) as mirror:
        await mirror.wait_synced()
        story = Story(mirror, trio.current_time)
        story.follow()
        for number in range(20):
            guid = f"pushed-{number}"
            diego.desire(wanted(guid))
            diego.claim(guid, 0, A)
            await settled()
            assert guid in story._names
            diego.remove_desired(guid)
            await settled()
            assert guid in story._names, "an instance is left, which has the name still"
            diego.remove(guid, 0)
            await settled()
            assert story._names.keys() <= {"p"}
        assert any("pushed-19" in news.process_guid for news in story.latest)
