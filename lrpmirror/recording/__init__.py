"""Recordings: the traffic of a BBS in a folder, which can be read, replayed and compared without a BBS.

    with Recorder("incident-7") as recorder:
        async with BBSClient(url, tap=recorder.tap) as client, open_mirror(client) as mirror: …

    run = replay(Recording("incident-7"))
    for commit in run: …                  # first the lists as one commit, then what each event changed
    run.actual_lrps()

A recording is a folder:

    about.json                        `format` (1), `note`, `steps` (the label of each), `secrets`, and how it ended
    snapshot/NAME.pb                  the bodies of the lists' replies, from around the first event
    events.instances.sse              the instance stream after de-chunking, from its first byte
    events.groups.sse                 the group stream of the same time; one of the two can be missing
    steps/NN/NAME.pb                  lists read in between, where there are any
    expected/NAME.pb                  lists read after the last event, where they could be had

NAME is one of `actual_lrps`, `actual_lrp_groups`, `desired_lrps`, `desired_lrp_scheduling_infos`,
`desired_lrp_routing_infos`, `domains`, `cells`. An empty list is an empty file.

The lists of any folder with all events of the instance stream on top give those of `expected`, except for the internal
routes and metric tags of rows that were started by a `changed` event, which the stream does not carry.
"""

from lrpmirror.recording._reader import LIST_NAMES, About, ListName, Lists, Recording, StreamName
from lrpmirror.recording._recorder import Counts, Recorder
from lrpmirror.recording._replay import Difference, Replay, replay

__all__ = [
    "LIST_NAMES",
    "About",
    "Counts",
    "Difference",
    "ListName",
    "Lists",
    "Recorder",
    "Recording",
    "Replay",
    "StreamName",
    "replay",
]
