"""Terminal screens as one SVG that needs nothing from elsewhere: no script, no font to load.

Each stretch of equal style is a text of given length, so that columns meet in any monospace font.
"""

from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby

from pyte.screens import Char

FONTS = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
CELL_WIDTH, CELL_HEIGHT, FONT_SIZE = 8.4, 19, 14
MARGIN, GAP, RADIUS = 16, 14, 8
GROUND, FRAME, TEXT = "#0d1117", "#30363d", "#e6edf3"
COLOURS = {
    "default": TEXT,
    "red": "#ff7b72",
    "green": "#56d364",
    "brown": "#e3b341",  # pyte's name of yellow
    "blue": "#79c0ff",
    "magenta": "#d2a8ff",
    "cyan": "#76e3ea",
    "brightblack": "#8b949e",
}


def drawing(screens: Sequence[Sequence[Sequence[Char]]], columns: int) -> str:
    """Return an SVG with the screens one below the other.

    Args:
        screens: Each as rows of cells.
        columns: How wide they are.
    """
    width = columns * CELL_WIDTH + 2 * MARGIN
    parts, top = [], 0.0
    for rows in screens:
        height = len(rows) * CELL_HEIGHT + 2 * MARGIN
        parts += [_window(top, width, height), *_lines(rows, top + MARGIN)]
        top += height + GAP
    size = f'width="{width:.0f}" height="{top - GAP:.0f}" viewBox="0 0 {width:.0f} {top - GAP:.0f}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="{FONTS}"'
    return "\n".join([f'{head} font-size="{FONT_SIZE}">', *parts, "</svg>\n"])


def _window(top: float, width: float, height: float) -> str:
    place = f'x="0.5" y="{top + 0.5}" width="{width - 1}" height="{height - 1}" rx="{RADIUS}"'
    return f'<rect {place} fill="{GROUND}" stroke="{FRAME}"/>'


def _lines(rows: Sequence[Sequence[Char]], top: float) -> Iterator[str]:
    for number, row in enumerate(rows):
        baseline = top + number * CELL_HEIGHT + FONT_SIZE
        column = 0
        for (colour, is_bold), cells in groupby(row, lambda cell: (cell.fg, cell.bold)):
            text = "".join(cell.data for cell in cells)
            start = column + len(text) - len(text.lstrip())
            column += len(text)
            if text.strip():
                yield _text(text.strip(), start, baseline, _style(colour, is_bold=is_bold))


def _style(colour: str, *, is_bold: bool) -> str:
    return f'fill="{COLOURS.get(colour, TEXT)}"' + ' font-weight="bold"' * is_bold


def _text(text: str, column: int, baseline: float, style: str) -> str:
    length = f'textLength="{len(text) * CELL_WIDTH:.1f}" lengthAdjust="spacingAndGlyphs"'
    place = f'x="{MARGIN + column * CELL_WIDTH:.1f}" y="{baseline:.1f}"'
    return f'<text {place} {length} {style} xml:space="preserve">{escape(text)}</text>'
