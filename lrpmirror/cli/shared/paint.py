"""Styled text that the screens of `top` and `demo` share: signs, bars, phases. Needs the extra `cli`."""

from collections.abc import Iterator, Mapping
from typing import Final

from rich.text import Text

from lrpmirror.cli.shared.tables import printable
from lrpmirror.cli.shared.view import Kind
from lrpmirror.core.freshness.status import Phase

SIGNS: Final[Mapping[Kind, tuple[str, str]]] = {
    Kind.RUNNING: ("#", "green"),
    Kind.CLAIMED: ("+", "cyan"),
    Kind.UNCLAIMED: (".", ""),
    Kind.CRASHED: ("x", "bold red"),
    Kind.EVACUATING: (">", "yellow"),
    Kind.SUSPECT: ("?", "bold magenta"),
    Kind.OTHER: ("*", ""),
}
"""How an instance of each kind is drawn in a bar, and its style."""

PHASES: Final[Mapping[Phase, tuple[str, str]]] = {
    Phase.CONNECTING: ("bold yellow", "connecting; there is nothing to show yet"),
    Phase.SYNCING: ("bold yellow", "connected; reading the first lists"),
    Phase.LIVE: ("bold green", "this is the server's state"),
    Phase.RESYNCING: ("bold yellow", "connected again; reading the lists, until then this may be old"),
    Phase.STALE: ("bold red", "out of touch; this is the last known state"),
    Phase.CLOSED: ("dim", "closed"),
}
"""How each phase is shown, and what it means for the content."""


def line(*parts: str | tuple[str, str]) -> Text:
    """Return a line of parts, each with its style or without, cut where the screen ends.

    Control characters are removed: much of the text comes from a server.
    """
    text = Text(no_wrap=True, overflow="ellipsis")
    for part in parts:
        content, style = (part, "") if isinstance(part, str) else part
        text.append(printable(content), style)
    return text


def phase_line(phase: Phase, meaning: str = "") -> Text:
    """Return the line on the phase and what it means for the content, or another text in its place."""
    style, usual = PHASES[phase]
    return line((f" {phase.name} ", f"{style} reverse"), f"  {meaning or usual}")


def legend() -> Text:
    """Return what the signs of bars mean."""
    return line(*_legend())


def bar(kinds: Mapping[Kind, int], width: int, longest: int = 0) -> Text:
    """Draw a sign for each instance; where they do not fit, in proportion, with one at least for each kind.

    `longest` is the number of instances of the longest bar beside it: they are drawn to one scale.
    """
    total = max(sum(kinds.values()), longest)
    scale = 1.0 if total <= max(0, width) else max(0, width - len(kinds)) / total
    return line(
        *((sign * max(1, int(kinds[kind] * scale)), style) for kind, (sign, style) in SIGNS.items() if kinds.get(kind))
    )


def _legend() -> Iterator[str | tuple[str, str]]:
    before = ""
    for kind, (sign, style) in SIGNS.items():
        if kind is not Kind.OTHER:
            yield before
            yield sign, style
            yield f" {kind.value}", "dim"
            before = "  "
