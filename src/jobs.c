/*-------------------------------------------------------------------------
 *
 * jobs.c
 *		Long work in a worker of its own: asking for it, and its life.
 *
 * Sessions ask with cfp_job_run() (verify, restore, prune, rebuild), the
 * close of day with cfp_job_start() and cfp_job_poll() (backup).  Whoever asks
 * starts a dynamic background worker, the job worker, which does this one job
 * and ends.  A database has one job at a time; others wait for the slot.
 *
 * The slot (CfpDatabase.job) goes
 *
 *		FREE -> WAITING (asker) -> RUNNING (job worker) -> DONE or FAILED
 *			 -> FREE (asker, when it has read the outcome)
 *
 * A session that leaves (error, cancel, end) takes its job with it: a job that
 * waits is withdrawn, one that runs is cancelled and the job worker frees the
 * slot.  A job of the database's worker that runs outlives that worker, as
 * nobody's job; its successor takes it over, if it closes the same date.
 *
 * The job worker works as the worker does (statement.c), but commits
 * synchronously, since somebody is told that the work is done.
 *
 * Deadlocks: as in requests.c, the asker looks itself whether the job worker
 * waits for it.
 *
 * Locks: the entry's lock, for moments; nothing throws under it.
 *
 *-------------------------------------------------------------------------
 */
#include "cfp.h"

#include "access/xact.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "jobs.h"
#include "worker.h"

typedef struct JobDefinition
{
	const char *name;			/* for DBAs */
	const char *function;		/* who asks */
	bool		changes;		/* what the storage tables say */
	int64		(*run) (const CfpJobArgs *args);
} JobDefinition;

/* By CfpJobKind. */
static const JobDefinition jobs[] = {
	{"backup", "backup", false, cfp_backup_job},
	{"verify backup", "cfp_verify_backup()", false, cfp_verify_backup_job},
	{"restore backup", "cfp_restore_backup()", true, cfp_restore_backup_job},
	{"prune history", "cfp_prune_history()", true, cfp_prune_history_job},
	{"rebuild history", "cfp_rebuild_history_from_wal()", true, cfp_rebuild_history_job},
	{"rebuild latest", "cfp_rebuild_latest_from_history()", true, cfp_rebuild_latest_job},
};

/* The job worker that this process has asked for last. */
static BackgroundWorkerHandle *handle = NULL;

const char *
cfp_job_name(CfpJobKind kind)
{
	return jobs[kind].name;
}

/*-------------------------------------------------------------------------
 * Asking
 *-------------------------------------------------------------------------
 */

int
cfp_job_worker_pid(CfpDatabase *db)
{
	int			pid;

	LWLockAcquire(&db->lock, LW_SHARED);
	pid = db->job.worker_pid;
	LWLockRelease(&db->lock);
	return pid;
}

/* Fill the slot if it is free. */
static bool
claim_slot(CfpDatabase *db, CfpJobKind kind, const CfpJobArgs *args)
{
	CfpJob	   *job = &db->job;
	bool		mine;

	LWLockAcquire(&db->lock, LW_EXCLUSIVE);
	mine = job->request.state == CFP_REQUEST_FREE;
	if (mine)
	{
		job->request.state = CFP_REQUEST_WAITING;
		job->request.owner_pid = MyProcPid;
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
	BackgroundWorker worker;
	MemoryContext old;
	bool		registered;

	if (handle != NULL)
		pfree(handle);
	handle = NULL;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_notify_pid = MyProcPid;
	worker.bgw_main_arg = ObjectIdGetDatum(MyDatabaseId);
	strlcpy(worker.bgw_library_name, CFP_EXTENSION_NAME, BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "cfp_job_main", BGW_MAXLEN);
	snprintf(worker.bgw_name, BGW_MAXLEN, "cfp job worker for database %u: %s",
			 MyDatabaseId, jobs[kind].name);
	strlcpy(worker.bgw_type, "cfp job worker", BGW_MAXLEN);

	old = MemoryContextSwitchTo(TopMemoryContext);
	registered = RegisterDynamicBackgroundWorker(&worker, &handle);
	MemoryContextSwitchTo(old);
	if (!registered)
	{
		handle = NULL;
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("could not start a worker for %s: no background worker slot is free",
						jobs[kind].function),
				 errhint("Increase max_worker_processes.")));
	}
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
	waiting = db->job.request.state == CFP_REQUEST_WAITING;
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
	if (db->job.request.state == CFP_REQUEST_WAITING)
		cfp_request_set_outcome(&db->job.request, 0, &error);
	LWLockRelease(&db->lock);
}

/* Give the slot back, and cancel the job if it runs.  Cannot throw. */
static void
leave_job(int code, Datum arg)
{
	CfpDatabase *db = (CfpDatabase *) DatumGetPointer(arg);

	LWLockAcquire(&db->lock, LW_EXCLUSIVE);
	if (db->job.request.state == CFP_REQUEST_RUNNING)
	{
		db->job.request.owner_pid = 0;
		kill(db->job.worker_pid, SIGINT);
	}
	else
		db->job.request.state = CFP_REQUEST_FREE;
	LWLockRelease(&db->lock);
	ConditionVariableBroadcast(&db->request_cv);
}

int64
cfp_job_run(CfpJobKind kind, const CfpJobArgs *args)
{
	CfpDatabase *db;
	CfpRequest	outcome;
	char		warning[sizeof(db->job.warning)];
	TimestampTz looked_at = GetCurrentTimestamp();

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
			state = db->job.request.state;
			LWLockRelease(&db->lock);
			if (state == CFP_REQUEST_DONE || state == CFP_REQUEST_FAILED)
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

	outcome = db->job.request;
	strlcpy(warning, db->job.warning, sizeof(warning));
	leave_job(0, PointerGetDatum(db));

	if (warning[0] != '\0')
		ereport(WARNING, (errmsg("%s", warning)));
	if (outcome.state == CFP_REQUEST_FAILED)
		cfp_request_raise(&outcome, jobs[kind].function);
	return outcome.result;
}

bool
cfp_job_start(CfpJobKind kind, const CfpJobArgs *args)
{
	CfpDatabase *db = cfp_my_database();

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
	if (db->job.by_worker && db->job.request.state == CFP_REQUEST_RUNNING)
		db->job.request.owner_pid = 0;
	else if (db->job.by_worker)
		db->job.request.state = CFP_REQUEST_FREE;
	LWLockRelease(&db->lock);
	ConditionVariableBroadcast(&db->request_cv);
}

bool
cfp_job_take_over(CfpJobKind kind, DateADT date)
{
	CfpDatabase *db = cfp_my_database();
	bool		mine;

	LWLockAcquire(&db->lock, LW_EXCLUSIVE);
	mine = db->job.by_worker && db->job.request.state == CFP_REQUEST_RUNNING &&
		db->job.kind == kind && db->job.args.from == date;
	if (mine)
		db->job.request.owner_pid = MyProcPid;
	LWLockRelease(&db->lock);
	return mine;
}

bool
cfp_job_poll(int64 *result, ErrorData **error)
{
	CfpDatabase *db = cfp_my_database();
	CfpRequest	outcome;
	char		warning[sizeof(db->job.warning)];

	if (never_taken(db))
		fail_never_taken(db);

	LWLockAcquire(&db->lock, LW_SHARED);
	outcome = db->job.request;
	strlcpy(warning, db->job.warning, sizeof(warning));
	LWLockRelease(&db->lock);
	if (outcome.state != CFP_REQUEST_DONE && outcome.state != CFP_REQUEST_FAILED)
		return false;
	leave_job(0, PointerGetDatum(db));

	if (warning[0] != '\0')
		ereport(LOG, (errmsg("cfp: %s", warning)));
	*result = outcome.result;
	*error = NULL;
	if (outcome.state == CFP_REQUEST_FAILED)
	{
		*error = palloc0(sizeof(ErrorData));
		(*error)->sqlerrcode = outcome.sqlerrcode;
		(*error)->message = pstrdup(outcome.message);
		(*error)->detail = outcome.detail[0] != '\0' ? pstrdup(outcome.detail) : NULL;
		(*error)->hint = outcome.hint[0] != '\0' ? pstrdup(outcome.hint) : NULL;
	}
	return true;
}

/*-------------------------------------------------------------------------
 * The job worker
 *-------------------------------------------------------------------------
 */

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
	strlcpy(db->job.warning, message, sizeof(db->job.warning));
	LWLockRelease(&db->lock);
}

/* The job is over: with the result, or with the error if there is one. */
static void
finish_job(CfpDatabase *db, int64 result, const ErrorData *error)
{
	CfpJob	   *job = &db->job;
	bool		by_worker;

	LWLockAcquire(&db->lock, LW_EXCLUSIVE);
	by_worker = job->by_worker;
	if (job->request.state == CFP_REQUEST_RUNNING)
	{
		if (job->request.owner_pid == 0)
			job->request.state = CFP_REQUEST_FREE;
		else
			cfp_request_set_outcome(&job->request, result, error);
	}
	LWLockRelease(&db->lock);
	ConditionVariableBroadcast(&db->request_cv);
	if (by_worker)
		cfp_wake_worker(db);
}

/* At exit; a job that still runs has been stopped. */
static void
job_worker_exit(int code, Datum arg)
{
	CfpDatabase *db = cfp_my_database();
	ErrorData	stopped = {0};
	bool		stepped_aside;

	LWLockAcquire(&db->lock, LW_SHARED);
	stepped_aside = db->stepping_aside > 0;
	LWLockRelease(&db->lock);
	stopped.sqlerrcode = ERRCODE_QUERY_CANCELED;
	stopped.message = stepped_aside ?
		"its worker stepped aside for a command on the database or the extension" :
		"its worker was stopped";
	stopped.hint = stepped_aside ? "Try again when that has ended." :
		"Try again; the server log says why it was stopped.";
	finish_job(db, 0, &stopped);

	LWLockAcquire(&db->lock, LW_EXCLUSIVE);
	db->job.worker_pid = 0;
	LWLockRelease(&db->lock);
	ConditionVariableBroadcast(&db->request_cv);
}

/*
 * Take the job that waits, once the last job worker has gone; false when there
 * is none for this process.
 */
static bool
take_job(CfpDatabase *db)
{
	CfpJob	   *job = &db->job;
	bool		waits;
	bool		mine;

	ConditionVariablePrepareToSleep(&db->request_cv);
	for (;;)
	{
		LWLockAcquire(&db->lock, LW_EXCLUSIVE);
		waits = job->request.state == CFP_REQUEST_WAITING && db->stepping_aside == 0 &&
			!ShutdownRequestPending;
		mine = waits && job->worker_pid == 0;
		if (mine)
		{
			job->request.state = CFP_REQUEST_RUNNING;
			job->worker_pid = MyProcPid;
		}
		LWLockRelease(&db->lock);
		if (mine || !waits)
			break;
		ConditionVariableTimedSleep(&db->request_cv, 100, PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
	return mine;
}

void
cfp_job_main(Datum arg)
{
	CfpDatabase *db;
	const JobDefinition *definition;
	CfpJobArgs	args;
	volatile int64 result = 0;
	volatile bool ok = true;

	pqsignal(SIGTERM, cfp_worker_sigterm);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(arg), InvalidOid, 0);
	cfp_worker_process_init();
	SetConfigOption("synchronous_commit", "on", PGC_SUSET, PGC_S_OVERRIDE);

	db = cfp_my_database();
	if (!take_job(db))
		proc_exit(0);
	before_shmem_exit(job_worker_exit, (Datum) 0);

	/* Nobody changes these while the job runs. */
	definition = &jobs[db->job.kind];
	args = db->job.args;
	pgstat_report_activity(STATE_RUNNING, definition->name);

	PG_TRY();
	{
		result = definition->run(&args);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		HOLD_INTERRUPTS();
		MemoryContextSwitchTo(cfp_worker_context);
		error = CopyErrorData();
		FlushErrorState();
		AbortOutOfAnyTransaction();
		LWLockReleaseAll();
		/* When it was stopped, job_worker_exit() tells. */
		if (!ShutdownRequestPending)
			finish_job(db, 0, error);
		ok = false;
		RESUME_INTERRUPTS();
	}
	PG_END_TRY();
	if (ok)
		finish_job(db, result, NULL);

	proc_exit(0);
}
