# SPDX-License-Identifier: Apache-2.0
"""The run directory in any state: links, odd files, half of a machine; and what godwit itself puts there."""

import os
import subprocess

import pytest
from cli_place import cli  # noqa: F401
from test_remove import ended


# Lost output


@pytest.mark.parametrize("command", [["list"], ["list", "--json"], ["status", "x"], ["log", "x"], ["cpu"], ["--help"], ["--version"],
                                     ["run", "--help"]], ids=" ".join)
def test_output_that_is_lost_is_told(cli, command):  # noqa: F811
    ended(cli, "x", status={"verdict": "ended"})
    with open("/dev/full", "w") as full:
        done = subprocess.run(cli.command(*command), stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.stderr.endswith("godwit: cannot write to standard output: No space left on device\n")
    assert done.returncode == 1


def test_nobody_is_told_that_nobody_reads(cli):  # noqa: F811
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(cli.command("--help"), stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(writer)
    assert done.stderr == ""
    assert subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *cli.command("list")], timeout=60).returncode == 0
