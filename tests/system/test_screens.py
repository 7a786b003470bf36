# SPDX-License-Identifier: Apache-2.0
"""What godwit's screens look like: width, characters, colours, and whose text may be on them."""

import json
import os
import random
import re
import socket
import subprocess
import threading
import unicodedata
import xml.etree.ElementTree

import pytest
from cli_place import GODWIT, Cli, PretendedMachine, Terminal, cli  # noqa: F401 (a fixture)

WIDTHS = (60, 80, 132)
# The sequences that godwit itself may write: dim and plain, and the line that is written anew.
OWN_SEQUENCES = re.compile(r"\x1b\[[02]m|\r\x1b\[K")
HOSTILE = ["\x1b[2J\x1b[6n", "a\nb\rc\td\x07\x7f", "\x9b31m\x85", "\u202egpj.exe\u2069", "\u200b\ufeff\u2028",
           "<script>alert(1)</script> & \"'", "\U000e0041\ue000", "日本語 é"]
SESSION = "0123456789abcdef0123456789abcdef"


def lines_of(screen):
    """The lines of a screen as somebody sees them, one for each state of a line that is written anew."""
    return re.split(r"\r\x1b\[K|\r\n", re.sub(r"\x1b\[[02]m", "", screen))


def columns_of(line):
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line)


def assert_fits(screen, columns, command=""):
    wide = [line for line in lines_of(screen) if columns_of(line) > columns]
    assert not wide, f"{command} at {columns} columns: {wide}"


def assert_harmless(text):
    text = OWN_SEQUENCES.sub("", text).replace("\r\n", "\n").replace("\n", "")
    bad = [c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Co", "Cn", "Cs", "Zl", "Zp") or c == "\ufffd"]
    assert not bad, f"{bad!r} in {text!r}"


def flight_log(**fields):
    """The document of a flight with all that explain has words for."""
    times = {"at_ns": 5_000_000, "last_ns": 7_000_000}
    made = {
        "format": "godwit-flight-log", "version": 1, "session": SESSION, "role": "destination",
        "started_ms": 1_700_000_000_000, "number": 3, "machine": "web", "uri": "tcp:192.0.2.1:4444", "host": "beta",
        "peer_host": "alpha", "ram_bytes": 1 << 29,
        "parameters": [{"at_ns": 0, "downtime_limit_ms": 100, "max_bandwidth": 700_000_000}],
        "phases": [{"at_ns": 0, "name": "setup"}, {"at_ns": 40_000_000, "name": "active"}],
        "events": [{"at_ns": 90_000_000, "text": "rehearsal: 21423 bytes of device state, saved in 1300 us, loaded in 2300 us"}],
        "rounds": [{"number": n, "started_ns": n * 10**8, "duration_ns": 10**8, "wire_bytes": 3 * 10**8 // n,
                    "raw_pages": 70_000 // n, "zero_pages": 60_000, "bandwidth": 7 * 10**8, "dirty_rate": 30_000,
                    "dirty_pages": 130_000, "remaining_bytes": 10**8 // n} for n in range(1, 30)],
        "decisions": [times | {"count": 3, "action": "switch", "reason": "switch: pause of 13 ms expected (4.4 ms for "
                               "3.1 MB of memory, 8.2 ms for state and handoff), limit 100 ms; least memory so far"}],
        "pause": {"began_ns": 10**9, "pause_us": 15_600, "budget_us": 100_000, "predicted_us": 17_000,
                  "clock_error_us": 80, "parts": {"stop_us": 400, "ram_us": 4700, "save_us": 1300, "commit_us": 5200}},
        "networks": [{"name": "lan0", "last_out_ns": 990_000_000, "first_out_ns": 1_020_000_000, "waited": 3}],
        "totals": {"total_ms": 1080, "bytes_sent": 451_000_000, "pages_normal": 110_000, "pages_zero": 65_536},
        "verdict": {"at_ns": 1_100_000_000, "status": "completed", "phase": "completed"},
    }
    return made | fields


def put_flight(directory, **fields):
    folder = directory / "flights"
    folder.mkdir(parents=True, exist_ok=True)
    document = flight_log(**fields)
    (folder / f"{document['session']}.json").write_text(json.dumps(document))


FAILED = {"status": "failed", "at_ns": 700_000_000, "phase": "device", "side": "destination", "code": "busy",
          "sentence": "cannot open disk '/var/lib/machines/web/root-of-the-web-server.img': it is in use by process 4711",
          "next": "release the disk on beta, then migrate again"}


@pytest.fixture
def places(tmp_path):
    """A run directory with a machine that answers, one that has ended, and flights of both kinds."""
    made = Cli(tmp_path)
    running = {
        "name": "web", "status": "running", "machine": "riscv-virt-1", "cpus": 4, "memory-bytes": 1 << 30, "pid": 4711,
        "cpu-model": "x86-64-v2", "dirty-tracker": "bitmap", "incoming": "tcp:192.0.2.1:4444",
        "disks": [{"path": "/var/lib/machines/web/root-of-the-web-server-in-the-cellar.img", "read-only": True}],
        "nets": [{"name": "lan0", "network": "user", "mac": "52:54:00:12:34:56", "link-up": True,
                  "connections-stay": "this passt does not hand them over and has no CAP_NET_ADMIN either"}]}
    move = {"status": "failed", "error-desc": FAILED["sentence"], "ram": {"total": 1 << 30, "remaining": 1 << 20},
            "x-godwit": {"direction": "outgoing", "uri": "tcp:192.0.2.1:4444", "round": 3, "bandwidth": 7e8,
                         "predicted-pause-us": 12345, "verdict": FAILED["sentence"]}}
    server = PretendedMachine(made.run_dir, "web", {"x-godwit-query-machine": {"return": running},
                                                    "query-migrate": {"return": move}})
    put_flight(made.run_dir / "web")
    put_flight(made.run_dir / "web", session="f" * 32, verdict=FAILED, started_ms=1_700_000_100_000)
    ended = made.run_dir / "a-machine-with-a-name-of-some-length"
    ended.mkdir()
    (ended / "status.json").write_text(json.dumps({"verdict": "the machine moved to tcp:192.0.2.1:4444, where it runs"}))
    (ended / "owner.json").write_text(json.dumps({"state": "released", "epoch": 3, "peer": "tcp:192.0.2.1:4444"}))
    yield made
    server.close()


VERBS = ["run", "receive", "migrate", "list", "status", "console", "stop", "remove", "log", "explain", "reclaim", "cpu"]
COMMANDS = [
    (), ("--help",), ("--version",), *((verb, "--help") for verb in VERBS), ("list",), ("list", "--json", "x"),
    ("status", "web"), ("status", "a-machine-with-a-name-of-some-length"), ("status", "nobody"), ("log", "web"),
    ("log", "a-machine-with-a-name-of-some-length"), ("explain", "web"), ("explain", "web", "0123"),
    ("explain", "web", "eeee"), ("migrate", "web", "tcp:192.0.2.1:4444"), ("migrate", "web"), ("cpu",),
    ("cpu", "--features"), ("cpu", "--check", "x86-64-v9"), ("stop", "nobody"), ("reclaim", "web"),
    ("run", "--kernal", "x"), ("runn",), ("console", "web"), ("--run-dri", "x"),
    ("run", "--name", "x", "--kernel", "/no/such/file/in/a/directory/with/quite/a/long/name/Image", "--detach"),
]


@pytest.mark.parametrize("columns", WIDTHS)
def test_no_line_is_wider_than_the_terminal(places, columns):
    for command in COMMANDS:
        terminal = Terminal(places.command(*command), columns)
        terminal.exit_code()
        assert terminal.text.strip(), command
        assert_fits(terminal.text, columns, command)
        assert_harmless(terminal.text)


def screen(places, columns, *command, **environment):
    terminal = Terminal(places.command(*command), columns, **environment)
    terminal.exit_code()
    return terminal.text


@pytest.mark.parametrize("command", [("run", "--help"), ("explain", "web"), ("status", "web")], ids=" ".join)
def test_more_room_is_used(places, command):
    narrow, wide = (screen(places, columns, *command) for columns in (60, 132))
    assert len(lines_of(wide)) < len(lines_of(narrow))
    assert max(map(columns_of, lines_of(wide))) > 80


@pytest.mark.parametrize("columns", WIDTHS)
def test_the_help_of_the_process_fits_too(columns):
    terminal = Terminal([str(GODWIT.parent / "godwit-vmm"), "--help"], columns)
    assert terminal.exit_code() == 0
    assert "--memory-backing" in terminal.text
    assert_fits(terminal.text, columns)


def test_help_is_a_command_as_well(places):
    assert places("help") == places("--help")
    for verb in VERBS:
        assert places("help", verb) == places(verb, "--help")
    places("help", "migarte", code=2)
    assert "did you mean 'migrate'" in places.errors
    places("help", "run", "stop", code=2)


def test_columns_says_more_than_the_terminal(places):
    assert screen(places, 132, "status", "web", COLUMNS="60") == screen(places, 60, "status", "web")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_in_a_pipe_the_text_is_always_the_same(places, command):
    def piped(**environment):
        kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR", "TERM")}
        done = subprocess.run(places.command(*command), capture_output=True, stdin=subprocess.DEVNULL,
                              env=kept | {"LC_ALL": "C.UTF-8"} | environment)
        return done.returncode, done.stdout, done.stderr
    plain = piped()
    assert b"\x1b" not in plain[1] + plain[2]
    assert piped(TERM="xterm") == piped(TERM="dumb") == piped(NO_COLOR="1") == plain
    if "--help" not in command and command not in ((), ("explain", "web"), ("explain", "web", "0123")):
        assert piped(COLUMNS="40") == plain  # only prose is laid out in a pipe
    assert_harmless((plain[1] + plain[2]).decode())


def test_a_row_is_a_line_in_a_pipe(places):
    assert len(places("list").splitlines()) == 3
    assert len(places("log", "web").splitlines()) == 3


def test_what_to_do_next_is_for_persons(places, tmp_path):
    empty = Cli(tmp_path / "empty")
    assert "\x1b[2m'godwit run --help'" in screen(empty, 80, "list")
    assert "\r\n'godwit run --help'" in screen(empty, 80, "list", NO_COLOR="1")
    assert "\r\n'godwit run --help'" in screen(empty, 80, "list", TERM="dumb")
    empty("list")
    assert empty.errors == ""
    assert "--svg FILE" in screen(places, 80, "explain", "web")


def test_a_dumb_terminal_gets_lines_instead_of_a_line_that_changes(places):
    move = ("migrate", "web", "tcp:192.0.2.1:4444")
    assert "\r\x1b[K" in screen(places, 80, *move)
    dumb = screen(places, 80, *move, TERM="dumb")
    assert "\x1b" not in dumb and "round 3, " in dumb


@pytest.mark.parametrize("predicted_us, decision, shown, hidden", [
    (113_500_000, "go on: 590 MiB left at 5.2 MiB/s", "about 113 s to go", "pause"),
    (900_000, "go on: 590 MiB left at 5.2 MiB/s", "pause ≈ 900 ms", "to go"),
    (113_500_000, "go on: the guest writes more, waiting for a quieter moment", "waiting for a quieter moment", "to go"),
    (900_000, "go on: state alone takes 200 ms; a longer budget would help", "a longer budget would help, pause ≈ 900 ms", "to go"),
])
def test_the_progress_tells_a_pause_only_when_it_is_one(tmp_path, predicted_us, decision, shown, hidden):
    """The pause that a switch would cost now says nothing while memory is still on its way."""
    places = Cli(tmp_path)
    move = {"status": "completed", "ram": {"total": 1 << 30, "remaining": 590 << 20, "dirty-pages-rate": 0, "page-size": 4096},
            "x-godwit": {"round": 1, "bandwidth": 590 * (1 << 20) / 113, "predicted-pause-us": predicted_us, "decision": decision}}
    server = PretendedMachine(places.run_dir, "web", {"query-migrate": {"return": move},
                                                      "query-migrate-parameters": {"return": {"downtime-limit": 100}}})
    printed = places("migrate", "web", "tcp:192.0.2.1:4444", "--keep").splitlines()[0]
    server.close()
    assert shown in printed and hidden not in printed, printed


@pytest.fixture(scope="module")
def iso_locale(tmp_path_factory):
    """LOCPATH with en_US.ISO-8859-1, or None where the sources of locales are not installed."""
    folder = tmp_path_factory.mktemp("locale")
    try:
        subprocess.run(["localedef", "-i", "en_US", "-f", "ISO-8859-1", folder / "en_US.ISO-8859-1"], check=True,
                       capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return str(folder)


@pytest.mark.parametrize("locale", ["C", "POSIX", "en_US.ISO-8859-1"])
def test_a_locale_without_utf8_gets_ascii(places, locale, iso_locale):
    environment = {"LC_ALL": locale} | ({"LOCPATH": iso_locale} if iso_locale else {})
    name = "日本.img"
    (places.run_dir / "web" / "flights" / f"{SESSION}.json").write_text(
        json.dumps(flight_log(uri=f"unix:/{name}"), ensure_ascii=False))
    told = {}
    for charset in environment, {"LC_ALL": "C.UTF-8"}:
        for columns in (60, 80):
            terminal = Terminal(places.command("explain", "web", "0123"), columns, **charset)
            terminal.exit_code()
            assert_fits(terminal.text, columns)
            told[charset["LC_ALL"], columns] = terminal.text
    assert told[locale, 80].isascii() and "####" in told[locale, 80] and "????.img" in told[locale, 80]
    assert "█" in told["C.UTF-8", 80] and name in told["C.UTF-8", 80]
    for columns in (60, 80):
        assert len(lines_of(told[locale, columns])) == len(lines_of(told["C.UTF-8", columns]))


def test_files_are_utf8_in_any_locale(places, tmp_path):
    for locale in "C", "C.UTF-8":
        subprocess.run(places.command("explain", "web", "0123", "--svg", tmp_path / locale), check=True,
                       capture_output=True, env=os.environ | {"LC_ALL": locale})
    assert (tmp_path / "C").read_bytes() == (tmp_path / "C.UTF-8").read_bytes()
    assert "alpha → beta" in (tmp_path / "C").read_text("utf-8")


# Text of others


def pretend(places, name, words):
    """A machine that answers and one that has ended, all of whose words are these."""
    text = words[:60]
    machine = {"name": words, "status": words, "machine": words, "cpus": 1, "memory-bytes": 1, "pid": 1,
               "cpu-model": words, "dirty-tracker": words, "incoming": words, "disks": [{"path": words}],
               "nets": [{"name": words, "network": words, "mac": words, "connections-stay": words}]}
    move = {"status": "failed", "error-desc": words, "ram": {"total": 4096, "remaining": 0},
            "x-godwit": {"direction": words, "uri": words, "verdict": words, "round": 1,
                         "broken-networks": [{"name": words, "why": words}]}}
    server = PretendedMachine(places.run_dir, name, {
        "x-godwit-query-machine": {"return": machine}, "query-migrate": {"return": move},
        "system_powerdown": {"error": {"class": "GenericError", "desc": words}},
        "x-godwit-reclaim": {"error": {"class": "GenericError", "desc": words}}})
    gone = places.run_dir / f"{name}-gone"
    for folder in places.run_dir / name, gone:
        (folder / "status.json").parent.mkdir(exist_ok=True)
        (folder / "status.json").write_text(json.dumps({"verdict": words}))
        (folder / "owner.json").write_text(json.dumps({"state": "owner", "epoch": 1, "peer": words}))
        put_flight(folder, machine=text[:15], uri=text, host=text[:30], peer_host=text[:30], session="a" * 32,
                   events=[{"at_ns": 1, "text": text}], phases=[{"at_ns": 1, "name": text[:5]}],
                   verdict={"status": "failed", "phase": text[:5], "sentence": text, "next": text})
    return server


def commands_about(name):
    gone = f"{name}-gone"
    return [("list",), ("list", "--json"), ("status", name), ("status", gone), ("status", name, "--json"),
            ("migrate", name, "tcp:192.0.2.1:1"), ("migrate", name, "tcp:192.0.2.1:1", "--json"), ("stop", name),
            ("stop", gone), ("reclaim", name, "--fenced"), ("log", name), ("log", gone, "--json"), ("explain", name),
            ("explain", gone), ("console", name)]


def assert_all_harmless(places, name, columns=80, **environment):
    for command in commands_about(name):
        text = screen(places, columns, *command, **environment)
        assert_harmless(text)
        if "--json" not in command:
            assert_fits(text, columns, command)


@pytest.mark.parametrize("words", HOSTILE, ids=ascii)
def test_hostile_text_does_not_reach_the_terminal(tmp_path, words):
    places = Cli(tmp_path)
    server = pretend(places, "web", words)
    assert_all_harmless(places, "web")
    assert_all_harmless(places, "web", 60, LC_ALL="C")
    server.close()


@pytest.mark.parametrize("words", HOSTILE, ids=ascii)
def test_hostile_arguments_do_not_reach_the_terminal(tmp_path, words):
    places = Cli(tmp_path)
    for command in ((words,), ("--" + words,), ("run", "--" + words), ("run", "--name", words, "--kernel", "x"),
                    ("status", words), ("migrate", "a", "b", "--deadline", words), ("cpu", "--check", words + ".json"),
                    ("receive", "--name", "a", words), ("stop", "-" + words)):
        assert_harmless(screen(places, 80, *command))


@pytest.mark.parametrize("words", HOSTILE, ids=ascii)
def test_a_picture_holds_no_foreign_markup_and_no_controls(tmp_path, words):
    places = Cli(tmp_path)
    server = pretend(places, "web", words)
    terminal = Terminal(places.command("explain", "web", "--svg", tmp_path / "flight.svg"))
    terminal.exit_code()
    server.close()
    # A log with C0 controls is none (docs/flight-log.md).
    assert (tmp_path / "flight.svg").exists() == all(ord(c) >= 0x20 and c != "\x7f" for c in words)
    if (tmp_path / "flight.svg").exists():
        text = (tmp_path / "flight.svg").read_text("utf-8")
        assert_harmless(text)
        root = xml.etree.ElementTree.fromstring(text)
        tags = {element.tag.rpartition("}")[2] for element in root.iter()}
        assert tags <= {"svg", "style", "text", "rect", "line", "polyline"}


def test_random_text_does_not_reach_the_terminal(tmp_path):
    chance = random.Random(1)
    pieces = HOSTILE + ["word", " ", "\x1b]0;title\x07", "\x1bP", "\xff", "\ud7ff"]
    for i in range(12):
        places = Cli(tmp_path / str(i))
        words = "".join(chance.choice(pieces) if chance.random() < 0.6 else chr(chance.randrange(1, 0xd7ff))
                        for _ in range(chance.randrange(1, 40)))
        server = pretend(places, "web", words)
        for command in commands_about("web"):
            text = screen(places, chance.choice(WIDTHS), *command)
            text = "".join(c for c in text if ord(c) < 0x20 or unicodedata.category(c) != "Cn")  # later than our Unicode
            assert_harmless(text)
        server.close()


# The console is the guest's terminal


class AnsweringTerminal(Terminal):
    """Answers to the questions for the cursor's place and for its state, as xterm does."""

    def answer(self):
        for question in re.findall(r"\x1b\[[56]n|\x1b\[c", self.text[getattr(self, "seen", 0):]):
            self.type({"5": "\x1b[0n", "6": "\x1b[24;80R", "c": "\x1b[?62;c"}[question[2]])
        self.seen = len(self.text)


def console_that_prints(folder, text):
    folder.mkdir(parents=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "console"))
    listener.listen()

    def serve():
        with listener.accept()[0] as client:
            client.sendall(text)
    threading.Thread(target=serve, daemon=True).start()
    return listener


LEFT_OVER = "stty raw -echo min 0 time 3; printf '<left:'; dd bs=100 count=1 2>/dev/null | od -An -c; printf '>'"


def test_the_end_of_a_console_gives_the_terminal_back(tmp_path):
    places = Cli(tmp_path)
    listener = console_that_prints(places.run_dir / "web", b"guest# \x1b[?1049h\x1b[?1000h\x1b[?2004h\x1b[?25l\x1b[31m\x1b[6n\x1b[c")
    console = " ".join(places.command("console", "web"))
    terminal = AnsweringTerminal(["/bin/sh", "-c", f"{console}; {LEFT_OVER}"])
    assert terminal.exit_code() == 0
    listener.close()
    assert "\x1b[6n" in terminal.text  # raw: the guest's own
    for sequence in "\x1b[0m", "\x1b[?25h", "\x1b[?2004l", "\x1b[?1000l", "\x1b[?1003l", "\x1b[?1006l", "\x1b[?1047l":
        assert sequence in terminal.text.partition("\x1b[6n")[2], sequence
    assert re.search(r"<left:\s*>", terminal.text), terminal.text
    assert "\r\ngodwit: machine 'web':" in terminal.text  # not glued to the guest's prompt


def test_a_guest_that_steers_nothing_costs_no_question(tmp_path):
    places = Cli(tmp_path)
    listener = console_that_prints(places.run_dir / "web", b"plain text\n")
    terminal = Terminal(places.command("console", "web"))
    assert terminal.exit_code() == 0
    listener.close()
    assert "\x1b" not in terminal.text


# Wrong use


@pytest.mark.parametrize("arguments, words", [
    (("run", "--kernal", "x"), "did you mean '--kernel'"), (("list", "--jsno"), "did you mean '--json'"),
    (("cpu", "--comon"), "did you mean '--common'"), (("--run-dri", "x", "list"), "did you mean '--run-dir'"),
    (("stop", "a", "--force=now"), "takes no value"), (("run", "--name"), "needs a value"),
    (("run", "--d", "x"), "more than one option"), (("log", "-x"), "no option '-x'"),
])
def test_wrong_use_names_the_nearest_and_the_usage(tmp_path, arguments, words):
    places = Cli(tmp_path)
    places(*arguments, code=2)
    assert words in places.errors
    if not arguments[0].startswith("-"):
        assert f"usage: godwit {arguments[0]}" in places.errors


# Manual pages


@pytest.mark.parametrize("columns", (60, 80))
@pytest.mark.parametrize("page", ["godwit.1", "godwit-cpu.1", "godwit-vmm.1"])
def test_a_manual_page_fits_without_a_warning(page, columns):
    source = GODWIT.parents[1] / "docs" / "man" / page
    try:
        done = subprocess.run(["man", "--warnings=w", "-l", source], capture_output=True, text=True,
                              env=os.environ | {"MANWIDTH": str(columns), "LC_ALL": "C.UTF-8"})
    except FileNotFoundError:
        pytest.skip("there is no man to set manual pages with")
    assert done.stderr == ""
    text = re.sub(r".\x08", "", done.stdout)
    assert [line for line in text.splitlines() if len(line) > columns] == []
