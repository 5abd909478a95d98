/*-------------------------------------------------------------------------
 *
 * process.h
 *		What cfp's own processes have in common: start, settings, memory, errors, end.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_PROCESS_H
#define CFP_PROCESS_H

#include "base/names.h"

#include "postmaster/bgworker.h"
#include "utils/timestamp.h"

/* True in a process of cfp: what it writes is no change by hand. */
extern bool cfp_am_worker;

/*
 * What one turn of such a process allocates; current again after
 * cfp_worker_commit().  The process's loop resets it.
 */
extern MemoryContext cfp_worker_context;

/* Their SIGTERM: cancels what runs and sets ShutdownRequestPending. */
extern void cfp_worker_sigterm(SIGNAL_ARGS);

/*
 * What the postmaster is to be told of such a process: its main function, in
 * this library, and what it is called.  It is started when recovery is over,
 * connects to a database, and is not started again.
 */
extern void cfp_describe_process(BackgroundWorker *process, const char *function,
								 const char *type);

/*
 * Start one in a database, whose oid is its argument; `what` it is to do there,
 * or NULL, is part of its name.  False when no slot is free: *handle is NULL
 * then, else it lives until it is pfree'd.  The caller's latch is set when the
 * process starts and ends.
 */
extern bool cfp_start_process(const char *function, const char *type, Oid dboid,
							  const char *what, BackgroundWorkerHandle **handle);

/*
 * Once in such a process: connect to the database, and set up.  Before, it has
 * put its pid into the entry of the database, so that a command that needs
 * the database without sessions waits for its end, also while it connects.
 */
extern void cfp_process_connect(Oid dboid);

/*
 * In PG_CATCH, in such a process: take the error, and get back to where work
 * can be done, in no transaction.  The error lives until the process's loop
 * resets its memory.
 */
extern ErrorData *cfp_worker_catch(void);

/*
 * Has the time come?  Also when it lies further ahead than anybody waits for
 * it (longest, in ms): then the clock has been set back.  Twice that, since
 * `now` may be older than what was added to it.
 */
static inline bool
cfp_time_has_come(TimestampTz at, int longest, TimestampTz now)
{
	return at <= now || at > TimestampTzPlusMilliseconds(now, 2 * (int64) longest);
}

#endif							/* CFP_PROCESS_H */
