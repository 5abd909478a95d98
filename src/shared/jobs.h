/*-------------------------------------------------------------------------
 *
 * jobs.h
 *		Long work, done in a second worker so that flushing goes on.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_JOBS_H
#define CFP_JOBS_H

#include "base/names.h"

#include "utils/elog.h"

#include "shared/database.h"

/*
 * Ask for a job and wait; returns its result.  Throws the job's error, 53400
 * when no background worker slot is free, 25006 on a standby and for a job that
 * changes the storage tables in a read-only transaction, 40P01 when the caller
 * blocks the job worker.
 */
extern int64 cfp_job_run(CfpJobKind kind, const CfpJobArgs *args);

/*
 * Worker: begin a job without waiting; false while another occupies the slot.
 * Then poll it with cfp_job_poll() (the worker is woken at its end): false
 * while it runs; else it is over and the slot free, with its result or an
 * error (palloc'd, NULL when it succeeded).  Throws 53400 without a free
 * background worker slot.
 */
extern bool cfp_job_start(CfpJobKind kind, const CfpJobArgs *args);
extern bool cfp_job_poll(int64 *result, ErrorData **error);

/*
 * Worker, at its end: let go of the job it has begun.  One that runs goes on,
 * and frees the slot at its end unless the next worker has taken it over:
 * true when that job of that date runs, to be polled.  Neither throws.
 */
extern void cfp_job_let_go(CfpDatabase *db);
extern bool cfp_job_take_over(CfpJobKind kind, DateADT date);

/* What the job is called in cfp_stat_progress. */
extern const char *cfp_job_name(CfpJobKind kind);

/*
 * What jobs call.  Publish how far the job has come; leave a message that
 * its asker shall see as a WARNING (the last one counts).
 */
extern void cfp_job_progress(int64 done, int64 total);
extern void cfp_job_warn(const char *message);

#endif							/* CFP_JOBS_H */
