# SPDX-License-Identifier: Apache-2.0
"""
Runs steps that depend on one another, several at a time. Each writes a log of its own; a failed one shows the
end of it. Every command runs in a process group of its own, so that a step out of time leaves nothing behind.
"""

import contextlib
import os
import signal
import subprocess
import threading
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from .front import uninterrupted
from .results import Counts
from .terminal import Terminal

SHOWN_LINES = 60
LABEL = 18
ENDING_S = 10    # for an interrupted command to clear away what it made


class StepFailed(Exception):
    """One sentence for the user."""


@dataclass
class Step:
    name: str
    action: callable        # action(Commands) -> Counts or None
    timeout_s: int          # ends a hang; a busy machine needs a multiple of the usual time
    purpose: str
    after: list = field(default_factory=list)


class Groups:
    """The process groups that run. Once they are ended, a further one ends at once."""

    def __init__(self):
        self._lock = threading.Condition()     # of the two
        self._running, self._ended = set(), False

    def add(self, group):
        with self._lock:
            if self._ended:
                _signal(group, signal.SIGKILL)
            self._running.add(group)

    def discard(self, group):
        with self._lock:
            self._running.discard(group)
            self._lock.notify_all()

    def end(self):
        """As Ctrl-C would; what is still there after a while is killed."""
        with self._lock:
            self._ended = True
            for group in self._running:
                _signal(group, signal.SIGINT)
            self._lock.wait_for(lambda: not self._running, ENDING_S)
            for group in self._running:
                _kill_all(group)

    @property
    def ended(self):
        return self._ended


class Commands:
    """What a step's action runs its commands with."""

    def __init__(self, step, directory, groups=None, terminal=None):
        self.step = step
        self.terminal = terminal or Terminal()
        self.directory = directory
        self.log = directory / f"{step.name}.log"
        self.log.write_text("")
        self._deadline = time.monotonic() + step.timeout_s
        self._groups = groups or Groups()

    def say(self, sentence):
        self.terminal.row(self.step.name, sentence, LABEL)

    def note(self, paragraphs):
        """Writes them to the log, whose end is shown when the step fails."""
        with open(self.log, "a") as log:
            log.writelines(f"\n{paragraph}\n" for paragraph in paragraphs)

    def __call__(self, command, env=None, check=True, timeout=None):
        """Runs a command to its end; returns its exit status, which must be 0 if `check`."""
        command = [str(word) for word in command]
        if self._groups.ended:
            raise StepFailed("interrupted")
        left = self._deadline - time.monotonic()
        limit = min(left, timeout) if timeout else left
        with open(self.log, "a") as log:
            log.write(f"$ {' '.join(command)}\n")
            log.flush()
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                       env={**os.environ, **(env or {})}, start_new_session=True)
        self._groups.add(process.pid)
        try:
            status = process.wait(max(limit, 0))
        except subprocess.TimeoutExpired:
            raise StepFailed(f"{os.path.basename(command[0])} was still running when its time of "
                             f"{limit:.0f} s was over") from None
        finally:
            kill_group(process)
            self._groups.discard(process.pid)
        if check and status != 0:
            raise StepFailed(f"{os.path.basename(command[0])} ended with status {status}")
        return status


def _signal(group, number):
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        pass


def descendants(process):
    """All that it started and they started, in whatever group: meson gives each test a session of its own."""
    children = {}
    for number in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            with open(f"/proc/{number}/stat") as stat:
                children.setdefault(int(stat.read().rpartition(")")[2].split()[1]), []).append(int(number))
    found, seen = children.get(process, []), 0
    while seen < len(found):
        found = found + children.get(found[seen], [])
        seen += 1
    return found


def _kill_all(group):
    """A command's group, and all that the command started in others."""
    for started in descendants(group):
        with contextlib.suppress(ProcessLookupError):
            os.kill(started, signal.SIGKILL)
    _signal(group, signal.SIGKILL)


def kill_group(process):
    _kill_all(process.pid)
    process.wait()


class Runner:
    def __init__(self, steps, directory, jobs):
        self.steps = steps
        self.directory = directory
        self.jobs = jobs
        self.terminal = Terminal()
        self._groups = Groups()
        directory.mkdir(parents=True, exist_ok=True)

    def run(self):
        """Runs all steps; returns the counts of all. Ctrl-C ends what runs."""
        with ThreadPoolExecutor(self.jobs) as pool:
            try:
                return self._schedule(pool)
            except BaseException:
                with uninterrupted():
                    pool.shutdown(wait=False, cancel_futures=True)
                    self._groups.end()
                raise

    def _schedule(self, pool):
        waiting, running, ended, total = list(self.steps), {}, {}, Counts()
        while waiting or running:
            for step in [s for s in waiting if all(name in ended for name in s.after)]:
                if len(running) == self.jobs:
                    break
                waiting.remove(step)
                if all(ended[name] for name in step.after):
                    running[pool.submit(self._run_step, step)] = step
                else:
                    broken = next(name for name in step.after if not ended[name])
                    self._say(step, f"skipped: {broken} failed")
                    total.add(Counts(skipped=1, reasons=[[step.name, "", f"not run because {broken} failed"]]))
                    ended[step.name] = False
            if running:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    step = running.pop(future)
                    counts, usable = future.result()
                    ended[step.name] = usable
                    total.add(counts)
        return total

    def _run_step(self, step):
        """Counts of the step, and whether steps that need it can run. Failed tests do not stop others."""
        began = time.monotonic()
        commands = Commands(step, self.directory, self._groups, self.terminal)
        self._say(step, f"{step.purpose} …")
        try:
            counts = step.action(commands)
            usable, problem = True, None
        except StepFailed as error:
            counts, usable, problem = Counts(failed=1), False, str(error)
        seconds = time.monotonic() - began
        if self._groups.ended:
            return Counts(), False
        if counts is None:
            self._say(step, f"done in {seconds:.0f} s")
            return Counts(), True
        self._say(step, self.terminal.paint("red" if counts.failed else "green", f"{problem or counts}") + f" in {seconds:.0f} s")
        if counts.failed:
            self._show_log(commands.log)
        return counts, usable

    def _show_log(self, log):
        lines = log.read_text(errors="replace").splitlines()
        self.terminal.say("\n".join([f"  --- the end of {log}:", *("  | " + line for line in lines[-SHOWN_LINES:])]))

    def _say(self, step, text):
        self.terminal.row(step.name, text, LABEL)
