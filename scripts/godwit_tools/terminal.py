# SPDX-License-Identifier: Apache-2.0
"""Output that is pleasant on a terminal and plain in a file: colours and a live line only where somebody looks."""

import os
import shutil
import sys

STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "magenta": "35",
          "cyan": "36"}
EIGHTHS = " ▏▎▍▌▋▊▉█"


class Terminal:
    def __init__(self, stream=sys.stdout):
        self.stream = stream
        self.live = stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self.colours = self.live and "NO_COLOR" not in os.environ
        self._live_shown = False

    def paint(self, style, text):
        return f"\033[{STYLES[style]}m{text}\033[0m" if self.colours else text

    def say(self, text=""):
        if self._live_shown:
            self.stream.write("\r\033[K")
            self._live_shown = False
        self.stream.write(text + "\n")
        self.stream.flush()

    def title(self, text):
        self.say()
        self.say(self.paint("bold", text))

    def row(self, label, text):
        self.say(f"  {self.paint('dim', f'{label:<10}')} {text}")

    def progress(self, label, text):
        """A line that is overwritten; nothing at all where nobody watches."""
        if not self.live:
            return
        width = shutil.get_terminal_size().columns - 14
        self.stream.write(f"\r\033[K  {self.paint('dim', f'{label:<10}')} {text[:max(width, 20)]}")
        self.stream.flush()
        self._live_shown = True


def bar(fraction, width):
    """A bar in eighths of a character."""
    eighths = round(max(0.0, min(1.0, fraction)) * width * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (EIGHTHS[rest] if rest else "")).ljust(width)
