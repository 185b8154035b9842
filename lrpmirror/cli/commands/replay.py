"""Print the state after a recording, or every change on the way there.

Bring a mirror to the state of the lists in DIR/snapshot, apply all events of
one of the recorded streams, and print the outcome: one JSON value a line, in
the shape that Diego's own tools print, sorted, so that the output of two runs
is the same.

what --print can print:
  summary      counts, what became of the events, and whether the outcome is
               what DIR/expected says; the default
  actual-lrps, actual-lrp-groups, desired-lrp-scheduling-infos, domains
  desired-lrps whole records, environment and credentials included; only from
               recordings made with --with-secrets
  http-routes, tcp-routes, internal-routes, processes, cells
               what the library's views make of it: one object for each key,
               what is empty, zero or false left out (but never an index)
  changes      one object for each row, desired LRP or set of domains that
               changed: {"kind", "key", "before", "after", "revision", "cause"};
               the lists come first, as one revision

Internal routes and metric tags of instances that were started by a `changed`
event are not on the stream, so they are missing here.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from lrpmirror.cli.shared.output import print_lines
from lrpmirror.cli.shared.view_json import VIEWS, PrintedView
from lrpmirror.core.derived.derive import Derivation
from lrpmirror.core.rows.changes import Commit, Delta
from lrpmirror.model import ActualLRP
from lrpmirror.recording import Recording, Replay, replay
from lrpmirror.wire import json

PRINTS: Final = (
    "actual-lrps",
    "actual-lrp-groups",
    "desired-lrp-scheduling-infos",
    "desired-lrps",
    "domains",
    *VIEWS,
    "changes",
    "summary",
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add = parser.add_argument
    add("dir", metavar="DIR", help="the folder of the recording")
    add("--stream", choices=("instances", "groups"), default="instances", help="which stream to apply (%(default)s)")
    add(
        "--lists",
        metavar="FOLDER",
        default="snapshot",
        help="which lists to begin with: a folder of the recording, such as steps/03, or any other (%(default)s)",
    )
    add("--print", choices=PRINTS, default="summary", metavar="WHAT", help=f"one of {', '.join(PRINTS)} (%(default)s)")


def run(args: argparse.Namespace) -> int:
    """Replay, and print."""
    recording = Recording(args.dir)
    what: str = args.print
    replayed = replay(recording, stream=args.stream, lists=args.lists, full=what == "desired-lrps")
    if what == "changes":
        print_lines(map(msgspec.json.encode, _changes(replayed)))
        return 0
    replayed.finish()
    if what == "summary":
        print_lines([msgspec.json.encode(_summary(replayed))])
    elif what in VIEWS:
        print_lines(map(msgspec.json.encode, _objects(replayed, VIEWS[what])))
    else:
        reads: dict[str, Callable[[], Iterable[object]]] = {
            "actual-lrps": replayed.actual_lrps,
            "actual-lrp-groups": replayed.actual_lrp_groups,
            "domains": replayed.domains,
        }
        print_lines(map(json.dumps, reads.get(what, replayed.desired_lrps)()))
    return 0


def _objects(replayed: Replay, view: PrintedView) -> Iterator[dict[str, Any]]:
    session, derivation = replayed.session, Derivation(view.make())
    derivation.update(map(session.knowledge.process, session.knowledge.process_guids()))
    derivation.update_cells(session.knowledge.cells)
    return view.objects(derivation.values)


def _changes(replayed: Replay) -> Iterator[dict[str, Any]]:
    domains: list[str] = []
    for commit in replayed:
        for row in sorted(commit.actual_lrps, key=_place):
            yield _change("actual_lrp", row.key, row.before, row.after, commit)
        for lrp in sorted(commit.desired_lrps, key=lambda delta: delta.key):
            yield _change("desired_lrp", lrp.key, lrp.before, lrp.after, commit)
        if commit.domains is not None:
            before, domains = domains, sorted(commit.domains)
            yield _change("domains", "domains", before, domains, commit)


def _change(kind: str, key: object, before: object, after: object, commit: Commit) -> dict[str, Any]:
    sides = (side if side is None or isinstance(side, list) else json.to_json(side) for side in (before, after))
    names = ("kind", "key", "before", "after", "revision", "cause")
    return dict(zip(names, (kind, key, *sides, commit.revision, commit.cause.value), strict=True))


def _place(delta: Delta[Any, ActualLRP]) -> tuple[str, int, int, str]:
    row = delta.after or delta.before
    return ("", 0, 0, "") if row is None else (row.process_guid, row.index, row.presence, row.epoch)


def _summary(replayed: Replay) -> dict[str, Any]:
    recording, session = replayed.recording, replayed.session
    rows = replayed.actual_lrps()
    summary: dict[str, Any] = {
        "recording": str(recording.path),
        "note": recording.about.note,
        "lists": str(replayed.lists.path),
        "stream": replayed.stream,
        "events": _sorted(replayed.events),
        "verdicts": _sorted(session.counts().events),
        "revision": session.knowledge.revision,
        "actual_lrps": len(rows),
        "states": _sorted(Counter(row.state.value for row in rows)),
        "presences": _sorted(Counter(row.presence.name for row in rows)),
        "desired_lrps": session.knowledge.store.desired_count(),
        "domains": replayed.domains(),
        "cells": len(session.knowledge.cells),
        "in_doubt": len(session.repairs),
        "as_expected": None,
    }
    if "expected" in recording.folders:
        differences = replayed.differences(recording.lists("expected"))
        summary["as_expected"] = not differences
        if differences:
            summary["differences"] = [{"kind": one.kind, "key": one.key} for one in differences]
    return summary


def _sorted(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items()))
