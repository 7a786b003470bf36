# SPDX-License-Identifier: Apache-2.0
"""
Runs a test program so that it leaves a report for machines: `reported.py DIRECTORY -- PROGRAM [ARGUMENT...]`. cmocka
and pytest take the file's name from their environment; other programs take no notice.
"""

import os
import sys
from pathlib import Path

from results import report_file

directory, command = Path(sys.argv[1]), sys.argv[3:]
report = report_file(directory, command)
report.unlink(missing_ok=True)
# PYTEST_ADDOPTS is split like a shell's words.
environment = {**os.environ, "CMOCKA_MESSAGE_OUTPUT": "xml", "CMOCKA_XML_FILE": str(report),
               "GODWIT_REPORT": str(report), "PYTEST_ADDOPTS": "--junitxml=\"$GODWIT_REPORT\""}
os.execve(command[0], command, environment)
