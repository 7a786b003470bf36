# SPDX-License-Identifier: Apache-2.0
"""Tables that fit a terminal: where it is narrow they have fewer columns, and shorter bars."""

from dataclasses import dataclass

from .terminal import columns

GAP = 2


@dataclass
class Column:
    title: str
    width: int
    rank: int = 0      # the highest goes first where there is no room for all; those of 0 stay
    left: bool = False


class Table:
    """Rows of a Terminal with the columns of which there is room, printed one by one as their values come."""

    def __init__(self, terminal, label, layout):
        self.terminal, self.label = terminal, label
        self.shown = list(range(len(layout)))
        self.layout = layout
        while self._width() > terminal.room() and any(layout[index].rank for index in self.shown):
            self.shown.remove(max(self.shown, key=lambda index: layout[index].rank))

    def _width(self):
        return sum(max(self.layout[i].width, len(self.layout[i].title)) for i in self.shown) + GAP * (len(self.shown) - 1)

    def spare(self):
        """Columns that a bar behind the rows may take."""
        return max(self.terminal.room() - self._width() - GAP, 0)

    def _line(self, values):
        cells = []
        for index in self.shown:
            column = self.layout[index]
            text = self.terminal.plain(values[index])
            fill = " " * (max(column.width, len(column.title)) - columns(text))
            cells.append(text + fill if column.left else fill + text)
        return (" " * GAP).join(cells)

    def header(self):
        self.terminal.row(self.label, self._line([column.title for column in self.layout]))

    def line(self, label, values, bar=""):
        self.terminal.row(label, self._line(values) + (" " * GAP + bar if bar else ""))
