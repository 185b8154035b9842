"""What the tests of the state file share: a small state, written and read."""

from pathlib import Path
from typing import Any

from core_support import desired, running

from lrpmirror.core.knowledge import ExportedState
from lrpmirror.statefile import StateFile

BBS = "https://bbs.example:8889"


def small(revision: int = 3, **fields: Any) -> ExportedState:
    whole: dict[str, Any] = {
        "actual_lrps": (running(), running("b", index=1)),
        "desired_lrps": (desired(routes={"cf-router": b"[]"}),),
        "retained": (desired("r", process_guid="q"),),
        "domains": frozenset({"apps", "tasks"}),
        "cells": (),
    }
    return ExportedState(revision=revision, **whole | fields)


def save(file: StateFile, exported: ExportedState, *, bbs: str = BBS, taken_at: float = 1000, age: float = 0) -> bool:
    return file.save(exported, bbs=bbs, taken_at=taken_at, age=age)


def loaded(path: Path) -> ExportedState | None:
    found = StateFile(path).load(BBS)
    return None if found is None else found.exported


def saved(path: Path, exported: ExportedState | None = None, **options: Any) -> bytes:
    save(StateFile(path), exported or small(), **options)
    return path.read_bytes()
