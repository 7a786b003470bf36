# SPDX-License-Identifier: Apache-2.0
# Ends with failure code 7.
.include "machine.inc"
    finish FAIL_7
