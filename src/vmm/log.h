/* SPDX-License-Identifier: Apache-2.0 */
/* Messages for people: one line each, to vmm.log in the machine's directory and to standard error.
 */
#ifndef VMM_LOG_H
#define VMM_LOG_H

/* Until log_open() has succeeded, lines go to standard error only. Any thread may log. */
void log_open(const char *path);
void log_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
