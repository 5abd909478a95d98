/*-------------------------------------------------------------------------
 *
 * job_worker.h
 *		The job worker: the process that does one job and ends.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_JOB_WORKER_H
#define CFP_JOB_WORKER_H

#include "base/names.h"

extern PGDLLEXPORT void cfp_job_main(Datum arg);

#endif							/* CFP_JOB_WORKER_H */
