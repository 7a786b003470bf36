# SPDX-License-Identifier: Apache-2.0
"""
Debian packages of another architecture, fetched by a private apt.

The machine's own apt is only asked which mirror it uses and how it reaches it (proxies and the like stay
in force). State, sources and architecture are ours, so nothing on the machine changes and no root is
needed. Signatures are checked against Debian's archive keyring, packages against the signed index.
"""

import re
import subprocess

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
RELEASES = re.compile(r"^(bookworm|trixie|forky|sid|stable|oldstable|testing|unstable)(-updates|-backports)?$")

UNREACHABLE = re.compile(r"(Temporary failure resolving|Could not resolve) '[^']*'|(Could not|Unable to) connect to \S+|"
                         "Connection timed out|Network is unreachable")


class FetchError(Exception):
    """One sentence for the user."""


def machine_mirror():
    """The mirror that this machine's apt takes Debian itself from."""
    output = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(RELEASE) $(REPO_URI)", "Created-By: Packages"],
        capture_output=True, text=True, check=True).stdout
    for line in output.splitlines():
        release, _, uri = line.partition(" ")
        if RELEASES.match(release):
            return uri
    raise FetchError("this machine's apt names no Debian mirror: add a Debian release to its sources")


def why(command, said):
    """The sentence of an apt that failed: the cause, which it tells before the consequence."""
    if "No space left on device" in said:
        return f"{command} failed: there is no space left: make some, or let XDG_CACHE_HOME name another place"
    unreachable = UNREACHABLE.search(said)
    if unreachable:
        return f"the mirror cannot be reached ({unreachable[0]}): the first run needs a network, later ones none"
    reason = (said.strip().splitlines() or ["no reason given"])[-1]
    return f"{command} failed: {reason.removeprefix('E: ')}"


class ForeignApt:
    """An apt with its own state below `home`, for one architecture and suite."""

    def __init__(self, home, architecture, suite):
        self.home = home
        self.options = [
            "-qq", "-o", f"Dir::State={home}/state", "-o", f"Dir::State::status={home}/state/status",
            "-o", f"Dir::Cache={home}/cache", "-o", "Dir::Etc::SourceList=/dev/null",
            "-o", f"Dir::Etc::SourceParts={home}/sources",
            "-o", f"APT::Architecture={architecture}", "-o", f"APT::Architectures={architecture}",
            "-o", "APT::Sandbox::User=root", "-o", "Acquire::Languages=none", "-o", "Acquire::Retries=3",
            "-o", "Acquire::http::Timeout=60", "-o", "APT::Update::Post-Invoke-Success=",
            "-o", "APT::Get::AllowUnauthenticated=false",
        ]
        for part in ("state/lists/partial", "cache/archives/partial", "sources", "packages"):
            (home / part).mkdir(parents=True, exist_ok=True)
        (home / "state/status").touch()
        (home / "sources/debian.sources").write_text(
            f"Types: deb\nURIs: {machine_mirror()}\nSuites: {suite}\nComponents: main\n"
            f"Signed-By: {KEYRING}\n")

    def _run(self, program, *arguments):
        result = subprocess.run([program, *self.options, *arguments], cwd=self.home / "packages",
                                stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if result.returncode != 0:
            raise FetchError(why(f"{program} {arguments[0]}", result.stderr))
        return result.stdout

    def update(self):
        # apt-get update ends well with old lists when the mirror is out of reach; that is no success here.
        self._run("apt-get", "update", "--error-on=any")

    def field(self, package, name):
        for line in self._run("apt-cache", "show", package).splitlines():
            if line.startswith(name + ": "):
                return line.partition(": ")[2]
        raise FetchError(f"the mirror's index has no package {package} with a field {name}")

    def download(self, package):
        """Fetches one .deb, checked against the signed index; one that is there already is kept."""
        self._run("apt-get", "download", package)
        found = sorted((self.home / "packages").glob(f"{package}_*.deb"))
        if not found:
            raise FetchError(f"apt-get download left no file for {package}")
        return found[-1]
