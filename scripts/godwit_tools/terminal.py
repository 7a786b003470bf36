# SPDX-License-Identifier: Apache-2.0
"""
Output that is pleasant on a terminal and plain in a file: colours and a live line only where somebody looks, lines that
fit the width, signs that the stream's encoding has.

Much of what is shown was said by a guest or another program. All of it passes Terminal.say() or progress(), which show
control characters instead of sending them: what a guest says never moves the cursor and never makes the terminal answer.
"""

import codecs
import os
import re
import sys
import threading
import unicodedata

STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "magenta": "35",
          "cyan": "36"}
EIGHTHS = " ▏▎▍▌▋▊▉█"
PLAIN_WIDTH = 80      # where nobody looks
LEAST_WIDTH = 40
LABEL = 10            # columns of a row's label

# paint() begins and ends a style with characters that are none (Unicode keeps them for a program's own use); say() makes
# escape sequences of them. Others that come with text of a guest change a colour at most.
_STYLE_BASE, _STYLE_END = 0xfdd0, "\ufddf"
_MARKS = {chr(_STYLE_BASE + number): code for number, code in enumerate(STYLES.values())}
_MARK, _MARKED = re.compile("[\ufdd0-\ufddf]"), re.compile("([\ufdd0-\ufddf])")
# C0 without the line's end, DEL, C1; marks that turn the direction of text, or that end lines; halves of pairs.
_CONTROL = re.compile("[\0-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

# What stands in for signs that an encoding lacks.
ASCII = {"→": "->", "←": "<-", "≤": "<=", "≥": ">=", "…": "...", "·": ".", "×": "x", "µ": "u", "–": "-", "—": "-",
         "█": "#", "▉": "#", "▊": "#", "▋": "#", "▌": "=", "▍": "=", "▎": "-", "▏": "-", "░": "-", "▒": ":", "▓": "#",
         "╷": "|", "│": "|", "─": "-", "┌": "+", "┐": "+", "└": "+", "┘": "+", "ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss"}


def _stand_in(error):
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(ASCII.get(sign, "?") for sign in error.object[error.start:error.end]), error.end


codecs.register_error("godwit-signs", _stand_in)


def spare_encoding(stream):
    """From now on the stream takes any text: what its encoding lacks is written with signs that it has."""
    if isinstance(getattr(stream, "errors", None), str) and hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="godwit-signs")


def _shown(control):
    code = ord(control.group())
    if code == 0x7f:
        return "^?"
    return f"^{chr(code + 64)}" if code < 32 else f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def harmless(text):
    """Text with its control characters made visible: ^[ for an escape. Lines stay lines."""
    return _CONTROL.sub(_shown, text.expandtabs())


def columns(text):
    """How many columns of a terminal text without control characters takes."""
    return sum(0 if unicodedata.combining(sign) or "\ufdd0" <= sign <= "\ufddf" else
               2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text)


def cut(text, width):
    """As much of one line as fits."""
    if columns(text) <= width:
        return text
    kept, left = [], width
    for sign in text:
        left -= columns(sign)
        if left < 0:
            break
        kept.append(sign)
    return "".join(kept)


def wrap(text, width, indent=0):
    """One line as lines that fit, broken between words where it can be; those after the first are indented."""
    lines, line, used = [], "", 0
    for word in re.findall(r" *[^ ]+", text.rstrip()):
        size = columns(word)
        if used and used + size > width and word.strip(" "):
            lines.append(line)
            line, used, word = " " * indent, indent, word.lstrip(" ")
            size = columns(word)
        while used + size > width:    # a word that is longer than a line
            part = cut(word, width - used) or word[0]
            lines.append(line + part)
            line, used, word = " " * indent, indent, word[len(part):]
            size = columns(word)
        line, used = line + word, used + size
    return [*lines, line]


class Terminal:
    def __init__(self, stream=None):
        self.stream = stream or sys.stdout
        spare_encoding(self.stream)
        self._watched = self.stream.isatty()
        self.live = self._watched and os.environ.get("TERM", "dumb") != "dumb"
        self.colours = self.live and not os.environ.get("NO_COLOR")
        self._live_shown = False
        self._lock = threading.Lock()    # of the stream and _live_shown

    @property
    def width(self):
        """Columns that a line may take: those of the window as it is now, a fixed number where there is none."""
        if not self._watched:
            return PLAIN_WIDTH
        try:
            return max(os.get_terminal_size(self.stream.fileno()).columns or PLAIN_WIDTH, LEAST_WIDTH)
        except OSError:
            return PLAIN_WIDTH

    def plain(self, text):
        """The text with the signs that this stream has, which may take more columns."""
        encoding = self.stream.encoding or "utf-8"
        return "".join(part if _MARK.match(part) else part.encode(encoding, "godwit-signs").decode(encoding)
                       for part in _MARKED.split(text))

    def paint(self, style, text):
        return f"{chr(_STYLE_BASE + list(STYLES).index(style))}{text}{_STYLE_END}"

    def _styled(self, line):
        if not _MARK.search(line):
            return line
        if not self.colours:
            return _MARK.sub("", line)
        return _MARK.sub(lambda mark: f"\033[{_MARKS[mark.group()]}m" if mark.group() in _MARKS else "\033[0m", line) + "\033[0m"

    def _write(self, lines):
        with self._lock:
            if self._live_shown:
                self.stream.write("\r\033[K")
                self._live_shown = False
            style = ""
            for line in lines:      # a style goes on where the text does
                marks = _MARK.findall(style + line)
                self.stream.write(self._styled(style + line) + "\n")
                style = marks[-1] if marks and marks[-1] in _MARKS else ""
            self.stream.flush()

    def say(self, text=""):
        """Lines; one that is too long goes on below, as far in as it begins."""
        lines = []
        for line in self.plain(harmless(text)).split("\n"):
            lines += wrap(line, self.width, min(len(line) - len(line.lstrip(" ")), self.width // 2))
        self._write(lines)

    def lines(self, text):
        """What another program said, line by line, however long they are."""
        self._write(self.plain(harmless(text)).split("\n"))

    def title(self, text):
        self.say()
        self.say(self.paint("bold", text))

    def row(self, label, text, label_width=LABEL):
        """A label and what is to be said about it; too long a text goes on below its beginning."""
        label = cut(self.plain(harmless(label)), label_width)
        label += " " * (label_width - columns(label))
        first, *more = wrap(self.plain(harmless(text)), self.width - label_width - 3)
        self._write([f"  {self.paint('dim', label)} {first}".rstrip(),
                     *(" " * (label_width + 3) + line for line in more)])

    def room(self, label_width=LABEL):
        """Columns that a row has for its text."""
        return self.width - label_width - 3

    def progress(self, label, text):
        """A line that is overwritten; nothing at all where nobody watches. It never reaches the last column, where
        terminals differ."""
        if not self.live:
            return
        label, text = (self.plain(harmless(part).replace("\n", " ")) for part in (label, text))
        label, text = cut(label, LABEL), cut(text, self.room() - 1)
        with self._lock:
            self.stream.write("\r\033[K" + self._styled(f"  {self.paint('dim', f'{label:<{LABEL}}')} {text}"))
            self.stream.flush()
            self._live_shown = True


def bar(fraction, width):
    """A bar in eighths of a character."""
    eighths = round(max(0.0, min(1.0, fraction)) * width * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (EIGHTHS[rest] if rest else "")).ljust(width)
