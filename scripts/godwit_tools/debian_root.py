# SPDX-License-Identifier: Apache-2.0
"""
A fresh Debian machine without a machine: a root file system by debootstrap, in mount, PID, UTS and IPC namespaces of its
own (and a network namespace where it has no network).

The cache has one minimal system a release, which is never written to; a run sees it through an overlay, or has a
copy where the kernel cannot lay one. The root is entered by pivot_root, not chroot: a chroot may make no user
namespaces (user_namespaces(7)), and the demo needs them. Devices have the owners and modes that udev gives them.
The packages that apt fetches are cached too; whatever they unpack to is not.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from .foreign_apt import KEYRING, FetchError, machine_mirror
from .front import uninterrupted
from .paths import TREE, cache_dir

UNNAMED = "run-"
# What the first process of a machine runs. Ctrl-C while it loads its modules is no traceback.
INSIDE = """import sys
try:
    from godwit_tools.debian_root import inside
except KeyboardInterrupt:
    sys.exit(130)
sys.exit(inside(sys.argv[1]))
"""
RELEASES = {"12": "bookworm", "13": "trixie"}
USER, UID = "nora", 1000
HOME = f"home/{USER}"
USER_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games"     # /etc/profile of Debian
ROOT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
INCLUDED = "sudo,git,ca-certificates"     # what somebody has who has cloned
# Name, mode, major, minor, group: devices.txt of Linux, and systemd's 50-udev-default.rules
DEVICES = [("null", 0o666, 1, 3, "root"), ("zero", 0o666, 1, 5, "root"), ("full", 0o666, 1, 7, "root"),
           ("random", 0o666, 1, 8, "root"), ("urandom", 0o666, 1, 9, "root"), ("tty", 0o666, 5, 0, "tty"),
           ("kvm", 0o660, 10, 232, "kvm"), ("net/tun", 0o666, 10, 200, "root")]
OF_THIS_HOST = ("kvm", "net/tun")         # which are there only where this host has them
DEVICE_LINKS = {"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1",
                "stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx"}
MNT_DETACH = 2
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41}
libc = ctypes.CDLL(None, use_errno=True)


class RootFailed(Exception):
    """One sentence for the user: no such machine can be had here."""

    status = 125


class CloneFailed(RootFailed):
    """The machine can be had; what is to be in it cannot."""

    status = 126


def _say(sentence):
    print(f"fresh-debian: {sentence}", file=sys.stderr, flush=True)


def _logged(log, command, **options):
    with open(log, "ab") as stream:
        return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, check=False,
                              **options).returncode


# The minimal system

def _homes():
    path = cache_dir() / "fresh-debian"
    path.mkdir(exist_ok=True)
    return path


def _need_debootstrap(log):
    if shutil.which("debootstrap", path=ROOT_PATH):
        return
    _say("installing debootstrap")
    apt = ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=300"]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    if not shutil.which("apt-get") or \
            _logged(log, [*apt, "update"], env=environment) != 0 or \
            _logged(log, [*apt, "install", "-y", "--no-install-recommends", "debootstrap"], env=environment) != 0:
        raise RootFailed(f"debootstrap cannot be had here: install it by hand; {log} tells more")


def _apt_settings(release, mirror):
    """What this host's apt is told about fetching, without its packages' own hooks."""
    dump = subprocess.run(["apt-config", "dump", "--format", '%f "%v";%n', "Acquire"], capture_output=True, text=True,
                          check=True).stdout
    settings = "".join(line + "\n" for line in dump.splitlines()
                       if not re.match(r"Acquire(::(IndexTargets|Languages|GzipIndexes|CompressionTypes)\b.*)? ", line))
    for scheme in ("http", "https"):      # apt takes these variables too, but sudo does not pass them on
        proxy = os.environ.get(f"{scheme}_proxy")
        if proxy and f"Acquire::{scheme}::Proxy " not in settings:
            settings += f'Acquire::{scheme}::Proxy "{proxy}";\n'
    suites = release + (f" {release}-updates" if "/debian" in mirror else "")
    sources = f"Types: deb\nURIs: {mirror}\nSuites: {suites}\nComponents: main\nSigned-By: {KEYRING}\n"
    return {"etc/apt/apt.conf.d/90host": settings, "etc/apt/sources.list.d/debian.sources": sources}


def _make_base(release, base):
    log = _homes() / f"{release}.log"
    log.write_bytes(b"")
    _need_debootstrap(log)
    try:
        mirror = machine_mirror()
    except (FetchError, OSError, subprocess.CalledProcessError) as error:
        raise RootFailed(str(error)) from None
    _say(f"making a minimal {release} by debootstrap, once")
    fresh = base.with_name(base.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    if _logged(log, ["debootstrap", "--variant=minbase", f"--keyring={KEYRING}", f"--include={INCLUDED}", release, fresh,
                     mirror], env={**os.environ, "PATH": ROOT_PATH, "DEBIAN_FRONTEND": "noninteractive"}) != 0:
        raise RootFailed(f"debootstrap failed; {log} tells why")
    (fresh / "etc/apt/sources.list").unlink(missing_ok=True)
    for name, text in _apt_settings(release, mirror).items():
        (fresh / name).write_text(text)
    for leftover in [*(fresh / "var/lib/apt/lists").glob("*_*"), *(fresh / "var/cache/apt/archives").glob("*.deb")]:
        leftover.unlink()
    for command in (["groupadd", "--force", "--system", "kvm"], ["useradd", "-m", "-s", "/bin/bash", "-u", str(UID), "-G", "sudo", USER]):
        if _logged(log, ["chroot", fresh, *command], env={"PATH": ROOT_PATH}) != 0:
            raise RootFailed(f"{command[0]} failed in the new system; {log} tells why")
    (fresh / "etc/sudoers.d/user").write_text(f"{USER} ALL=(ALL) NOPASSWD: ALL\n")
    (fresh / "etc/default/locale").write_text("LANG=C.UTF-8\n")
    shutil.rmtree(base, ignore_errors=True)
    fresh.rename(base)


def _base(release, refresh):
    base = _homes() / release
    with open(_homes() / f"{release}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if refresh or not base.exists():
            _make_base(release, base)
    return base


# One machine

def _machines():
    path = _homes() / "machines"
    path.mkdir(exist_ok=True)
    return path


def _lock(directory):
    """A descriptor; whoever has it may use or remove the machine. None if somebody has."""
    try:
        lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _kept_directory(name):
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,40}", name) or name.startswith(UNNAMED):
        raise RootFailed(f"'{name}' cannot be a machine's name: letters, digits, '.', '_' and '-' can, and it does not begin "
                         f"with '{UNNAMED}'")
    return _machines() / name


def _remove(directory):
    lock = _lock(directory)
    if lock is None:
        raise RootFailed(f"the machine '{directory.name}' is in use")
    shutil.rmtree(directory)
    os.close(lock)


def remove(name):
    directory = _kept_directory(name)
    if not directory.exists():
        raise RootFailed(f"there is no kept machine '{name}'")
    _remove(directory)


def _sweep():
    """Machines without a name whose run was killed."""
    for directory in _machines().glob(f"{UNNAMED}*"):
        with contextlib.suppress(RootFailed, OSError):
            _remove(directory)


@contextlib.contextmanager
def _machine(name, release):
    """The directory of one, locked; without a name it is a new one, and goes."""
    _sweep()
    directory = _kept_directory(name) if name else Path(tempfile.mkdtemp(prefix=UNNAMED, dir=_machines()))
    directory.mkdir(exist_ok=True)
    lock = _lock(directory)
    if lock is None:
        raise RootFailed(f"the machine '{name}' is in use")
    try:
        made_for = directory / "release"
        if made_for.exists() and made_for.read_text() != release:
            raise RootFailed(f"the kept machine '{name}' is a {made_for.read_text()}")
        made_for.write_text(release)
        (directory / "root").mkdir(exist_ok=True)
        yield directory
    finally:
        if not name:
            with uninterrupted():
                shutil.rmtree(directory, ignore_errors=True)
        os.close(lock)


def _clone(root):
    """Into the root as this host sees it. Whoever owns the tree here: it is the user's own there."""
    status = subprocess.run(["git", "-C", TREE, "status", "--porcelain"], capture_output=True, text=True, check=False,
                            env=_git_environment()).stdout
    if status.strip():
        _say("what is not committed here is not in the clone")
    root.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["git", "clone", "-q", "--no-hardlinks", TREE, root], env=_git_environment(),
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CloneFailed(f"git cannot clone {TREE}: {done.stderr.strip()}")


def _git_environment():
    return {**os.environ, "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}


def _check(options, base):
    """What is wrong about the options is said before anything is made."""
    groups = {line.split(":")[0] for line in (base / "etc/group").read_text().splitlines()}
    for group in options.group:
        if group not in groups:
            raise CloneFailed(f"there is no group '{group}' in a minimal Debian")
    for setting in options.env:
        if not re.match(r"[A-Za-z_][A-Za-z0-9_]*=", setting):
            raise CloneFailed(f"--env takes NAME=VALUE, not '{setting}'")
    if ".." in Path(options.directory).parts or options.directory.startswith("/"):
        raise CloneFailed("--directory takes a path below the user's home")


def run(options):
    """Runs the command; returns its exit status. Whatever ends this process ends the machine."""
    release = RELEASES[options.release]
    with _machine(options.keep, release) as directory:
        base = _base(release, options.refresh)
        _check(options, base)
        archives = _homes() / f"{release}-archives"
        (archives / "partial").mkdir(parents=True, exist_ok=True)
        plan = {"base": str(base), "directory": str(directory), "archives": str(archives), "hostname": f"debian{options.release}",
                "clone": f"{HOME}/{options.directory}", "tree": str(TREE), "root": options.root, "groups": options.group,
                "environment": options.env, "network": not options.no_network, "command": options.command}
        unshare = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child",
                   *(["--net"] if options.no_network else [])]
        return _attend(unshare, plan)


def _attend(unshare, plan):
    """Its exit status. Ctrl-C reaches the command by the terminal, and ends the machine while there is no command yet."""
    begun, plan["begun"] = os.pipe()      # a byte comes when the command begins
    interrupted = []

    def interrupt(*_):
        if not select.select([begun], [], [], 0)[0]:
            interrupted.append(True)
            machine.kill()
    before = signal.getsignal(signal.SIGINT)
    machine = subprocess.Popen([*unshare, "/usr/bin/python3", "-B", "-c", INSIDE, json.dumps(plan)],
                               cwd=Path(__file__).parents[1], pass_fds=[plan["begun"]])
    signal.signal(signal.SIGINT, interrupt)
    try:
        status = machine.wait()
        return 130 if interrupted else status
    finally:
        machine.kill()
        machine.wait()
        signal.signal(signal.SIGINT, before)
        os.close(begun)
        os.close(plan["begun"])


# Inside, as the first process of the machine

def _mount(*arguments):
    done = subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RootFailed(f"cannot mount {arguments[-1]}: {done.stderr.strip()}")


def _lay_root(plan):
    base, directory = plan["base"], Path(plan["directory"])
    root = directory / "root"
    for part in ("upper", "work"):
        (directory / part).mkdir(exist_ok=True)
    if not (root / "usr").exists():
        try:
            # One option a layer: what is in a path is taken as it is.
            options = ",".join(f"{key}={_overlay_path(value)}" for key, value in (
                ("lowerdir", base), ("upperdir", directory / "upper"), ("workdir", directory / "work")))
            _mount("-t", "overlay", "-o", options, "overlay", root)
            return root
        except RootFailed as error:
            _say(f"copying the system, for there can be no overlay: {error}")
            subprocess.run(["cp", "-a", "--reflink=auto", f"{base}/.", root], check=True)
    _mount("--bind", root, root)
    return root


def _overlay_path(path):
    return re.sub(r"([\\,:])", r"\\\1", str(path))


def _make_devices(root):
    dev = root / "dev"
    _mount("-t", "tmpfs", "-o", "mode=755,nosuid", "tmpfs", dev)
    groups = dict(line.split(":")[0:3:2] for line in (root / "etc/group").read_text().splitlines())
    for name, mode, major, minor, group in DEVICES:
        if name in OF_THIS_HOST and not Path("/dev", name).exists():
            continue
        device = dev / name
        device.parent.mkdir(exist_ok=True)
        os.mknod(device, mode | 0o020000, os.makedev(major, minor))
        os.chown(device, 0, int(groups[group]))
        os.chmod(device, mode)
    for name, target in DEVICE_LINKS.items():
        (dev / name).symlink_to(target)
    for name in ("pts", "shm"):
        (dev / name).mkdir()
    _mount("-t", "devpts", "-o", f"newinstance,ptmxmode=666,mode=620,gid={groups['tty']}", "devpts", dev / "pts")
    _mount("-t", "tmpfs", "-o", "mode=1777,nosuid,nodev", "tmpfs", dev / "shm")


def _furnish(plan, root):
    _make_devices(root)
    _mount("-t", "proc", "proc", root / "proc")
    _mount("--rbind", "/sys", root / "sys")
    _mount("-t", "tmpfs", "-o", "mode=755,nosuid,nodev", "tmpfs", root / "run")
    runtime = root / f"run/user/{UID}"
    runtime.mkdir(parents=True)
    os.chown(runtime, UID, UID)
    runtime.chmod(0o700)
    _mount("--bind", plan["archives"], root / "var/cache/apt/archives")
    for name in ("etc/resolv.conf", "etc/hosts"):
        if Path("/", name).exists():
            shutil.copyfile(Path("/", name).resolve(), root / name)
    socket.sethostname(plan["hostname"])
    with open(root / "etc/hosts", "a") as hosts:
        hosts.write(f"127.0.1.1 {plan['hostname']}\n")
    clone = root / plan["clone"]
    if not clone.exists():
        _clone(clone)
        for path in [clone, *clone.rglob("*")]:
            os.chown(path, UID, UID, follow_symlinks=False)
        for parent in clone.parents:
            if parent == root / HOME:
                break
            os.chown(parent, UID, UID)


def _pivot(root):
    os.chdir(root)
    Path(".old").mkdir(exist_ok=True)
    if libc.syscall(SYS_PIVOT_ROOT[os.uname().machine], b".", b".old") != 0:
        raise RootFailed(f"pivot_root: {os.strerror(ctypes.get_errno())}")
    os.chdir("/")
    if libc.umount2(b"/.old", MNT_DETACH) != 0:
        raise RootFailed(f"the old root cannot be let go: {os.strerror(ctypes.get_errno())}")
    Path("/.old").rmdir()


def _environment(plan):
    home, user, path = ("/root", "root", ROOT_PATH) if plan["root"] else (f"/{HOME}", USER, USER_PATH)
    environment = {"HOME": home, "USER": user, "LOGNAME": user, "SHELL": "/bin/bash", "PATH": path, "LANG": "C.UTF-8",
                   "TERM": os.environ.get("TERM", "dumb")}
    if not plan["root"]:
        environment["XDG_RUNTIME_DIR"] = f"/run/user/{UID}"
    for setting in plan["environment"]:
        name, _, value = setting.partition("=")
        environment[name] = value
        if not value:
            del environment[name]
    return environment


def _become(plan):
    """The command, in place of this process."""
    os.chdir(f"/{plan['clone']}")
    if not plan["root"]:
        wanted = {USER, *plan["groups"]}
        lines = [line.split(":") for line in Path("/etc/group").read_text().splitlines()]
        os.setgroups([int(gid) for name, _, gid, members in lines if name in wanted or USER in members.split(",")])
        os.setgid(UID)
        os.setuid(UID)
    environment = _environment(plan)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        os.execvpe(plan["command"][0], plan["command"], environment)
    except OSError as error:
        _say(f"cannot run {plan['command'][0]}: {error.strerror}")
        os._exit(127)


def _first_process(plan):
    os.set_inheritable(plan["begun"], False)
    _mount("--make-rprivate", "/")
    if not plan["network"]:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    root = _lay_root(plan)
    _furnish(plan, root)
    _pivot(root)
    child = os.fork()
    if child == 0:
        _become(plan)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.write(plan["begun"], b"!")
    while True:      # the first process reaps whatever lost its parent
        pid, status = os.wait()
        if pid == child:
            return os.waitstatus_to_exitcode(status)


def inside(plan):
    """Becomes the machine, as the first process of its namespaces; the command's status, as a shell tells it."""
    try:
        status = _first_process(json.loads(plan))
    except KeyboardInterrupt:
        return 130
    except (RootFailed, OSError, subprocess.CalledProcessError) as error:
        _say(str(error))
        return getattr(error, "status", 125)
    return status if status >= 0 else 128 - status
