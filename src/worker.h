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

/* launcher.c: registers the launcher and the utility hook (at preload). */
extern void cfp_launcher_init(void);
/* Wake the launcher so that it looks at all databases.  Cannot throw. */
extern void cfp_launcher_wake(void);
extern Size cfp_launcher_shmem_size(void);
extern void cfp_launcher_shmem_init(void);
extern PGDLLEXPORT void cfp_launcher_main(Datum arg);

/* worker.c */
extern PGDLLEXPORT void cfp_worker_main(Datum arg);
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
/*
 * Worker side: take all waiting requests of one kind, then finish them with
 * the result, or with the error if there is one.
 */
extern bool cfp_requests_take(CfpDatabase *db, CfpRequestKind *kind);
extern void cfp_requests_finish(CfpDatabase *db, int64 result, const ErrorData *error);

/* What askers of jobs (jobs.c) need as well. */
/* Throws 25006 on a standby. */
extern void cfp_check_not_in_recovery(const char *function);
/*
 * Throws 40P01 when the process waits, directly or through others, for this
 * session; looks each deadlock_timeout.
 */
extern void cfp_check_not_blocking(int pid, const char *function, TimestampTz *looked_at);
/* Throws the error the outcome carries. */
extern void cfp_request_raise(const CfpRequest *outcome, const char *function) pg_attribute_noreturn();
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

/* days.c: the last date closed; false when none ever was. */
extern bool cfp_last_closed(DateADT *date);
/* days.c: note where the days of this database begin, without closing any. */
extern void cfp_days_begin(DateADT date);
/* days.c: after flush and fold, record that the date is closed. */
extern void cfp_days_close(DateADT date, TimestampTz started, int64 items_folded);

#endif							/* CFP_WORKER_H */
