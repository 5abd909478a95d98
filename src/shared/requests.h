/*-------------------------------------------------------------------------
 *
 * requests.h
 *		Asking a database's worker for work, and waiting for it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_REQUESTS_H
#define CFP_REQUESTS_H

#include "base/names.h"

#include "utils/elog.h"

#include "shared/database.h"

/*
 * Ask this database's worker for work and wait for it; returns
 * its result.  Throws the worker's error, 55000 when there is no worker,
 * 25006 on a standby, 40P01 when the caller blocks the worker.
 */
extern int64 cfp_request(CfpRequestKind kind);

/* Ask the worker and wait; its error, or its result, is in *outcome. */
extern void cfp_request_outcome(CfpRequestKind kind, CfpOutcome *outcome);

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

/* Throws 25006 on a standby. */
extern void cfp_check_not_in_recovery(const char *function);

/* Throws the error the outcome carries. */
pg_noreturn extern void cfp_outcome_raise(const CfpOutcome *outcome, const char *function);

/* The result, or the error if there is one.  Cannot throw. */
extern void cfp_outcome_set(CfpOutcome *outcome, int64 result, const ErrorData *error);

extern Size cfp_requests_shmem_size(void);
extern void cfp_requests_shmem_init(void);

#endif							/* CFP_REQUESTS_H */
