# SPDX-License-Identifier: Apache-2.0
"""Where things are: the tree, its build, the cache outside it; and what to say where they cannot be used."""

import contextlib
import errno
import fcntl
import os
import pwd
import shlex
import tempfile
from pathlib import Path

from .programs import absence

TREE = Path(__file__).resolve().parents[2]
GUEST_SOURCES = TREE / "tests" / "guest" / "linux"
SOCKET_PATH_BYTES = 107       # sun_path's, without its end
INSTALL_LOG = "install-log.txt"      # root's after `sudo meson install`, and nobody else writes it
LONGEST_SOCKET = "east/a-name-of-a-machine/control"     # below a temporary directory


class Unusable(Exception):
    """A place that cannot be used: one sentence with the remedy."""


def _cache_path():
    base = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(base):      # the specification: others are to be ignored
        return Path(base) / "godwit"
    try:
        return Path.home() / ".cache" / "godwit"
    except RuntimeError:
        raise Unusable(f"HOME is not set and user {os.geteuid()} has no home: set XDG_CACHE_HOME to a directory for the "
                       "cache") from None


def cache_dir():
    """$XDG_CACHE_HOME/godwit, created on first use. Everything in it can be deleted at any time."""
    path = _cache_path()
    require_writable(path)
    for part in os.scandir(path):
        if part.is_dir():
            require_writable(part.path)
    return path


def build_dir():
    return Path(os.environ.get("GODWIT_BUILD") or TREE / "build")


def owner_of(path):
    number = os.stat(path).st_uid
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def _remedy(path):
    """What makes a place below which something could not be written a good one."""
    path = Path(os.path.abspath(path))
    places = {build_dir(): f"remove it (sudo rm -rf {shlex.quote(str(build_dir()))})",
              _cache_path(): "let XDG_CACHE_HOME name another place"}
    with contextlib.suppress(OSError):
        places[Path(tempfile.gettempdir())] = "let TMPDIR name another place"
    place = next((place for place in places if path.is_relative_to(place) or place.is_relative_to(path)), None)
    if place is None:
        return ""
    if place == build_dir() and not place.exists():
        return f"; the tree is {owner_of(TREE)}'s: clone it to a place of your own"
    if path.exists() and os.stat(path).st_uid != os.geteuid():
        return f"; it is {owner_of(path)}'s: make it yours (sudo chown -R {os.geteuid()} {shlex.quote(str(place))}) or {places[place]}"
    return f"; {places[place]}"


def explained(error):
    """The sentence of an OSError, with the remedy for the place that it is about."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    path = error.filename if isinstance(error.filename, (str, os.PathLike)) else None
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f" at '{error.filename2 or path}'" if path else ""
        return f"there is no space left{where}: make some, or let XDG_CACHE_HOME and TMPDIR name other places"
    if path is None:
        return reason
    if error.errno == errno.ENOENT and "/" not in str(path) and absence(str(path)):
        return absence(str(path))
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR):
        return f"'{path}' cannot be used: {reason}{_remedy(path)}"
    return f"'{path}': {reason}"


def is_of_a_place(error):
    """Whether an OSError is about a file or the room for it, which the user can mend."""
    return error.filename is not None or error.errno in (errno.ENOSPC, errno.EDQUOT)


def _refuse(path, number):
    raise Unusable(explained(OSError(number, "", str(path))))


def require_writable(directory, whole=False):
    """Makes the directory if it is missing. Unusable where it, or with `whole` anything in it, cannot be written."""
    try:
        Path(directory).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unusable(explained(error)) from None
    if not os.access(directory, os.W_OK | os.X_OK):
        _refuse(directory, errno.EROFS if os.access(directory, os.X_OK) and os.geteuid() == 0 else errno.EACCES)
    for folder, folders, files in os.walk(directory) if whole else ():
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            if name != INSTALL_LOG and not os.path.islink(path) and not os.access(path, os.W_OK):
                _refuse(path, errno.EACCES)


def require_build():
    """Before a build: all that is there already can be written over, and its path is one that the tools take."""
    for sign, name in (("\n", "a line's end"), ("\r", "a carriage return")):
        if sign in str(TREE):
            raise Unusable(f"the path of this tree has {name} in it, which ninja cannot take: move it to another place")
    require_writable(build_dir(), whole=True)


@contextlib.contextmanager
def building():
    """Builds of one tree, by demo and check, come one after the other."""
    tree = os.open(TREE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(tree, fcntl.LOCK_EX)
        yield
    finally:
        os.close(tree)


def temporary_dir(prefix):
    """A fresh directory for what is run, with sockets in it, whose paths must not be long."""
    try:
        path = Path(tempfile.mkdtemp(prefix=prefix))
    except OSError as error:
        raise Unusable(explained(error)) from None
    if len(os.fsencode(path / LONGEST_SOCKET)) > SOCKET_PATH_BYTES:
        path.rmdir()
        raise Unusable(f"the path '{path.parent}' is too long for sockets below it: let TMPDIR name a shorter one, as /tmp is")
    return path
