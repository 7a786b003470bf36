/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The handoff of docs/protocol.md section 9 as a Promela model: one switchover of one guest, from READY on.
 * tests/unit/model checks it with spin (safety with and without DEATHS, liveness without).
 *
 *   safety     never two owners run the guest, whatever is lost, breaks or dies, at any point
 *   liveness   when nobody dies and the link loses only finitely often, one side runs in the end
 *
 * What is modelled. Each side notices a broken session by itself, at any moment, also when it is not broken
 * (a timeout looks the same); what is in flight may then still arrive or not. A write of the ownership
 * record is one step, and it is durable. Queries travel on new connections and may be lost either way. A side
 * that died runs nothing and answers nothing. The operator's reclaim is allowed only once the other is dead.
 *
 * MUTANT_* leave out one rule each; the check must then fail, or it would prove nothing.
 */

mtype = { COMMIT, RUNNING, QUERY, OWNER, REFUSED };

#ifndef LOSSES
#define LOSSES 2 /* messages that may vanish on query connections */
#endif

chan to_destination = [2] of { mtype }; /* the session's control channel */
chan to_source = [2] of { mtype };
chan question = [1] of { mtype };       /* the query connection */
chan answer = [1] of { mtype };

bool source_runs = false;      /* the guest is paused: READY has just been given */
bool destination_runs = false;
bool destination_dead = false;
bool source_done = false;      /* knows that the guest is the other side's */
byte lost = 0;

#define FENCED destination_dead

active proctype source()
{
    mtype message;

    if
    :: true ->                     /* something failed before the record: the guest goes on here */
       source_runs = true;
       goto decided
    :: true -> skip                /* the record says "released e+1" from here on */
    fi;
    to_destination ! COMMIT;

waiting:
    if
    :: to_source ? message ->
       if
       :: message == RUNNING -> source_done = true; goto decided
       :: message == REFUSED -> goto take_back
       fi
    :: true -> skip                /* the session broke, or seems to */
    fi;
#ifdef MUTANT_RESUME_UNASKED
    goto take_back;
#endif

asking:
    do
    :: FENCED -> goto take_back    /* the operator says so */
    :: question ! QUERY ->
       if
       :: answer ? message ->
          if
          :: message == OWNER -> source_done = true; goto decided
          :: message == REFUSED -> goto take_back
          fi
       :: timeout -> skip          /* question or answer was lost: ask again */
       fi
    od;

take_back:
    source_runs = true;            /* "owner e+2" is recorded before this */

decided:
    skip
}

active proctype destination()
{
    mtype message;
    bool refused = false, session = true;

    do
    :: !destination_dead && session && !refused && nempty(to_destination) ->
       to_destination ? message;   /* COMMIT */
       atomic {                    /* records "owner e+1", then runs */
           if
           :: !destination_dead -> destination_runs = true
           :: else -> break
           fi
       };
       to_source ! RUNNING
    :: !destination_dead && session && !destination_runs && !refused ->
       session = false;            /* lost before COMMIT was read: records "refused e+1" */
       refused = true
    :: !destination_dead && session && !destination_runs && !refused ->
       refused = true;             /* COMMIT came, but it cannot start the guest */
       to_source ! REFUSED
    :: !destination_dead && nempty(question) ->
       question ? message;
       if
       :: destination_runs -> message = OWNER
       :: else ->
          message = REFUSED;
#ifndef MUTANT_ANSWER_UNRECORDED
          refused = true           /* recorded before it is said */
#endif
       fi;
       if
       :: answer ! message
       :: lost < LOSSES -> lost++
       fi
    :: source_done || source_runs -> break
    od
}

#ifdef DEATHS
active proctype reaper()
{
    if
    :: atomic { destination_dead = true; destination_runs = false }
    :: true -> skip
    fi
}
#endif

ltl one_runs { <> [] ((source_runs && !destination_runs) || (!source_runs && destination_runs)) }
ltl never_two { [] !(source_runs && destination_runs) }
