# SPDX-License-Identifier: Apache-2.0
"""
Boots Debian's stock kernel with 512 MiB and an ext4 disk, gives it work (a counter, a memory writer, a disk worker,
checksums over files), and moves it there and back twice between two machine processes while it works. A client outside
asks the guest's web server all the time, where this host permits a network for that. Then it asks
the guest, the client and both hosts what happened. The machine is microvm (x86-64, KVM) where this host's KVM runs stock kernels,
riscv-virt (a CPU in software) elsewhere.
"""

import signal

signal.signal(signal.SIGINT, signal.SIG_DFL)     # until front.run(): no traceback while modules load

import argparse
import contextlib
import json
import math
import os
import re
import shlex
import shutil
import subprocess
import threading
import time
from pathlib import Path

from check import build_gcc
from godwit_tools import architectures, front, netns
from godwit_tools.console import Console, counter_problems
from godwit_tools.foreign_apt import FetchError
from godwit_tools.guest_image import prepare
from godwit_tools.kvm import host_kvm
from godwit_tools.machine import Guest, Host, MachineFailed
from godwit_tools.netns import CLIENT, GUEST4, TAP, Network, NotPermitted, Probe
from godwit_tools.paths import TREE, Unusable, build_dir, cache_dir, require_build, temporary_dir
from godwit_tools.qmp import QmpError
from godwit_tools.rootless import Refused, become_root, is_rootless
from godwit_tools.steps import Commands, Step, StepFailed
from godwit_tools.table import Column, Table
from godwit_tools.terminal import Terminal, bar

HANDOFF_WINDOW_S = 0.5      # how long before its end was seen a handoff may have been
ROUTE = ["west", "east", "west", "east", "west"]
NAME = "demo"
MEMORY = "512M"
MACHINES = {"microvm": "microvm, x86-64 under KVM", "riscv-virt": "riscv-virt, a CPU in software"}
WORK_BEFORE_S = 2
WORK_BETWEEN_S = 1.5
PARTS = ["stop", "ram", "save", "send", "load", "verify", "ready", "commit", "start"]
WEB_INTERVAL_MS = 10
WEB_STEPS_MS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]
STRIP_CELL_S, MOST_STRIP_CELLS = 0.05, 64
MOST_BAR = 24
MIGRATIONS = [Column("", 11, left=True), Column("time", 8, rank=2), Column("data", 9), Column("rounds", 6, rank=3),
              Column("pause", 9), Column("silence", 8)]
SLOWEST = [Column("pause", 9), Column("one connection", 9), Column("new ones", 9)]
FETCH = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())"    # minimal systems have no wget
NEXT = {
    "./demo --keep": "leaves the guest running: its console, its web server, its migrations' logs",
    "./check --quick": "builds everything and passes the unit tests; ./check is all of it",
    "README.md": "'By hand': run, receive, migrate and explain, in terminals of your own",
    "man docs/man/godwit.1": "every command and option",
}
FINAL_CHECKS = {
    "memory": r"memory: swept (\d+) pages, all good",
    "disk": r"disk: swept (\d+) pages, all good",
    "files": r"files: unmounted cleanly",
}


class DemoFailed(Exception):
    """One sentence for the user."""


def choose_architecture(terminal, machine):
    """The guest for the machine that was asked for, or for the best one that this host can run."""
    kvm = host_kvm()
    if machine is None:
        machine = "microvm" if kvm.runs_kernels else "riscv-virt"
        terminal.row("machine", MACHINES[machine] + ("" if kvm.runs_kernels else f", because {kvm.sentence}"))
    elif machine == "microvm" and not kvm.runs_kernels:
        raise DemoFailed(f"microvm cannot be had: {kvm.sentence}; ./demo --machine riscv-virt runs anywhere")
    else:
        terminal.row("machine", MACHINES[machine])
    return next(a for a in architectures.ALL.values() if a.machine == machine)


@contextlib.contextmanager
def followed(terminal, label, log):
    """Meanwhile the last line of a log is shown."""
    ended = threading.Event()

    def follow():
        while not ended.wait(0.2):
            lines = log.read_text(errors="replace").splitlines()[-1:]
            terminal.progress(label, lines[0] if lines else "meson and ninja …")
    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def build(terminal):
    began = time.monotonic()
    require_build()
    cache_dir()
    directory = TREE / "build" / "check"
    directory.mkdir(parents=True, exist_ok=True)
    commands = Commands(Step("demo-build", build_gcc, 900, ""), directory, terminal=terminal)
    try:
        with followed(terminal, "build", commands.log):
            build_gcc(commands)
    except StepFailed as error:
        raise DemoFailed(f"the build failed: {error}; {commands.log} tells more") from None
    terminal.row("build", f"build/godwit and build/godwit-vmm, {time.monotonic() - began:.1f} s")


def prepare_image(terminal, architecture):
    began = time.monotonic()
    image = prepare(architecture, say=lambda sentence: terminal.row("guest", sentence))
    terminal.row("guest", f"Debian's {image.architecture} kernel {image.version}, ready in {time.monotonic() - began:.1f} s")
    return image


class Migration:
    """One migration, as both ends and the console saw it."""

    def __init__(self, number, origin, target, info, ticks, handoff):
        self.number, self.origin, self.target = number, origin, target
        self.info, self.ticks = info, ticks
        self.silence = max(((a, b) for a, b in zip(ticks, ticks[1:])
                            if a <= handoff and b >= handoff - HANDOFF_WINDOW_S), key=lambda s: s[1] - s[0])
        self.gap_ms = (self.silence[1] - self.silence[0]) * 1000
        self.pause_ms = info["x-godwit"]["pause-us"] / 1000
        self.bytes = info["x-godwit"]["bytes-sent"]
        self.session = info["x-godwit"]["session"]
        self.seconds = info["total-time"] / 1000


def make_network(terminal):
    """Both machine processes have the same tap, as on one host: what comes in the pause waits in it. None where there
    can be no network."""
    try:
        if os.geteuid() != 0 and not netns.obstacle():
            become_root()
        network = Network(hosts=("host",))
    except (NotPermitted, Refused) as why:
        terminal.row("network", f"the demo does without: {why}")
        return None
    terminal.row("network", "a tap on a bridge, a switch and a client, in network namespaces of their own")
    return network


class Demo:
    """Always close() it."""

    def __init__(self, terminal, directory, image, network):
        self.terminal, self.directory = terminal, directory
        self.network = network
        self.web = None
        self.disk = directory / "disk.ext4"
        shutil.copy(image.disk, self.disk)
        self.console = Console(directory / "console")
        namespace = self.network and self.network.namespace("host")
        self.hosts = {name: Host(directory / name, namespace) for name in set(ROUTE)}
        self.guest = Guest(directory, image, self.console, name=NAME, memory=MEMORY, disk=self.disk,
                           nets=[f"tap:{TAP}"] if self.network else [],
                           append="godwit.run=demo" + (f" godwit.net={GUEST4}/24" if self.network else ""))
        self.image = image
        self.migrations = []
        self.table = None     # of them, once there is one

    # The guest's life

    def boot(self):
        began = time.monotonic()
        self.guest.boot(self.hosts[ROUTE[0]])
        self._follow("booting", "godwit: user space", 120)
        self.terminal.row("booted", f"{MEMORY}, one CPU, virtio disk, rng{' and net' if self.network else ''}: first user-space line after "
                                    f"{time.monotonic() - began:.1f} s")
        signs = [r"memory: \d+ visits", r"files: round \d+", r"disk: \d+ visits"]
        for sign in signs + (["web-server: listening"] if self.network else []):
            self._follow("starting", sign, 180)
        self.terminal.row("working", "counter every 100 ms · memory writer · disk worker · "
                                     "SHA-256 over 24 files on ext4")
        if self.network:
            self.web = Probe(self.network, CLIENT, "web_client", str(WEB_INTERVAL_MS), GUEST4)
            self.terminal.row("asked", f"http://{GUEST4}/ every {WEB_INTERVAL_MS} ms over one connection, and every "
                                       f"{WEB_INTERVAL_MS} ms over a new one")
        time.sleep(WORK_BEFORE_S)

    def _follow(self, label, pattern, timeout_s):
        """Waits for a line and shows the console meanwhile."""
        deadline, since = time.monotonic() + timeout_s, 0
        while time.monotonic() < deadline:
            try:
                return self.console.wait(pattern, 0.2, since)
            except TimeoutError:
                since = max(0, self.console.position() - 1)
                if self.console.lines:
                    self.terminal.progress(label, self.console.lines[-1].text)
                if not self.guest.machine.alive():
                    break
        raise DemoFailed(f"the guest did not show '{pattern}' on its console; it ended with:\n"
                         f"{self.console.tail()}")

    def migrate(self, number):
        origin, target = ROUTE[number - 1], ROUTE[number]
        began = time.time()
        source = self.guest.machine
        receiver = self.guest.receiver("tcp:127.0.0.1:0", host=self.hosts[target])
        try:
            source.migrate(receiver.uri)
            self._watch(number, source)
            info = source.migration()
            if info["status"] != "completed":
                raise DemoFailed(f"migration {number} did not arrive: {info.get('error-desc')}")
            receiver.wait_status("running")
            handoff = time.monotonic()
            source.quit()
        except BaseException:
            receiver.close()
            raise
        self.guest.arrived(receiver)
        self.console.wait_count(5)
        time.sleep(WORK_BETWEEN_S)
        ticks = [arrived for arrived, _, _ in self.console.counts()]    # the last before it is from before its beginning
        migration = Migration(number, origin, target, info, ticks, handoff)
        migration.began, migration.ended = began, time.time()
        self.migrations.append(migration)
        if not self.table:
            self.terminal.say()
            self.table = Table(self.terminal, "migration", MIGRATIONS)
            self.table.header()
        self.table.line(f"{number:>9}", [f"{origin} → {target}", f"{migration.seconds:.2f} s", f"{migration.bytes / 1e6:.1f} MB",
                                         str(info["ram"]["dirty-sync-count"]), f"{migration.pause_ms:.1f} ms",
                                         f"{migration.gap_ms:.0f} ms"])

    def _watch(self, number, source, timeout_s=120):
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            info = source.migration()
            if info.get("status") in ("completed", "failed", "cancelled"):
                return
            ram = info.get("ram", {})
            total = ram.get("total") or 1
            done = 1 - ram.get("remaining", total) / total
            self.terminal.progress(f"{number:>9}", (
                f"{bar(done, min(24, self.terminal.room() - 36))} round {info.get('x-godwit', {}).get('round', 0)}  "
                f"{ram.get('remaining', 0) / 1e6:.0f} MB left  "
                f"{info.get('x-godwit', {}).get('bandwidth', 0) / 1e6:.0f} MB/s"))
            time.sleep(0.02)
        raise DemoFailed(f"migration {number} was still under way after {timeout_s} s: {info}")

    def finish(self):
        """The guest verifies all it has and ends its work; what of that it told."""
        since = self.console.position()
        self.console.send("finish\n")
        self._follow("checking", "godwit: finished", 120)
        text = [line.text for line in self.console.lines[since:]]
        return {name: any(re.search(pattern, line) for line in text)
                for name, pattern in FINAL_CHECKS.items()}

    def finish_web(self):
        """What the client outside saw, {} where there was none."""
        return self.web.finish() if self.web else {}

    def explain(self):
        """The last migration in sentences, as the command line tells it."""
        run = subprocess.run(
            [build_dir() / "godwit", "--run-dir", self.hosts[ROUTE[-1]].run_dir, "explain", NAME,
             self.migrations[-1].session], capture_output=True, text=True, timeout=20,
            env={**os.environ, "COLUMNS": str(self.terminal.width)})
        return run.stdout if run.returncode == 0 else f"(godwit explain: {run.stderr.strip()})\n"

    def close(self):
        if self.web:
            self.web.close()
        self.guest.close()


def strip(migration, count):
    """The console around the handoff: a tick for each line of the counter, the silence between."""
    start = migration.silence[1] - STRIP_CELL_S * count / 2
    cells = ["·"] * count
    silent_from = int((migration.silence[0] - start) / STRIP_CELL_S) + 1
    for index in range(max(silent_from, 0), count // 2):
        cells[index] = "░"
    for arrived in migration.ticks:
        index = int((arrived - start) / STRIP_CELL_S)
        if 0 <= index < count:
            cells[index] = "╷"
    return "".join(cells)


def show_counter(terminal, migrations, counts):
    terminal.title("The counter, as the console showed it")
    problems = counter_problems(counts)
    verdict = terminal.paint("red", "; ".join(problems)) if problems else \
        terminal.paint("green", "no number is missing, none came twice")
    terminal.row("numbers", f"{counts[0][1]} to {counts[-1][1]}: {verdict}")
    cells = min(MOST_STRIP_CELLS, terminal.room() - 9) // 2 * 2
    for migration in migrations:
        terminal.row(f"{migration.number:>9}", f"{strip(migration, cells)}  {migration.gap_ms:4.0f} ms")
    terminal.row("", terminal.paint("dim", f"each cell {STRIP_CELL_S * 1000:.0f} ms: ╷ a line, ░ the silence of the handoff"))


def parts_of_pauses(migrations, room):
    """Names of the pause's parts and what each took in each migration: the longest by name as far as there is room."""
    taken = {part: [m.info["x-godwit"]["pause"].get(part, 0) / 1000 for m in migrations] for part in PARTS}
    taken = {part: values for part, values in taken.items() if any(values)}
    by_size = sorted(taken, key=lambda part: sum(taken[part]))
    others = by_size[:max(0, len(by_size) - room)]
    if others:
        others = by_size[:len(by_size) - room + 1]      # they need a column too
    shown = {part: values for part, values in taken.items() if part not in others}
    if others:
        shown["other"] = [sum(values) for values in zip(*(taken[part] for part in others))]
    return shown


def show_pauses(terminal, migrations):
    terminal.title("The pause, by parts (milliseconds)")
    parts = parts_of_pauses(migrations, (terminal.room() - 9) // 8)
    table = Table(terminal, "migration", [*(Column(part, 6) for part in parts), Column("total", 7)])
    table.header()
    longest = max(m.pause_ms for m in migrations) or 1
    width = min(table.spare(), MOST_BAR)
    for index, migration in enumerate(migrations):
        table.line(f"{migration.number:>9}", [*(f"{values[index]:.2f}" for values in parts.values()), f"{migration.pause_ms:.2f}"],
                   terminal.paint("cyan", bar(migration.pause_ms / longest, width)) if width >= 8 else "")


def web_steps(answers):
    """How many answers took at most so long, and longer than the step before."""
    counts = [0] * (len(WEB_STEPS_MS) + 1)
    for _, took_s in answers:
        counts[next((i for i, step in enumerate(WEB_STEPS_MS) if took_s * 1000 <= step), -1)] += 1
    return counts


def show_web(terminal, migrations, web):
    terminal.title("The web server, as a client outside saw it")
    kept, fresh = (web_steps(web[kind]["answers"]) for kind in ("kept", "fresh"))
    most = max(kept + fresh)
    half = min((terminal.room() - 2) // 2, MOST_BAR + 7)
    if most:
        terminal.row("", f"{'over one connection':{half}}  over new ones")
        first = next(i for i, pair in enumerate(zip(kept, fresh)) if any(pair))
        last = max(i for i, pair in enumerate(zip(kept, fresh)) if any(pair))
        for index in range(first, last + 1):
            name = f"≤ {WEB_STEPS_MS[index]} ms" if index < len(WEB_STEPS_MS) else "longer"
            cells = (f"{terminal.paint('cyan', bar(logarithmic(counts[index], most), half - 7))} {counts[index]:6}"
                     for counts in (kept, fresh))
            terminal.row(f"{terminal.plain(name):>9}", "  ".join(cells))
        terminal.row("", terminal.paint("dim", f"requests by the time they took, one every {WEB_INTERVAL_MS} ms; bars grow with the logarithm"))
    show_slowest(terminal, migrations, web)
    failures = [failure for kind in web.values() for failure in kind["failures"]]
    answered = sum(len(kind["answers"]) for kind in web.values())
    terminal.row("requests", terminal.paint("red", f"{len(failures)} failed: {failures[0]}") if failures else
                 terminal.paint("green", f"{answered} answered, no request failed"))


def show_slowest(terminal, migrations, web):
    terminal.say()
    terminal.say("The pause and the slowest answer of each migration")
    table = Table(terminal, "migration", SLOWEST)
    table.header()
    for migration in migrations:
        slowest = {kind: max((took for due, took in web[kind]["answers"] if migration.began <= due <= migration.ended),
                             default=0) * 1000 for kind in web}
        table.line(f"{migration.number:>9}",
                   [f"{ms:.1f} ms" for ms in (migration.pause_ms, slowest["kept"], slowest["fresh"])])
    # What a host that is busy does by itself.
    between = {kind: max((took for due, took in web[kind]["answers"]
                          if not any(m.began <= due <= m.ended for m in migrations)), default=0) * 1000 for kind in web}
    table.line(f"{'none':>9}", ["", *(f"{between[kind]:.1f} ms" for kind in ("kept", "fresh"))])


def logarithmic(count, most):
    """Few answers must be seen beside many."""
    return math.log1p(count) / math.log1p(most)


def show_results(terminal, demo, counts, checks, web):
    show_counter(terminal, demo.migrations, counts)
    show_pauses(terminal, demo.migrations)
    if web:
        show_web(terminal, demo.migrations, web)
    terminal.title("The guest's own check")
    for name, good in checks.items():
        terminal.row(name, terminal.paint("green", "good") if good else terminal.paint("red", "did not say so"))
    for line in demo.console.bad_lines():
        terminal.row("", terminal.paint("red", line))
    terminal.title("The last migration, as its log tells it")
    terminal.say(demo.explain().rstrip("\n"))


def show_next(terminal):
    terminal.title("What to try next")
    for words, purpose in NEXT.items():
        terminal.row(words, purpose, max(map(len, NEXT)))


def summary(demo, counts, checks, web):
    errors = demo.console.bad_lines()
    migrations = demo.migrations
    ok = len(migrations) == len(ROUTE) - 1 and not counter_problems(counts) and not errors and \
        all(checks.values()) and not any(kind["failures"] for kind in web.values())
    return {
        "ok": ok, "machine": architectures.ALL[demo.image.architecture].machine, "migrations": len(migrations),
        "pause_ms": [round(m.pause_ms, 3) for m in migrations],
        "gap_ms": [round(m.gap_ms, 1) for m in migrations],
        "bytes": sum(m.bytes for m in migrations),
        "seconds": round(sum(m.seconds for m in migrations), 3),
        "guest_errors": len(errors),
        "counter": {"first": counts[0][1], "last": counts[-1][1], "problems": counter_problems(counts)},
        "checks": checks,
        "web": {kind: {"answered": len(seen["answers"]), "failed": len(seen["failures"]),
                       "slowest_ms": round(1000 * max((took for _, took in seen["answers"]), default=0), 1)}
                for kind, seen in web.items()},
    }


def run(options, terminal, directory):
    terminal.title("Preparing")
    build(terminal)
    image = prepare_image(terminal, choose_architecture(terminal, options.machine))
    terminal.title("A guest at work, moved between two machine processes")
    made = contextlib.ExitStack()
    try:
        network = make_network(terminal)
        if network:
            made.callback(network.close)
        demo = Demo(terminal, directory, image, network)
        made.callback(demo.close)
        demo.boot()
        for number in range(1, len(ROUTE)):
            demo.migrate(number)
        return finish(options, demo)
    finally:
        with front.uninterrupted():
            made.close()


def finish(options, demo):
    """All that was seen, and the result for programs."""
    terminal = demo.terminal
    web = demo.finish_web()
    checks = demo.finish()
    counts = demo.console.counts()
    show_results(terminal, demo, counts, checks, web)
    result = summary(demo, counts, checks, web)
    terminal.say()
    terminal.say(terminal.paint("green", "All arrived, nothing lost.") if result["ok"]
                 else terminal.paint("red", "Something went wrong, see above."))
    if options.keep:
        keep(terminal, demo)
    elif result["ok"]:
        show_next(terminal)
    return result


def keep(terminal, demo):
    into = f"nsenter --target {os.getpid()} --user --mount --preserve-credentials " if is_rootless() else ""
    program = build_dir() / "godwit"
    if program.is_relative_to(Path.cwd()):
        program = program.relative_to(Path.cwd())
    godwit = f"{shlex.quote(str(program))} --run-dir {shlex.quote(str(demo.hosts[ROUTE[-1]].run_dir))}"
    things = {"console": f"{godwit} console {NAME}", "migrations": f"{godwit} log {NAME}",
              "the last": f"{godwit} explain {NAME}"}
    if demo.network:
        things["web server"] = f"{into}nsenter --net=/run/netns/{demo.network.namespace(CLIENT)} python3 -c '{FETCH}' http://{GUEST4}/"
    terminal.title("The guest goes on until Ctrl-C. In another terminal:")
    for name, command in things.items():
        terminal.say(f"  {name}")
        terminal.lines(f"    {command}")
    try:
        demo.guest.machine.process.wait()
    except KeyboardInterrupt:
        terminal.say()


def main():
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--machine", choices=MACHINES, help="instead of the one that this host runs best")
    parser.add_argument("--keep", action="store_true", help="leave the guest running until Ctrl-C")
    options = parser.parse_args()
    terminal = Terminal()
    result = {"ok": False, "migrations": 0, "pause_ms": [], "gap_ms": [], "bytes": 0, "seconds": 0,
              "guest_errors": 0}
    directory = temporary_dir("godwit-demo-")
    try:
        result = run(options, terminal, directory)
    except (DemoFailed, MachineFailed, FetchError, Unusable, QmpError, TimeoutError, ConnectionError) as error:
        result["error"] = str(error)
        terminal.say()
        lost = isinstance(error, ConnectionError) and not str(error).endswith("told nothing")
        sentence = f"a machine process does not answer any more ({error})" if lost else str(error)
        terminal.lines(terminal.paint("red", f"demo: {sentence}"))     # with commands in it, which are copied
    except KeyboardInterrupt:
        terminal.say()
        terminal.say("demo: interrupted, everything is stopped and removed")
        return 130
    finally:
        with front.uninterrupted():
            shutil.rmtree(directory, ignore_errors=True)
    if options.json:
        print(json.dumps(result), flush=True)
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    front.run("demo", main)
