"""A view of a mirror in one line, without colours."""

from lrpmirror.cli.shared.tables import printable
from lrpmirror.cli.shared.view import Kind, View


def status_line(view: View) -> str:
    """Return the view as one line."""
    age = "" if view.age is None else f", last heard {view.age:.1f} s ago"
    present = sum(cell.there for cell in view.cells if cell.cell_id)
    return printable(
        f"{view.elapsed:6.1f} s  {view.phase.name:<10} revision {view.revision}{age}; {amounts(view)}; "
        f"{view.desired} desired, {present} cells"
    )


def amounts(view: View) -> str:
    """Count the instances by kind."""
    counted = ", ".join(f"{view.kinds[kind]} {kind.value}" for kind in Kind if view.kinds.get(kind))
    return f"{sum(view.kinds.values())} instances{': ' if counted else ''}{counted}"


def clock(seconds: float) -> str:
    """Return a duration as minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
