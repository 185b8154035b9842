"""Tables for people."""

from collections.abc import Iterable, Iterator, Sequence


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Return the lines of a table, each column as wide as its widest cell; columns that are empty are left out."""
    cells = [[printable(cell) for cell in row] for row in rows]
    used = [column for column in range(len(heads)) if any(row[column] for row in cells)]
    widths = {column: max(len(heads[column]), *(len(row[column]) for row in cells)) for column in used}
    for row in [list(heads), *cells] if cells else []:
        yield "  ".join(row[column].ljust(widths[column]) for column in used).rstrip()


def printable(text: str) -> str:
    """Return a text without what would move a terminal's cursor: it comes from a server."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
