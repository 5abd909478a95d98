/*-------------------------------------------------------------------------
 *
 * await.c
 *		Who waits for a worker that waits for him.
 *
 * A session that asks the worker or the job worker for something (requests.c,
 * jobs.c) waits for a process that may wait for a heavyweight lock of the
 * session, directly or through others, who may be askers, too.  The deadlock
 * detector cannot see who waits for a worker, so the asker looks itself, each
 * deadlock_timeout.
 *
 * Locks: the entry's lock, for moments; nothing throws under it.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "shared/await.h"
#include "shared/database.h"

/* Wait chains longer than this are not followed further. */
#define MAX_CHAIN		1000

int
cfp_job_worker_pid(CfpDatabase *db)
{
	int			pid;

	LWLockAcquire(&db->lock, LW_SHARED);
	pid = db->job.worker_pid;
	LWLockRelease(&db->lock);
	return pid;
}

static void
add_pid(int *pids, int *npids, int pid)
{
	if (pid == 0 || *npids == MAX_CHAIN)
		return;
	for (int i = 0; i < *npids; i++)
	{
		if (pids[i] == pid)
			return;
	}
	pids[(*npids)++] = pid;
}

/* Add the workers from which a session awaits an answer. */
static void
add_workers(int *pids, int *npids, int asker)
{
	CfpDatabase *db = cfp_my_database();
	CfpJob	   *job = &db->job;

	LWLockAcquire(&db->lock, LW_SHARED);
	for (int i = 0; i < CFP_MAX_REQUESTS; i++)
	{
		CfpRequest *request = &db->requests[i];

		if (request->owner_pid != asker ||
			(request->state != CFP_REQUEST_WAITING && request->state != CFP_REQUEST_RUNNING))
			continue;
		add_pid(pids, npids, db->worker_pid);
		if (request->kind == CFP_REQUEST_CLOSE)
			add_pid(pids, npids, job->worker_pid);
	}
	if (job->owner_pid == asker && !job->by_worker &&
		(job->state == CFP_REQUEST_WAITING || job->state == CFP_REQUEST_RUNNING))
		add_pid(pids, npids, job->worker_pid);
	LWLockRelease(&db->lock);
}

/* Does the process wait, directly or through others, for this session? */
static bool
waits_for_me(int pid)
{
	int			pids[MAX_CHAIN];
	int			npids = 0;

	pids[npids++] = pid;
	for (int next = 0; next < npids; next++)
	{
		ArrayType  *blockers;
		int32	   *elements;
		int			n;

		blockers = DatumGetArrayTypeP(DirectFunctionCall1(pg_blocking_pids,
														  Int32GetDatum(pids[next])));
		n = ArrayGetNItems(ARR_NDIM(blockers), ARR_DIMS(blockers));
		elements = (int32 *) ARR_DATA_PTR(blockers);
		for (int i = 0; i < n; i++)
		{
			if (elements[i] == MyProcPid)
				return true;
			/* 0 is a prepared transaction, which waits for nobody */
			add_pid(pids, &npids, elements[i]);
		}
		pfree(blockers);
		add_workers(pids, &npids, pids[next]);
	}
	return false;
}

void
cfp_check_not_blocking(int pid, const char *function, TimestampTz *looked_at)
{
	Assert(pid != MyProcPid);
	if (pid == 0 ||
		!TimestampDifferenceExceeds(*looked_at, GetCurrentTimestamp(), DeadlockTimeout))
		return;
	if (waits_for_me(pid))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_DEADLOCK_DETECTED),
				 errmsg("deadlock detected"),
				 errdetail("%s waits for a worker of this database (process %d), which waits for a lock that this transaction holds.",
						   function, pid),
				 errhint("Commit or roll back first, then call %s.", function)));
	*looked_at = GetCurrentTimestamp();
}
