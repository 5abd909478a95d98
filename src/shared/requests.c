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
 *		FREE -> WAITING (asker) -> RUNNING -> DONE (worker)
 *			 -> FREE (asker, when it has read the outcome)
 *
 * The outcome, with the texts of an error, is not in the slot but in an array
 * that has a place for each process of the server.  A process has one request at
 * a time, so there is a place for every outcome, whatever other askers do, in a
 * fraction of the memory that one in each slot would take.  The worker writes
 * there when the slot becomes DONE, and only for an asker that has not left.
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
 * Deadlocks: the asker looks itself whether the worker waits for it (await.c).
 *
 * Locks: the entry's lock, for moments; nothing throws under it.  It protects
 * the outcome of whoever has a request in the entry, too.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "base/process.h"
#include "base/transcode.h"
#include "shared/await.h"
#include "shared/database.h"
#include "shared/requests.h"

/* How long to wait for a worker to be started, in ms. */
#define WORKER_GRACE	5000

/* Of the request that each process has made, by the number of the process. */
static CfpOutcome *outcomes = NULL;

Size
cfp_requests_shmem_size(void)
{
	return mul_size(MaxBackends, sizeof(CfpOutcome));
}

void
cfp_requests_shmem_init(void)
{
	bool		found;

	outcomes = ShmemInitStruct("cfp outcomes", cfp_requests_shmem_size(), &found);
}

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
			request->owner_number = MyProc - ProcGlobal->allProcs;
			Assert(request->owner_number < MaxBackends);
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

	Assert(request >= db->requests && request < db->requests + CFP_MAX_REQUESTS);
	LWLockAcquire(&db->lock, LW_EXCLUSIVE);
	if (request->state == CFP_REQUEST_RUNNING)
		request->owner_pid = 0;
	else
		request->state = CFP_REQUEST_FREE;
	LWLockRelease(&db->lock);
	ConditionVariableBroadcast(&db->request_cv);
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

	cfp_wake_launcher();
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
		if (state == CFP_REQUEST_DONE)
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
cfp_outcome_raise(const CfpOutcome *outcome, const char *function)
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
cfp_request_outcome(CfpRequestKind kind, CfpOutcome *outcome)
{
	CfpDatabase *db;
	CfpRequest *volatile request;
	TimestampTz missing_since = 0;
	TimestampTz looked_at = GetCurrentTimestamp();
	TimestampTz looked_at_job = looked_at;

	Assert(!cfp_am_worker);
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

	*outcome = outcomes[request->owner_number];
	leave_request(0, PointerGetDatum(request));
}

int64
cfp_request(CfpRequestKind kind)
{
	CfpOutcome	outcome;

	cfp_request_outcome(kind, &outcome);
	if (outcome.failed)
		cfp_outcome_raise(&outcome, kind_function(kind));
	return outcome.result;
}

bool
cfp_requests_take(CfpDatabase *db, CfpRequestKind *kind)
{
	bool		found = false;

	Assert(db->worker_pid == MyProcPid);
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

void
cfp_outcome_set(CfpOutcome *outcome, int64 result, const ErrorData *error)
{
	outcome->failed = error != NULL;
	outcome->result = result;
	if (error == NULL)
		return;
	outcome->sqlerrcode = error->sqlerrcode;
	cfp_clip_text(outcome->message, sizeof(outcome->message), error->message);
	cfp_clip_text(outcome->detail, sizeof(outcome->detail), error->detail);
	cfp_clip_text(outcome->hint, sizeof(outcome->hint), error->hint);
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
		{
			cfp_outcome_set(&outcomes[request->owner_number], result, error);
			request->state = CFP_REQUEST_DONE;
		}
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
