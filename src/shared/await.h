/*-------------------------------------------------------------------------
 *
 * await.h
 *		Who waits for a worker that waits for him.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_AWAIT_H
#define CFP_AWAIT_H

#include "base/names.h"

#include "datatype/timestamp.h"

#include "shared/database.h"

/*
 * Throws 40P01 when the process waits, directly or through others, for this
 * session; looks each deadlock_timeout.
 */
extern void cfp_check_not_blocking(int pid, const char *function, TimestampTz *looked_at);

/* Process of the job worker; 0 when there is none. */
extern int	cfp_job_worker_pid(CfpDatabase *db);

#endif							/* CFP_AWAIT_H */
