# SPDX-License-Identifier: Apache-2.0
"""
How long tests wait. What must happen is waited for until it happens: the limit only ends a hang, and no test passes or
fails by how fast the host is. GODWIT_PATIENCE in the environment multiplies the limit, for builds and machines that are
slow by themselves.
"""

import os

FACTOR = float(os.environ.get("GODWIT_PATIENCE", 1))
PATIENCE_S = 300 * FACTOR
# A pause budget for tests that are about something else: a host so busy that it is never kept would never switch over.
LONG_BUDGET_MS = 5000
# A peer's silence, for tests whose link does not freeze: a host that is busy for a while is not to be taken for it.
LONG_SILENCE_MS = 60_000
