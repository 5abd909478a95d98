/*-------------------------------------------------------------------------
 *
 * requests.c
 *		Asking a database's worker for work, and waiting for it.
 *
 * cfp_request() is called by cfp_flush(), cfp_fold(), cfp_close_day() and what
 * has changed the storage tables in a session; cfp_requests_take() and
 * cfp_requests_finish() by the worker.
 *
 * A request is a slot in the database's shared entry:
 *
 *		FREE -> WAITING (asker) -> RUNNING (worker) -> DONE or FAILED (worker)
 *			 -> FREE (asker, when it has read the outcome)
 *
 * The worker takes all waiting requests of a kind before it begins, so the
 * snapshot of the work is taken after each of them was made, and gives all
 * of them the one outcome.  An asker that leaves (error, cancel, end of
 * session) frees its slot if it still waits, and otherwise clears owner_pid,
 * upon which the worker frees it.
 *
 * Requests to close the day run over several turns of the worker, while it
 * serves others; any number of them has the one outcome of the close.
 *
 * A worker that ends normally (reload, shutdown) leaves waiting requests, and
 * those to close the day, to its successor; askers give up when there is none
 * for a while.
 *
 * Deadlocks: an asker waits for a worker that may wait for a heavyweight
 * lock of the asker, directly or through others, who may be askers, too.  The
 * deadlock detector cannot see who waits for a worker, so the asker looks
 * itself, each deadlock_timeout.
 *
 * Locks: the entry's lock, for moments; nothing throws under it.
 *
 *-------------------------------------------------------------------------
 */
#include "cfp.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "jobs.h"
#include "pending.h"
#include "worker.h"

/* How long to wait for a worker to be started, in ms. */
#define WORKER_GRACE	5000

/* Wait chains longer than this are not followed further. */
#define MAX_CHAIN		1000

static const char *
kind_function(CfpRequestKind kind)
{
	switch (kind)
	{
		case CFP_REQUEST_FLUSH:
			return "cfp_flush()";
		case CFP_REQUEST_FOLD:
			return "cfp_fold()";
		case CFP_REQUEST_RECONCILE:
			return "reconciling";
		case CFP_REQUEST_CLOSE:
			return "cfp_close_day()";
	}
	return "";
}

/* Take a free slot; NULL when there is none. */
static CfpRequest *
make_request(CfpDatabase *db, CfpRequestKind kind)
{
	CfpRequest *request = NULL;

	LWLockAcquire(&db->lock, LW_EXCLUSIVE);
	for (int i = 0; i < CFP_MAX_REQUESTS; i++)
	{
		if (db->requests[i].state == CFP_REQUEST_FREE)
		{
			request = &db->requests[i];
			request->kind = kind;
			request->state = CFP_REQUEST_WAITING;
			request->owner_pid = MyProcPid;
			break;
		}
	}
	LWLockRelease(&db->lock);
	return request;
}

/* Give the slot back.  Cannot throw. */
static void
leave_request(int code, Datum arg)
{
	CfpRequest *request = (CfpRequest *) DatumGetPointer(arg);
	CfpDatabase *db = cfp_my_database();

	LWLockAcquire(&db->lock, LW_EXCLUSIVE);
	if (request->state == CFP_REQUEST_RUNNING)
		request->owner_pid = 0;
	else
		request->state = CFP_REQUEST_FREE;
	LWLockRelease(&db->lock);
	ConditionVariableBroadcast(&db->request_cv);
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
	if (job->request.owner_pid == asker && !job->by_worker &&
		(job->request.state == CFP_REQUEST_WAITING || job->request.state == CFP_REQUEST_RUNNING))
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

/*
 * Throws 55000 when there has been no worker for a while; *missing_since is
 * the caller's memory of it.  Returns the worker's pid, 0 when none.
 */
static int
look_for_worker(CfpDatabase *db, CfpRequestKind kind, TimestampTz *missing_since)
{
	int			pid;
	bool		no_slot;

	LWLockAcquire(&db->lock, LW_EXCLUSIVE);
	pid = db->worker_pid;
	no_slot = db->no_slot;
	/* This caller is in a database that has the extension. */
	if (pid == 0 && *missing_since == 0)
		db->not_installed = false;
	LWLockRelease(&db->lock);

	if (pid != 0)
	{
		*missing_since = 0;
		return pid;
	}

	cfp_launcher_wake();
	if (*missing_since == 0)
		*missing_since = GetCurrentTimestamp();
	if (no_slot)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot execute %s: cfp has no worker in this database",
						kind_function(kind)),
				 errdetail("All background worker slots of the server are in use."),
				 errhint("Increase max_worker_processes.")));
	if (TimestampDifferenceExceeds(*missing_since, GetCurrentTimestamp(), WORKER_GRACE))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot execute %s: cfp has no worker in this database",
						kind_function(kind)),
				 errhint("A worker starts when the transaction with CREATE EXTENSION has committed. "
						 "If it has, the server log says why there is none.")));
	return 0;
}

void
cfp_check_not_blocking(int pid, const char *function, TimestampTz *looked_at)
{
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

/* Wait until the request is done or failed.  Throws as cfp_request() does. */
static void
wait_for_request(CfpDatabase *db, const CfpRequest *request, CfpRequestKind kind)
{
	TimestampTz missing_since = 0;
	TimestampTz looked_at = GetCurrentTimestamp();
	TimestampTz looked_at_job = looked_at;

	ConditionVariablePrepareToSleep(&db->request_cv);
	for (;;)
	{
		CfpRequestState state;
		int			pid;

		LWLockAcquire(&db->lock, LW_SHARED);
		state = request->state;
		LWLockRelease(&db->lock);
		if (state == CFP_REQUEST_DONE || state == CFP_REQUEST_FAILED)
			break;

		pid = look_for_worker(db, kind, &missing_since);
		cfp_check_not_blocking(pid, kind_function(kind), &looked_at);
		/* A close waits for its backup. */
		if (kind == CFP_REQUEST_CLOSE)
			cfp_check_not_blocking(cfp_job_worker_pid(db), kind_function(kind), &looked_at_job);

		/* A worker that starts does not broadcast: then look more often. */
		ConditionVariableTimedSleep(&db->request_cv,
									pid == 0 ? Min(DeadlockTimeout, 100) : DeadlockTimeout,
									PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
}

void
cfp_request_raise(const CfpRequest *outcome, const char *function)
{
	ereport(ERROR,
			(errcode(outcome->sqlerrcode),
			 errmsg("%s failed: %s", function, outcome->message),
			 outcome->detail[0] != '\0' ? errdetail("%s", outcome->detail) : 0,
			 outcome->hint[0] != '\0' ? errhint("%s", outcome->hint) : 0));
}

void
cfp_check_not_in_recovery(const char *function)
{
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot execute %s during recovery", function),
				 errhint("Call it on the primary; this server replays what its worker does.")));
}

void
cfp_request_outcome(CfpRequestKind kind, CfpRequest *outcome)
{
	CfpDatabase *db;
	CfpRequest *volatile request;
	TimestampTz missing_since = 0;
	TimestampTz looked_at = GetCurrentTimestamp();
	TimestampTz looked_at_job = looked_at;

	cfp_check_not_in_recovery(kind_function(kind));
	/* What was changed by hand is compared first, and so must have ended. */
	if (cfp_hand_changed && kind != CFP_REQUEST_FLUSH)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_DEADLOCK_DETECTED),
				 errmsg("deadlock detected"),
				 errdetail("%s would wait for this transaction, which has changed the storage tables by hand.",
						   kind_function(kind)),
				 errhint("Commit or roll back first, then call %s.", kind_function(kind))));
	db = cfp_my_database();
	look_for_worker(db, kind, &missing_since);

	/* What the requests in the slots wait for may wait for this session. */
	ConditionVariablePrepareToSleep(&db->request_cv);
	while ((request = make_request(db, kind)) == NULL)
	{
		int			pid = look_for_worker(db, kind, &missing_since);

		cfp_check_not_blocking(pid, kind_function(kind), &looked_at);
		cfp_check_not_blocking(cfp_job_worker_pid(db), kind_function(kind), &looked_at_job);
		ConditionVariableTimedSleep(&db->request_cv, DeadlockTimeout, PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();

	PG_ENSURE_ERROR_CLEANUP(leave_request, PointerGetDatum(request));
	{
		cfp_wake_worker(db);
		wait_for_request(db, request, kind);
	}
	PG_END_ENSURE_ERROR_CLEANUP(leave_request, PointerGetDatum(request));

	*outcome = *request;
	leave_request(0, PointerGetDatum(request));
}

int64
cfp_request(CfpRequestKind kind)
{
	CfpRequest	outcome;

	cfp_request_outcome(kind, &outcome);
	if (outcome.state == CFP_REQUEST_FAILED)
		cfp_request_raise(&outcome, kind_function(kind));
	return outcome.result;
}

bool
cfp_requests_take(CfpDatabase *db, CfpRequestKind *kind)
{
	bool		found = false;

	LWLockAcquire(&db->lock, LW_EXCLUSIVE);
	for (int i = 0; i < CFP_MAX_REQUESTS; i++)
	{
		CfpRequest *request = &db->requests[i];

		if (request->state != CFP_REQUEST_WAITING)
			continue;
		if (!found)
			*kind = request->kind;
		found = true;
		if (request->kind == *kind)
			request->state = CFP_REQUEST_RUNNING;
	}
	LWLockRelease(&db->lock);
	return found;
}

/* strlcpy that does not cut a character in two. */
static void
copy_text(char *to, const char *from)
{
	int			len = from == NULL ? 0 : strlen(from);

	len = pg_mbcliplen(from, len, sizeof(((CfpRequest *) NULL)->message) - 1);
	if (len > 0)
		memcpy(to, from, len);
	to[len] = '\0';
}

void
cfp_request_set_outcome(CfpRequest *request, int64 result, const ErrorData *error)
{
	request->result = result;
	if (error == NULL)
	{
		request->state = CFP_REQUEST_DONE;
		return;
	}
	request->sqlerrcode = error->sqlerrcode;
	copy_text(request->message, error->message);
	copy_text(request->detail, error->detail);
	copy_text(request->hint, error->hint);
	request->state = CFP_REQUEST_FAILED;
}

void
cfp_requests_finish(CfpDatabase *db, CfpRequestKind kind, int64 result,
					const ErrorData *error)
{
	LWLockAcquire(&db->lock, LW_EXCLUSIVE);
	for (int i = 0; i < CFP_MAX_REQUESTS; i++)
	{
		CfpRequest *request = &db->requests[i];

		if (request->state != CFP_REQUEST_RUNNING || request->kind != kind)
			continue;
		if (request->owner_pid == 0)
			request->state = CFP_REQUEST_FREE;
		else
			cfp_request_set_outcome(request, result, error);
	}
	LWLockRelease(&db->lock);
	ConditionVariableBroadcast(&db->request_cv);
}

bool
cfp_requests_running(CfpDatabase *db, CfpRequestKind kind)
{
	bool		found = false;

	LWLockAcquire(&db->lock, LW_SHARED);
	for (int i = 0; i < CFP_MAX_REQUESTS && !found; i++)
		found = db->requests[i].state == CFP_REQUEST_RUNNING &&
			db->requests[i].kind == kind;
	LWLockRelease(&db->lock);
	return found;
}

void
cfp_requests_leave(CfpDatabase *db, const ErrorData *error)
{
	cfp_requests_finish(db, CFP_REQUEST_FLUSH, 0, error);
	cfp_requests_finish(db, CFP_REQUEST_FOLD, 0, error);
	cfp_requests_finish(db, CFP_REQUEST_RECONCILE, 0, error);

	LWLockAcquire(&db->lock, LW_EXCLUSIVE);
	for (int i = 0; i < CFP_MAX_REQUESTS; i++)
	{
		CfpRequest *request = &db->requests[i];

		if (request->state == CFP_REQUEST_RUNNING &&
			request->kind == CFP_REQUEST_CLOSE)
			request->state = request->owner_pid == 0 ?
				CFP_REQUEST_FREE : CFP_REQUEST_WAITING;
	}
	LWLockRelease(&db->lock);
}
