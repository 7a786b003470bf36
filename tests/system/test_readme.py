# SPDX-License-Identifier: Apache-2.0
"""
Every command of the README, read out of it and run as it is written: blocks marked `sh` in the order in which they stand,
line by line, each in the terminal that its mark names (`sh first`, `sh second`); a line works when the shell's next prompt
says 0. What is in `…` is held against the help of the program that it names.
"""

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from godwit_tools.paths import TREE, build_dir

README = (TREE / "README.md").read_text()
FENCE = re.compile(r"^```(\S*) ?(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROMPT = re.compile(r"<status (\d+)>")
GUEST_PROMPT = re.compile(r"guest# (?:\x1b\[6n)?$")      # busybox asks where the cursor is
LEAVE = "\x1d"
# Commands of the README that this test does not run, and who does.
RUN_ELSEWHERE = {
    "git clone": "the clone is where this runs",
    "./check": "runs this test",
    "./demo": "test_demo_of_the_readme",
}
LIMIT_S = 300     # ends a hang, and nothing else
# Another host's directories and nothing that an earlier run or this machine's owner has there.
ISOLATED = """set -e
ip link set lo up
mount -t tmpfs tmpfs /usr/local
mount -t tmpfs tmpfs /run
mkdir /run/user /run/bin
cd "$1"
shift
exec "$@"
"""


def blocks():
    """(terminal, lines) of each block marked sh."""
    for language, terminal, text in FENCE.findall(README):
        if language == "sh":
            yield terminal or "first", [line for line in text.splitlines() if line.strip()]


def commands():
    return [line for _, lines in blocks() for line in lines]


def isolated(*command):
    """The command in namespaces in which it is root, has a loopback and may write to /usr/local."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *user, "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc",
            "sh", "-c", ISOLATED, "sh", str(TREE), *command]


@pytest.fixture(scope="module")
def can_isolate():
    done = subprocess.run(isolated("true"), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no namespaces for this user here: {done.stderr.strip()}")
    if build_dir() != TREE / "build":
        pytest.skip("the README is about build/, and another build is tested")


class Shell:
    """A person's terminal: bash whose prompt says how the last command ended."""

    def __init__(self, directory, pid=None):
        environment = {"HOME": os.environ.get("HOME", "/"), "TERM": "xterm", "LANG": "C.UTF-8", "PS1": "<status $?>",
                       "PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(directory),
                       **{name: os.environ[name] for name in ("XDG_CACHE_HOME", "CCACHE_DIR") if name in os.environ}}
        self.text, self.shown, self.command = "", 0, None
        command = ["bash", "--norc", "--noprofile", "-i"]
        command = isolated(*command) if pid is None else \
            ["nsenter", "--target", str(pid), *([] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]),
             "--mount", "--net", "--pid", "sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", str(TREE), *command]
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe(command[0], command, environment)
        self.wait(PROMPT)

    def type(self, text):
        self.shown = len(self.text)
        os.write(self.fd, text.encode())

    def wait(self, *patterns):
        """The first of the patterns that what came since the last typing has."""
        deadline = time.monotonic() + LIMIT_S
        while True:
            said = self.text[self.shown:]
            for pattern in patterns:
                if pattern.search(said):
                    return pattern.search(said)
            assert time.monotonic() < deadline, f"none of {patterns} in:\n{said[-3000:]}"
            if select.select([self.fd], [], [], 0.2)[0]:
                self.text += os.read(self.fd, 65536).decode(errors="replace")

    def run(self, line):
        """Types a command, when the one before has ended. It ends well, or shows a guest's prompt: then it is left running."""
        self.finish()
        self.type(line + "\n")
        self.command = line
        if self.wait(PROMPT, GUEST_PROMPT).re is PROMPT:
            self.finish()

    def finish(self):
        """Waits for the end of what was left running."""
        if self.command:
            status = self.wait(PROMPT)[1]
            assert status == "0", f"'{self.command}' ended with {status}:\n{self.text[self.shown:]}"
        self.command = None

    def first_process(self):
        """Of its namespaces: the child of unshare."""
        return int(Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()[0])

    def close(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.fd)


@pytest.mark.usefixtures("can_isolate")
def test_tour_by_hand_works_line_by_line(tmp_path):
    shells = {"first": Shell(tmp_path)}
    ran = []
    try:
        shells["second"] = Shell(tmp_path, shells["first"].first_process())
        shells["first"].run("sudo() { \"$@\"; }")     # root already, in namespaces of its own
        for terminal, lines in blocks():
            for line in lines:
                if any(line.startswith(known) for known in RUN_ELSEWHERE):
                    continue
                shell = shells[terminal]
                shell.run(line)
                ran.append(line)
                if shell.command and " console " in line:
                    shell.type(LEAVE)
        for shell in shells.values():
            shell.finish()
    finally:
        for shell in shells.values():
            shell.close()
        shutil.rmtree("/tmp/there", ignore_errors=True)
    assert sum("build/godwit" in line for line in ran) >= 8
    print("\n".join(ran))


def test_demo_of_the_readme():
    demos = [line for line in commands() if line.startswith("./demo")]
    assert demos
    for line in demos:
        done = subprocess.run(["bash", "-c", line], cwd=TREE, capture_output=True, text=True, timeout=1200, check=False,
                              stdin=subprocess.DEVNULL)
        assert done.returncode == 0, f"'{line}' ended with {done.returncode}:\n{done.stdout}{done.stderr}"


def test_nothing_of_the_readme_is_run_by_nobody():
    outside = FENCE.sub("", README)
    assert not re.findall(r"^(?: {4}|\t)\S.*", outside, re.MULTILINE), "commands stand in blocks marked sh"
    assert any(line.startswith("./check") for line in commands())


def mentioned():
    """Spans of code that name a program of ours, with words behind it."""
    paragraphs = re.sub(r"\n(?!\n)", " ", FENCE.sub("", README))      # a span may be wrapped
    spans = re.findall(r"`([^`\n]+)`", paragraphs)
    return sorted({span for span in spans if re.match(r"(build/)?godwit(-vmm)? |(\./|scripts/|bench/)\w", span)})


@pytest.mark.parametrize("span", mentioned())
def test_what_is_mentioned_exists(span):
    program, *words = span.split()
    known = {"godwit": build_dir() / "godwit", "godwit-vmm": build_dir() / "godwit-vmm"}
    path = known.get(program.rpartition("/")[2], TREE / program)
    assert path.exists(), f"there is no {program}"
    if not os.access(path, os.X_OK):
        return
    verb = [words[0]] if program.endswith("godwit") and words and re.match(r"[a-z]", words[0]) else []
    done = subprocess.run([path, *verb, "--help"], capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stderr
    for option in [word.partition("=")[0] for word in words if word.startswith("--")]:
        assert option in done.stdout, f"'{program} {' '.join(verb)} --help' does not know {option}"
