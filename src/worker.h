/*-------------------------------------------------------------------------
 *
 * worker.h
 *		The launcher, the worker of each database, and requests to it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_WORKER_H
#define CFP_WORKER_H

#include "cfp.h"
#include "database.h"
#include "statement.h"

#include "utils/date.h"
#include "utils/timestamp.h"

/* launcher.c: registers the launcher and the utility hook (at preload). */
extern void cfp_launcher_init(void);
/* Wake the launcher so that it looks at all databases.  Cannot throw. */
extern void cfp_launcher_wake(void);
extern Size cfp_launcher_shmem_size(void);
extern void cfp_launcher_shmem_init(void);
extern PGDLLEXPORT void cfp_launcher_main(Datum arg);

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

/* worker.c */
extern PGDLLEXPORT void cfp_worker_main(Datum arg);
/* Flush and fold, and publish it. */
extern int64 cfp_worker_flush(void);
extern int64 cfp_worker_fold(void);
/* Publish how far the work has come. */
extern void cfp_worker_progress(int64 done, int64 total);
/* Publish the number of rows of storage_dirty; -1 when unknown. */
extern void cfp_worker_dirty_items(int64 items);

/*
 * requests.c: ask this database's worker for work and wait for it; returns
 * its result.  Throws the worker's error, 55000 when there is no worker,
 * 25006 on a standby, 40P01 when the caller blocks the worker.
 */
extern int64 cfp_request(CfpRequestKind kind);

/* The same, but the worker's error, or its result, is in *outcome. */
extern void cfp_request_outcome(CfpRequestKind kind, CfpRequest *outcome);

/*
 * Worker side: take all waiting requests of one kind, then finish those of the
 * kind that run with the result, or with the error if there is one.
 */
extern bool cfp_requests_take(CfpDatabase *db, CfpRequestKind *kind);
extern void cfp_requests_finish(CfpDatabase *db, CfpRequestKind kind, int64 result,
								const ErrorData *error);
/* Do requests of the kind run? */
extern bool cfp_requests_running(CfpDatabase *db, CfpRequestKind kind);
/*
 * The worker leaves: what runs ends with the error; to close the day waits for
 * the next one.
 */
extern void cfp_requests_leave(CfpDatabase *db, const ErrorData *error);

/* What askers of jobs (jobs.c) need as well. */
/* Throws 25006 on a standby. */
extern void cfp_check_not_in_recovery(const char *function);
/*
 * Throws 40P01 when the process waits, directly or through others, for this
 * session; looks each deadlock_timeout.
 */
extern void cfp_check_not_blocking(int pid, const char *function, TimestampTz *looked_at);
/* Throws the error the outcome carries. */
pg_noreturn extern void cfp_request_raise(const CfpRequest *outcome, const char *function);
/* Done, or failed with the error if there is one.  Cannot throw. */
extern void cfp_request_set_outcome(CfpRequest *request, int64 result, const ErrorData *error);

/*
 * flush.c: put what was committed since the last flush into storage_dirty;
 * returns the number of records.  In a transaction of its own (the caller
 * is in none).  Throws; the caller catches.
 */
extern int64 cfp_flush_run(void);
/* Forget which items are known to be in storage_dirty. */
extern void cfp_flush_forget(void);
/*
 * flush.c: compare history with latest and complete storage_dirty.  Own
 * transaction; throws 40001 or 55P03 when a hand-made change came meanwhile.
 */
extern void cfp_reconcile_run(void);
/*
 * flush.c: is the database marked to be reconciled?  *counter: of the mark.
 * Own transaction.
 */
extern bool cfp_reconcile_needed(int64 *counter);

/*
 * flush.c: mark the database to be reconciled unless it is.  Own transaction.
 */
extern void cfp_reconcile_mark(void);

/*
 * fold.c: fold storage_dirty into storage_latest; returns the number of
 * items.  In transactions of its own, in chunks.
 */
extern int64 cfp_fold_run(void);

/*
 * days.c: the date that is open, whose close comes next: the first one after
 * the last closed.  In the caller's transaction.
 */
extern DateADT cfp_open_date(void);
/* days.c: the last date whose end of day has come. */
extern DateADT cfp_last_due(TimestampTz now);

/*
 * days.c, for the close of day.  Each in a transaction of its own.
 *
 * The last date closed; where none ever was, the days of this database begin
 * now, and the last date due counts as closed.
 */
extern DateADT cfp_days_begin(void);
/*
 * Begin the close of the date after `last`; those after it up to `due` are
 * skipped; the next one is open from now on.  Does nothing when `last` is not
 * the last one closed any more.
 */
extern void cfp_days_switch(DateADT last, DateADT due, TimestampTz started);

/* A date whose close has begun and not been finished. */
typedef struct CfpDay
{
	DateADT		date;
	bool		folded;
	bool		backed_up;
	bool		failed;			/* the last try to go on */
} CfpDay;

extern bool cfp_days_unfinished(CfpDay *day);
extern void cfp_days_folded(DateADT date, int64 items);
extern void cfp_days_backed_up(DateADT date, int64 bytes);
extern void cfp_days_failed(DateADT date, const char *message);
extern void cfp_days_finish(DateADT date, bool keep_error);

/*
 * close.c: learn where the days stand; warn of an open date that is far ahead.
 * Throws for a time zone that is not known.
 */
extern void cfp_close_look(void);
/*
 * Is there a date to close, or the close of one to be finished?  *next is
 * lowered to the time there will be.  Throws nothing.
 */
extern bool cfp_close_due(TimestampTz now, TimestampTz *next);
/*
 * Do the next step; false when it waits for the backup.  Throws; the caller
 * catches, and calls cfp_close_failed(), which throws, too.
 */
extern bool cfp_close_step(void);
extern void cfp_close_failed(const ErrorData *error);

/*
 * retention.c: after the close of a date, remove the directories that have
 * become too old, a bounded piece of the work at a time.  True while there is
 * more to do.
 */
extern bool cfp_retention_step(DateADT closed);

#endif							/* CFP_WORKER_H */
