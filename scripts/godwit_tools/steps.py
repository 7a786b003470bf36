# SPDX-License-Identifier: Apache-2.0
"""
Runs steps that depend on one another, several at a time. Each writes a log of its own; a failed one shows the
end of it. Every command runs in a process group of its own, so that a step out of time leaves nothing behind.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from .results import Counts

SHOWN_LINES = 60


class StepFailed(Exception):
    """One sentence for the user."""


@dataclass
class Step:
    name: str
    action: callable        # action(Commands) -> Counts or None
    timeout_s: int          # ends a hang; a busy machine needs a multiple of the usual time
    purpose: str
    after: list = field(default_factory=list)


class Commands:
    """What a step's action runs its commands with."""

    def __init__(self, step, directory, groups):
        self.step = step
        self.directory = directory
        self.log = directory / f"{step.name}.log"
        self.log.write_text("")
        self._deadline = time.monotonic() + step.timeout_s
        self._groups = groups

    def say(self, sentence):
        print(f"  {self.step.name}: {sentence}", flush=True)

    def note(self, paragraphs):
        """Writes them to the log, whose end is shown when the step fails."""
        with open(self.log, "a") as log:
            log.writelines(f"\n{paragraph}\n" for paragraph in paragraphs)

    def __call__(self, command, env=None, check=True, timeout=None):
        """Runs a command to its end; returns its exit status, which must be 0 if `check`."""
        command = [str(word) for word in command]
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


def kill_group(process):
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


class Runner:
    def __init__(self, steps, directory, jobs):
        self.steps = steps
        self.directory = directory
        self.jobs = jobs
        self._groups = set()
        self._print_lock = threading.Lock()
        directory.mkdir(parents=True, exist_ok=True)

    def run(self):
        """Runs all steps; returns the counts of all. Ctrl-C kills what runs."""
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        try:
            with ThreadPoolExecutor(self.jobs) as pool:
                try:
                    return self._schedule(pool)
                except BaseException:
                    self._stop_everything()
                    raise
        except KeyboardInterrupt:
            sys.exit("check: interrupted")

    def _stop_everything(self):
        self.steps = []
        for group in list(self._groups):
            try:
                os.killpg(group, signal.SIGKILL)
            except ProcessLookupError:
                pass

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
                    self._say(f"{step.name:18} skipped: {broken} failed")
                    total.add(Counts(skipped=1, reasons=[f"{step.name}: not run because {broken} failed"]))
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
        commands = Commands(step, self.directory, self._groups)
        self._say(f"{step.name:18} {step.purpose} …")
        try:
            counts = step.action(commands)
            usable, problem = True, None
        except StepFailed as error:
            counts, usable, problem = Counts(failed=1), False, str(error)
        seconds = time.monotonic() - began
        if counts is None:
            self._say(f"{step.name:18} done in {seconds:.0f} s")
            return Counts(), True
        self._say(f"{step.name:18} {problem or counts} in {seconds:.0f} s")
        if counts.failed:
            self._show_log(commands.log)
        return counts, usable

    def _show_log(self, log):
        lines = log.read_text(errors="replace").splitlines()
        self._say("\n".join([f"  --- the end of {log}:", *("  | " + line for line in lines[-SHOWN_LINES:])]))

    def _say(self, text):
        with self._print_lock:
            print(text, flush=True)
