#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What demo, check and the other programs of scripts/ print: it is harmless, it fits, it is one sentence when all goes wrong."""

import fcntl
import io
import os
import pty
import re
import select
import struct
import subprocess
import sys
import tempfile
import termios
import unittest
from pathlib import Path

from tree import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
from godwit_tools import SBIN, notes, with_sbin  # noqa: E402
from godwit_tools.foreign_apt import why  # noqa: E402
from godwit_tools.table import Column, Table  # noqa: E402
from godwit_tools.terminal import Terminal, columns, harmless, wrap  # noqa: E402

# Of a guest that would clear the screen, ask for the cursor's place, set the title, turn the direction, ring.
HOSTILE = "a\033[2J\033[6nb\x9b6nc\033]0;title\ad\u202ee\rf\x7f\ufdd0g"
SGR = re.compile(r"\033\[\d+m")


class FakeTty(io.TextIOWrapper):
    def __init__(self, encoding="utf-8"):
        super().__init__(io.BytesIO(), encoding)

    def isatty(self):
        return True

    def text(self):
        self.flush()
        return self.buffer.getvalue().decode(self.encoding)


class FixedTerminal(Terminal):
    width = 60


def on_pty(code, environment=(), columns_=80):
    """What a Python program shows on a terminal that answers as xterm does, and what is then left in its input."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 24, columns_, 0, 0))
    settings = {**os.environ, "TERM": "xterm", "PYTHONPATH": str(ROOT / "scripts"), **dict(environment)}
    settings.pop("NO_COLOR", None)
    process = subprocess.Popen([sys.executable, "-B", "-X", "utf8", "-c", code], stdin=slave, stdout=slave, stderr=slave, env=settings)
    shown = b""
    while True:
        ended = process.poll() is not None
        while select.select([master], [], [], 0.05)[0]:
            piece = os.read(master, 65536)
            for _ in re.findall(rb"\033\[6n|\x9b6n|\xc2\x9b6n", piece):
                os.write(master, b"\033[24;80R")
            shown += piece
        if ended:
            break
    waiting = struct.unpack("i", fcntl.ioctl(slave, termios.FIONREAD, b"\0\0\0\0"))[0]
    mode = termios.tcgetattr(slave)
    mode[3] &= ~termios.ICANON
    termios.tcsetattr(slave, termios.TCSANOW, mode)
    waiting = max(waiting, struct.unpack("i", fcntl.ioctl(slave, termios.FIONREAD, b"\0\0\0\0"))[0])
    os.close(slave)
    os.close(master)
    return shown.decode(), waiting


class WhatAGuestSays(unittest.TestCase):
    def test_control_characters_are_shown_not_sent(self):
        self.assertEqual(r"a^[[2J^[[6nb\x9b6nc^[]0;title^Gd\u202ee^Mf^?", harmless(HOSTILE)[:-2])
        self.assertEqual("one\ntwo", harmless("one\ntwo"))

    def test_no_way_to_the_terminal_lets_it_through(self):
        terminal = FixedTerminal(FakeTty())
        terminal.live = terminal.colours = True
        for way in (terminal.say, terminal.title, terminal.lines, lambda t: terminal.row("x", t), lambda t: terminal.row(t, "x"),
                    lambda t: terminal.progress("x", t), lambda t: terminal.progress(t, "x"),
                    lambda t: terminal.say(terminal.paint("red", t))):
            before = len(terminal.stream.text())
            way(HOSTILE)
            left = SGR.sub("", terminal.stream.text()[before:]).replace("\r\033[K", "").replace("\n", "")
            self.assertEqual(left, harmless(left))

    def test_a_terminal_that_answers_is_asked_nothing(self):
        code = (f"from godwit_tools.terminal import Terminal\nt = Terminal()\nt.progress('booting', {HOSTILE!r})\n"
                f"t.row('x', {HOSTILE!r})\nt.say({HOSTILE!r})\n")
        shown, waiting = on_pty(code)
        self.assertIn("^[[6n", shown)
        self.assertEqual(0, waiting)

    def test_the_terminal_of_these_tests_answers(self):
        self.assertGreater(on_pty("import sys, time; sys.stdout.write('\\033[6n'); sys.stdout.flush(); time.sleep(0.5)")[1], 0)


class Layout(unittest.TestCase):
    def test_no_line_is_wider_than_the_terminal(self):
        terminal = FixedTerminal(FakeTty())
        words = "a sentence with some words, one of them " + "very" * 30 + " long, and → signs … of ≤ 3 kinds"
        terminal.row("label", words)
        terminal.say("    " + words)
        terminal.row("a label that is too long", words, 18)
        terminal.row("", terminal.paint("red", words))
        lines = SGR.sub("", terminal.stream.text()).splitlines()
        self.assertEqual([], [line for line in lines if columns(line) > 60])
        self.assertEqual(4, sum(line.count("sentence") for line in lines))

    def test_words_stay_whole_and_what_goes_on_is_indented(self):
        self.assertEqual(["one two", "  three", "  four"], wrap("one two three four", 7, 2))
        self.assertEqual(["", ], wrap("", 10))
        self.assertEqual(["  kept   apart"], wrap("  kept   apart", 20))

    def test_a_table_drops_the_columns_of_least_rank(self):
        layout = [Column("way", 30), Column("first to go", 20, rank=2), Column("next", 20, rank=1)]
        self.assertEqual([0], Table(FixedTerminal(FakeTty()), "x", layout).shown)
        wide = FixedTerminal(FakeTty())
        wide.width = 80
        self.assertEqual([0, 2], Table(wide, "x", layout).shown)

    def test_a_pipe_gets_eighty_columns_without_colours(self):
        stream = io.TextIOWrapper(io.BytesIO(), "utf-8")
        terminal = Terminal(stream)
        terminal.progress("x", "nobody sees this")
        terminal.row("x", terminal.paint("red", "word " * 40))
        stream.flush()
        text = stream.buffer.getvalue().decode()
        self.assertNotIn("\033", text)
        self.assertNotIn("nobody", text)
        self.assertEqual({True}, {70 < len(line) <= 80 for line in text.splitlines()[:-1]})

    def test_an_encoding_without_bars_gets_other_signs(self):
        for encoding in ("ascii", "iso-8859-1"):
            stream = FakeTty(encoding)
            FixedTerminal(stream).row("x", "west → east ≤ 1 ms … ██▌ ╷░ Ж")
            self.assertIn("west -> east <= 1 ms ... ##= |- ?", stream.text())
            painted = FixedTerminal(stream)
            painted.colours = True
            painted.say(painted.paint("red", "all → good"))
            self.assertIn("\033[31mall -> good\033[0m", stream.text())


class Troubles(unittest.TestCase):
    """Every program says one sentence and ends with 1 where it cannot work."""

    GUEST_IMAGE = [ROOT / "scripts" / "guest-image", "--print"]

    def sentence(self, command, status=1, **environment):
        done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, timeout=60,
                              stdin=subprocess.DEVNULL, check=False)
        said = done.stderr.decode(errors="replace")
        self.assertEqual(status, done.returncode, said)
        self.assertEqual(1, len(said.strip().splitlines()), said)
        self.assertNotIn("Traceback", said)
        return said

    def test_a_cache_at_a_file_is_named_with_the_remedy(self):
        with tempfile.NamedTemporaryFile() as file:
            said = self.sentence(self.GUEST_IMAGE, XDG_CACHE_HOME=file.name)
            self.assertIn(file.name, said)
            self.assertIn("XDG_CACHE_HOME", said)

    def test_a_place_too_deep_for_sockets_is_refused(self):
        with tempfile.TemporaryDirectory() as place:
            deep = Path(place, "d" * 90)
            deep.mkdir()
            code = "from godwit_tools import front, paths\nfront.run('x', lambda: paths.temporary_dir('x-'))"
            said = self.sentence([sys.executable, "-B", "-c", code], PYTHONPATH=str(ROOT / "scripts"), TMPDIR=str(deep))
            self.assertIn("TMPDIR", said)
            self.assertEqual([], list(deep.iterdir()))

    def run_main(self, body, **environment):
        code = f"import errno\nfrom godwit_tools import front\ndef main():\n    {body}\nfront.run('x', main)"
        return self.sentence([sys.executable, "-B", "-c", code], PYTHONPATH=str(ROOT / "scripts"), **environment)

    def test_a_fault_is_one_sentence_and_its_traceback_is_in_a_log(self):
        said = self.run_main("return {}['key']")
        log = re.search(r"the traceback is in (\S+)", said)[1]
        self.assertIn("KeyError", Path(log).read_text())
        os.unlink(log)

    def test_a_full_disk_and_a_missing_program_are_named(self):
        self.assertIn("no space left", self.run_main("raise OSError(errno.ENOSPC, '')"))
        self.assertIn("there is no program 'no-such'", self.run_main("raise FileNotFoundError(2, '', 'no-such')"))

    def test_no_locale_makes_output_or_files_fail(self):
        with tempfile.TemporaryDirectory() as place:
            program = Path(place, "program.py")
            program.write_text("from godwit_tools import front\ndef main():\n    print('→ ü')\n    from pathlib import Path\n"
                               f"    Path({place!r}, 'ü').write_text('→')\nfront.run('x', main)\n", encoding="utf-8")
            for settings in ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"PYTHONIOENCODING": "ascii"},
                             {"PYTHONIOENCODING": "iso-8859-1", "PYTHONUTF8": "0", "LC_ALL": "C"}):
                done = subprocess.run([sys.executable, "-B", program], capture_output=True, check=False,
                                      env={**os.environ, "PYTHONPATH": str(ROOT / "scripts"), **settings})
                self.assertEqual(0, done.returncode, done.stderr)
                self.assertTrue(done.stdout.startswith(b"->"), done.stdout)
                self.assertEqual("→", Path(place, "ü").read_text(encoding="utf-8"))


class Programs(unittest.TestCase):
    def test_sbin_is_searched_last(self):
        self.assertEqual("/usr/bin:/bin:" + ":".join(SBIN), with_sbin("/usr/bin:/bin"))
        self.assertEqual("/sbin:/bin:/usr/local/sbin:/usr/sbin", with_sbin("/sbin:/bin"))

    def test_a_users_path_finds_what_is_in_sbin(self):
        code = "import godwit_tools, os\nprint(os.environ['PATH'])"
        done = subprocess.run([sys.executable, "-B", "-c", code], capture_output=True, text=True, check=True,
                              env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT / "scripts")})
        self.assertEqual("/usr/bin:/bin:" + ":".join(SBIN), done.stdout.strip())


class Apt(unittest.TestCase):
    def test_the_cause_of_a_failure_is_told(self):
        update = "Err:1 http://mirror.invalid/x\nW: Failed: Temporary failure resolving 'mirror.invalid'\nE: Some index files failed."
        self.assertIn("reached (Temporary failure resolving 'mirror.invalid'): the first run needs a network", why("apt-get update", update))
        self.assertIn("no space left", why("apt-get update", "W: x No space left on device\nE: Some index files failed."))
        self.assertEqual("apt-get download failed: it is no good", why("apt-get download", "W: x\nE: it is no good\n"))


class Notes(unittest.TestCase):
    def test_cases_with_one_reason_are_one_line(self):
        found = notes.by_reason([["a", "x", "no tea"], ["a", "y", "no tea"], ["b", "", "no tea"], ["c", "z", "no cup; no spoon"]])
        self.assertEqual([("no tea", 3), ("no cup; no spoon", 1)], [(reason, names.total()) for reason, names in found.items()])

    def test_names_are_cut_and_all_are_in_the_log(self):
        terminal = FixedTerminal(FakeTty())
        with tempfile.TemporaryDirectory() as place:
            log = Path(place, "notes.log")
            notes.show(terminal, [[f"a-program-{number}", "case", "no tea"] for number in range(30)], log)
            self.assertEqual(30, len(log.read_text().splitlines()))
        lines = SGR.sub("", terminal.stream.text()).splitlines()
        self.assertIn("  30 cases: no tea", lines)
        self.assertTrue(any(line.endswith("…") for line in lines))
        self.assertLessEqual(max(columns(line) for line in lines if place not in line), 60)
