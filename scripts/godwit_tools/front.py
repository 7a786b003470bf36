# SPDX-License-Identifier: Apache-2.0
"""
How every program of scripts/ begins and ends. Whatever goes wrong is one sentence and exit status 1: a known trouble is
its own sentence, and a fault of the program is named with the log that has its traceback.

Files and the words of other programs are UTF-8 whatever the locale is (Python's UTF-8 mode, which children get too); only
what is printed has the encoding of the locale.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import traceback

from .foreign_apt import FetchError
from .paths import Unusable, explained, is_of_a_place
from .terminal import harmless, spare_encoding

KNOWN = (Unusable, FetchError)


def _take_utf8():
    """Begins anew in UTF-8 mode if this is none; the streams keep the encoding that the locale gave them."""
    if not sys.flags.utf8_mode and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"
        os.environ["PYTHONIOENCODING"] = sys.stdout.encoding
        os.execv(sys.executable, sys.orig_argv)
    os.environ["PYTHONUTF8"] = "1"
    os.environ.pop("PYTHONIOENCODING", None)


def _log_traceback(name):
    """Where the traceback of the exception at hand was written, as the end of a sentence."""
    text = traceback.format_exc()
    with contextlib.suppress(OSError):
        with tempfile.NamedTemporaryFile("w", prefix=f"godwit-{name}-", suffix=".log", delete=False) as log:
            log.write(text)
        return f"the traceback is in {log.name}"
    return "no log can be written; the traceback:\n" + text


def _ended_by_signal(number, _):
    sys.exit(128 + number)


def run(name, main, known=()):
    """Runs main() and ends the process with the status that it returns. `known`: exceptions that are sentences."""
    signal.signal(signal.SIGINT, signal.default_int_handler)     # the programs let it end them while modules load
    for name_of_stream in ("stdout", "stderr"):     # None: it was closed when this process began
        if getattr(sys, name_of_stream) is None:
            setattr(sys, name_of_stream, open(os.devnull, "w", encoding="utf-8"))
    _take_utf8()
    for stream in (sys.stdout, sys.stderr):
        spare_encoding(stream)
    for number in (signal.SIGTERM, signal.SIGHUP):     # so that everything is cleared away then too
        signal.signal(number, _ended_by_signal)
    try:
        status = main()
        sys.stdout.flush()
    except (*KNOWN, *known) as error:
        status = _fail(name, str(error))
    except KeyboardInterrupt:
        status = _fail(name, "interrupted", 130)
    except BrokenPipeError:      # whoever read has gone, and wants no more
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        status = 141
    except subprocess.CalledProcessError as error:
        status = _fail(name, f"'{os.path.basename(error.cmd[0])}' ended with status {error.returncode}; {_log_traceback(name)}")
    except Exception as error:      # whatever it is
        if isinstance(error, OSError) and is_of_a_place(error):
            status = _fail(name, explained(error))
        else:
            status = _fail(name, f"a fault of this program ({type(error).__name__}: {error}); {_log_traceback(name)}")
    sys.exit(status)


def _fail(name, sentence, status=1):
    sys.stdout.flush()
    print(f"{name}: {harmless(sentence)}", file=sys.stderr)
    return status


@contextlib.contextmanager
def uninterrupted():
    """While something is cleared away: a second Ctrl-C does not leave half of it behind."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before):
            signal.signal(number, handler)
