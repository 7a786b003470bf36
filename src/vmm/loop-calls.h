/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Work that other threads hand to the loop thread. The migration engine calls the machine's
 * operations on its own threads, but the board belongs to the loop thread; so an operation runs on
 * the loop while its engine thread waits.
 *
 * The loop thread must therefore never wait for an engine thread: that thread may be waiting for
 * the loop. What has to wait for one (freeing a migration) goes to a thread of its own:
 * loop_calls_detach().
 */
#ifndef VMM_LOOP_CALLS_H
#define VMM_LOOP_CALLS_H

#include <systemd/sd-event.h>

#include <godwit/error.h>

struct loop_calls;

/* Made on the loop thread. */
int loop_calls_new(sd_event *loop, struct loop_calls **ret_calls, struct gw_error *error);
/* Nobody may be waiting any more; work that was posted and has not run is dropped. NULL is fine. */
void loop_calls_free(struct loop_calls *calls);

/* Runs `function` on the loop thread and returns what it returns; on the loop thread itself, at
 * once. */
int loop_calls_run(struct loop_calls *calls, int (*function)(void *argument), void *argument);

/* Lets `function` run on the loop thread later; `argument` (from malloc, may be NULL) is freed
 * afterwards. Posted work runs in order. -ENOMEM. */
int loop_calls_post(struct loop_calls *calls, void (*function)(void *opaque, void *argument),
                    void *opaque, void *argument);

/* Does now what other threads have handed over; for a loop thread that must wait for one. */
void loop_calls_serve(struct loop_calls *calls);

/* Runs `slow(object)` on a new thread, then `done(opaque)` on the loop thread. Negative errno when
 * there can be no thread. Loop thread only. */
int loop_calls_detach(struct loop_calls *calls, void (*slow)(void *object), void *object,
                      void (*done)(void *opaque), void *opaque);

#endif
