/*-------------------------------------------------------------------------
 *
 * job_worker.c
 *		The job worker: the process that does one job and ends.
 *
 * Started by who asks for the job (jobs.c), it takes the job that waits, runs it
 * and leaves the outcome in the slot.  It works as the worker does
 * (statement.c), but commits synchronously, since somebody is told that the
 * work is done.
 *
 * Ends: SIGINT cancels the job, when its asker leaves; SIGTERM stops it, for a
 * shutdown or a command that needs the database without it.
 *
 * Locks: the entry's lock, for moments; nothing throws under it.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "access/xact.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#include "base/process.h"
#include "jobs/backup.h"
#include "jobs/job_worker.h"
#include "jobs/prune.h"
#include "jobs/rebuild.h"
#include "jobs/restore.h"
#include "jobs/verify.h"
#include "shared/database.h"
#include "shared/jobs.h"
#include "shared/requests.h"

static int64 (*const run_job[CFP_JOB_KINDS]) (const CfpJobArgs *args) =
{
#define JOB(kind, name, function, changes, run) [CFP_JOB_##kind] = run,
	CFP_JOB_LIST(JOB)
#undef JOB
};

/* The job is over: with the result, or with the error if there is one. */
static void
finish_job(CfpDatabase *db, int64 result, const ErrorData *error)
{
	CfpJob	   *job = &db->job;
	bool		by_worker;

	LWLockAcquire(&db->lock, LW_EXCLUSIVE);
	by_worker = job->by_worker;
	if (job->state == CFP_REQUEST_RUNNING)
	{
		cfp_outcome_set(&job->outcome, result, error);
		job->state = job->owner_pid == 0 ? CFP_REQUEST_FREE : CFP_REQUEST_DONE;
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
	CfpDatabase *db = (CfpDatabase *) DatumGetPointer(arg);
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
	Assert(db->job.worker_pid == MyProcPid);
	db->job.worker_pid = 0;
	LWLockRelease(&db->lock);
	ConditionVariableBroadcast(&db->request_cv);
}

/*
 * Take the job that waits, once the last job worker has gone; false when there
 * is none for this process.
 */
static bool
take_job(CfpDatabase *db, Oid dboid)
{
	CfpJob	   *job = &db->job;
	bool		waits;
	bool		mine;

	ConditionVariablePrepareToSleep(&db->request_cv);
	for (;;)
	{
		LWLockAcquire(&db->lock, LW_EXCLUSIVE);
		waits = db->dboid == dboid && job->state == CFP_REQUEST_WAITING &&
			db->stepping_aside == 0 && !ShutdownRequestPending;
		mine = waits && job->worker_pid == 0;
		if (mine)
		{
			job->state = CFP_REQUEST_RUNNING;
			job->worker_pid = MyProcPid;
		}
		LWLockRelease(&db->lock);
		if (mine || !waits)
			break;
		/* SIGTERM is asked after above. */
		HOLD_CANCEL_INTERRUPTS();
		ConditionVariableTimedSleep(&db->request_cv, 100, PG_WAIT_EXTENSION);
		RESUME_CANCEL_INTERRUPTS();
	}
	ConditionVariableCancelSleep();
	return mine;
}

void
cfp_job_main(Datum arg)
{
	Oid			dboid = DatumGetObjectId(arg);
	CfpDatabase *db;
	CfpJobKind	kind;
	CfpJobArgs	args;
	volatile int64 result = 0;
	volatile bool ok = true;

	pqsignal(SIGTERM, cfp_worker_sigterm);
	BackgroundWorkerUnblockSignals();

	db = cfp_find_database(dboid, false);
	if (db == NULL || !take_job(db, dboid))
		proc_exit(0);
	before_shmem_exit(job_worker_exit, PointerGetDatum(db));

	cfp_process_connect(dboid);
	SetConfigOption("synchronous_commit", "on", PGC_SUSET, PGC_S_OVERRIDE);

	/* Nobody changes these while the job runs. */
	kind = db->job.kind;
	args = db->job.args;
	pgstat_report_activity(STATE_RUNNING, cfp_job_name(kind));
	Assert(run_job[kind] != NULL && !IsTransactionState());

	PG_TRY();
	{
		result = run_job[kind] (&args);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		HOLD_INTERRUPTS();
		error = cfp_worker_catch();
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
