/*-------------------------------------------------------------------------
 *
 * jobs.c
 *		Long work in a worker of its own: asking for it, and the slot.
 *
 * Sessions ask with cfp_job_run() (verify, restore, prune, rebuild), the
 * close of day with cfp_job_start() and cfp_job_poll() (backup).  Whoever asks
 * starts a dynamic background worker, the job worker (job_worker.c), which does
 * this one job and ends.  A database has one job at a time; others wait for the
 * slot.
 *
 * The slot (CfpDatabase.job) goes
 *
 *		FREE -> WAITING (asker) -> RUNNING -> DONE (job worker)
 *			 -> FREE (asker, when it has read the outcome)
 *
 * A session that leaves (error, cancel, end) takes its job with it: a job that
 * waits is withdrawn, one that runs is cancelled and the job worker frees the
 * slot.  A job of the database's worker that runs outlives that worker, as
 * nobody's job; its successor takes it over, if it closes the same date.
 *
 * Deadlocks: the asker looks itself whether the job worker waits for it
 * (await.c).
 *
 * Locks: the entry's lock, for moments; nothing throws under it.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "base/process.h"
#include "base/transcode.h"
#include "shared/await.h"
#include "shared/database.h"
#include "shared/jobs.h"
#include "shared/requests.h"

typedef struct JobDefinition
{
	const char *name;			/* for DBAs */
	const char *function;		/* who asks */
	bool		changes;		/* what the storage tables say */
} JobDefinition;

static const JobDefinition jobs[CFP_JOB_KINDS] = {
#define JOB(kind, name, function, changes, run) [CFP_JOB_##kind] = {name, function, changes},
	CFP_JOB_LIST(JOB)
#undef JOB
};

/* The job worker that this process has asked for last. */
static BackgroundWorkerHandle *handle = NULL;

const char *
cfp_job_name(CfpJobKind kind)
{
	Assert(kind >= 0 && kind < CFP_JOB_KINDS);
	return jobs[kind].name;
}

/* Fill the slot if it is free. */
static bool
claim_slot(CfpDatabase *db, CfpJobKind kind, const CfpJobArgs *args)
{
	CfpJob	   *job = &db->job;
	bool		mine;

	Assert(kind >= 0 && kind < CFP_JOB_KINDS);
	LWLockAcquire(&db->lock, LW_EXCLUSIVE);
	mine = job->state == CFP_REQUEST_FREE;
	if (mine)
	{
		job->state = CFP_REQUEST_WAITING;
		job->owner_pid = MyProcPid;
		job->kind = kind;
		job->by_worker = cfp_am_worker;
		job->args = *args;
		job->progress_done = job->progress_total = 0;
		job->warning[0] = '\0';
	}
	LWLockRelease(&db->lock);
	return mine;
}

/* Throws 53400 when no background worker slot is free. */
static void
start_job_worker(CfpJobKind kind)
{
	if (handle != NULL)
		pfree(handle);
	handle = NULL;
	if (!cfp_start_process("cfp_job_main", "cfp job worker", MyDatabaseId, jobs[kind].name,
						   &handle))
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("could not start a worker for %s: no background worker slot is free",
						jobs[kind].function),
				 errhint("Increase max_worker_processes.")));
}

/* Has the job worker ended, or never been started, without taking the job? */
static bool
never_taken(CfpDatabase *db)
{
	pid_t		pid;
	bool		waiting;

	if (handle == NULL || GetBackgroundWorkerPid(handle, &pid) != BGWH_STOPPED)
		return false;
	LWLockAcquire(&db->lock, LW_SHARED);
	waiting = db->job.state == CFP_REQUEST_WAITING;
	LWLockRelease(&db->lock);
	return waiting;
}

static void
fail_never_taken(CfpDatabase *db)
{
	ErrorData	error = {0};

	error.sqlerrcode = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
	error.message = "its worker could not be started";
	error.hint = "The server log says why.";
	LWLockAcquire(&db->lock, LW_EXCLUSIVE);
	if (db->job.state == CFP_REQUEST_WAITING)
	{
		cfp_outcome_set(&db->job.outcome, 0, &error);
		db->job.state = CFP_REQUEST_DONE;
	}
	LWLockRelease(&db->lock);
}

/* Give the slot back, and cancel the job if it runs.  Cannot throw. */
static void
leave_job(int code, Datum arg)
{
	CfpDatabase *db = (CfpDatabase *) DatumGetPointer(arg);

	LWLockAcquire(&db->lock, LW_EXCLUSIVE);
	if (db->job.state == CFP_REQUEST_RUNNING)
	{
		db->job.owner_pid = 0;
		kill(db->job.worker_pid, SIGINT);
	}
	else
		db->job.state = CFP_REQUEST_FREE;
	LWLockRelease(&db->lock);
	ConditionVariableBroadcast(&db->request_cv);
}

int64
cfp_job_run(CfpJobKind kind, const CfpJobArgs *args)
{
	CfpDatabase *db;
	CfpOutcome	outcome;
	char		warning[sizeof(db->job.warning)];
	TimestampTz looked_at = GetCurrentTimestamp();

	/* The worker and the job worker have nobody who could answer them. */
	Assert(!cfp_am_worker);
	cfp_check_not_in_recovery(jobs[kind].function);
	if (jobs[kind].changes && !args->dry_run)
		PreventCommandIfReadOnly(jobs[kind].function);
	db = cfp_my_database();

	/* The job in the slot may wait for this session, too. */
	ConditionVariablePrepareToSleep(&db->request_cv);
	while (!claim_slot(db, kind, args))
	{
		cfp_check_not_blocking(cfp_job_worker_pid(db), jobs[kind].function, &looked_at);
		ConditionVariableTimedSleep(&db->request_cv, DeadlockTimeout, PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();

	PG_ENSURE_ERROR_CLEANUP(leave_job, PointerGetDatum(db));
	{
		start_job_worker(kind);
		ConditionVariablePrepareToSleep(&db->request_cv);
		for (;;)
		{
			CfpRequestState state;

			LWLockAcquire(&db->lock, LW_SHARED);
			state = db->job.state;
			LWLockRelease(&db->lock);
			if (state == CFP_REQUEST_DONE)
				break;
			if (never_taken(db))
				fail_never_taken(db);
			cfp_check_not_blocking(cfp_job_worker_pid(db), jobs[kind].function, &looked_at);
			ConditionVariableTimedSleep(&db->request_cv, Min(DeadlockTimeout, 1000),
										PG_WAIT_EXTENSION);
		}
		ConditionVariableCancelSleep();
	}
	PG_END_ENSURE_ERROR_CLEANUP(leave_job, PointerGetDatum(db));

	outcome = db->job.outcome;
	strlcpy(warning, db->job.warning, sizeof(warning));
	leave_job(0, PointerGetDatum(db));

	if (warning[0] != '\0')
		ereport(WARNING, (errmsg("%s", warning)));
	if (outcome.failed)
		cfp_outcome_raise(&outcome, jobs[kind].function);
	return outcome.result;
}

bool
cfp_job_start(CfpJobKind kind, const CfpJobArgs *args)
{
	CfpDatabase *db = cfp_my_database();

	Assert(cfp_am_worker);
	if (!claim_slot(db, kind, args))
		return false;

	PG_TRY();
	{
		start_job_worker(kind);
	}
	PG_CATCH();
	{
		leave_job(0, PointerGetDatum(db));
		PG_RE_THROW();
	}
	PG_END_TRY();
	return true;
}

void
cfp_job_let_go(CfpDatabase *db)
{
	LWLockAcquire(&db->lock, LW_EXCLUSIVE);
	if (db->job.by_worker && db->job.state == CFP_REQUEST_RUNNING)
		db->job.owner_pid = 0;
	else if (db->job.by_worker)
		db->job.state = CFP_REQUEST_FREE;
	LWLockRelease(&db->lock);
	ConditionVariableBroadcast(&db->request_cv);
}

bool
cfp_job_take_over(CfpJobKind kind, DateADT date)
{
	CfpDatabase *db = cfp_my_database();
	bool		mine;

	LWLockAcquire(&db->lock, LW_EXCLUSIVE);
	mine = db->job.by_worker && db->job.state == CFP_REQUEST_RUNNING &&
		db->job.kind == kind && db->job.args.from == date;
	if (mine)
		db->job.owner_pid = MyProcPid;
	LWLockRelease(&db->lock);
	return mine;
}

bool
cfp_job_poll(int64 *result, ErrorData **error)
{
	CfpDatabase *db = cfp_my_database();
	CfpRequestState state;
	CfpOutcome	outcome;
	char		warning[sizeof(db->job.warning)];

	if (never_taken(db))
		fail_never_taken(db);

	LWLockAcquire(&db->lock, LW_SHARED);
	state = db->job.state;
	outcome = db->job.outcome;
	strlcpy(warning, db->job.warning, sizeof(warning));
	LWLockRelease(&db->lock);
	if (state != CFP_REQUEST_DONE)
		return false;
	leave_job(0, PointerGetDatum(db));

	if (warning[0] != '\0')
		ereport(LOG, (errmsg("cfp: %s", warning)));
	*result = outcome.result;
	*error = NULL;
	if (outcome.failed)
	{
		*error = palloc0(sizeof(ErrorData));
		(*error)->sqlerrcode = outcome.sqlerrcode;
		(*error)->message = pstrdup(outcome.message);
		(*error)->detail = outcome.detail[0] != '\0' ? pstrdup(outcome.detail) : NULL;
		(*error)->hint = outcome.hint[0] != '\0' ? pstrdup(outcome.hint) : NULL;
	}
	return true;
}

void
cfp_job_progress(int64 done, int64 total)
{
	CfpDatabase *db = cfp_my_database();

	LWLockAcquire(&db->lock, LW_EXCLUSIVE);
	db->job.progress_done = done;
	db->job.progress_total = total;
	LWLockRelease(&db->lock);
}

void
cfp_job_warn(const char *message)
{
	CfpDatabase *db = cfp_my_database();

	LWLockAcquire(&db->lock, LW_EXCLUSIVE);
	cfp_clip_text(db->job.warning, sizeof(db->job.warning), message);
	LWLockRelease(&db->lock);
}
