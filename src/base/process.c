/*-------------------------------------------------------------------------
 *
 * process.c
 *		What cfp's own processes have in common: start, settings, memory, errors, end.
 *
 * The worker and the job worker of a database set themselves up here, once they
 * have connected: settings that a DBA may have made for sessions get the values
 * that their work needs.
 *
 * Plans: the statements all go by key, and must do so whatever the
 * statistics say, the more as a worker keeps its plans while empty tables
 * grow.  So the ways of planning that read whole tables are off in these
 * processes.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#include "base/process.h"

bool		cfp_am_worker = false;
MemoryContext cfp_worker_context = NULL;

void
cfp_describe_process(BackgroundWorker *process, const char *function, const char *type)
{
	memset(process, 0, sizeof(*process));
	process->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	process->bgw_start_time = BgWorkerStart_RecoveryFinished;
	process->bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(process->bgw_library_name, CFP_EXTENSION_NAME, BGW_MAXLEN);
	strlcpy(process->bgw_function_name, function, BGW_MAXLEN);
	strlcpy(process->bgw_name, type, BGW_MAXLEN);
	strlcpy(process->bgw_type, type, BGW_MAXLEN);
}

bool
cfp_start_process(const char *function, const char *type, Oid dboid, const char *what,
				  BackgroundWorkerHandle **handle)
{
	BackgroundWorker process;
	MemoryContext old;
	bool		registered;

	Assert(OidIsValid(dboid));
	cfp_describe_process(&process, function, type);
	process.bgw_notify_pid = MyProcPid;
	process.bgw_main_arg = ObjectIdGetDatum(dboid);
	snprintf(process.bgw_name, BGW_MAXLEN, "%s for database %u%s%s", type, dboid,
			 what != NULL ? ": " : "", what != NULL ? what : "");

	old = MemoryContextSwitchTo(TopMemoryContext);
	registered = RegisterDynamicBackgroundWorker(&process, handle);
	MemoryContextSwitchTo(old);
	if (!registered)
		*handle = NULL;
	return registered;
}

/* Settings that must not be what a DBA made them for sessions. */
static void
fix_settings(void)
{
	static const char *const fixed[][2] = {
		{"role", "none"},
		{"session_replication_role", "replica"},
		{"search_path", ""},
		{"exit_on_error", "off"},
		{"statement_timeout", "0"},
		{"lock_timeout", "0"},
		{"idle_in_transaction_session_timeout", "0"},
		{"transaction_timeout", "0"},
		{"temp_file_limit", "-1"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"default_transaction_deferrable", "off"},
		{"row_security", "off"},
		{"zero_damaged_pages", "off"},
		{"ignore_checksum_failure", "off"},
		/* What it writes is derived and would be written again. */
		{"synchronous_commit", "off"},
		/* Plans by key, see the head of this file. */
		{"plan_cache_mode", "force_generic_plan"},
		{"enable_indexscan", "on"},
		{"enable_indexonlyscan", "on"},
		{"enable_nestloop", "on"},
		{"enable_sort", "on"},
		{"enable_seqscan", "off"},
		{"enable_bitmapscan", "off"},
		{"enable_hashjoin", "off"},
		{"enable_mergejoin", "off"},
		{"enable_hashagg", "off"},
		{"max_parallel_workers_per_gather", "0"},
		{"jit", "off"},
		/* What it runs, at each flush, is nobody's statement. */
		{"pgaudit.log", "none"},
		{"auto_explain.log_min_duration", "-1"},
	};

	/* Before the role, and where a role's name can be looked up. */
	HOLD_INTERRUPTS();
	StartTransactionCommand();
	SetConfigOption("session_authorization", GetUserNameFromId(BOOTSTRAP_SUPERUSERID, false),
					PGC_SUSET, PGC_S_OVERRIDE);
	CommitTransactionCommand();
	RESUME_INTERRUPTS();

	for (int i = 0; i < lengthof(fixed); i++)
	{
		/* Not every server knows all of them. */
		if (GetConfigOption(fixed[i][0], true, false) != NULL)
			SetConfigOption(fixed[i][0], fixed[i][1], PGC_SUSET, PGC_S_OVERRIDE);
	}
}

/*
 * End at the next opportunity.  A query cancel gets the worker out of what it
 * does, a lock wait included, by an error that is caught.
 */
void
cfp_worker_sigterm(SIGNAL_ARGS)
{
	int			save_errno = errno;

	ShutdownRequestPending = true;
	QueryCancelPending = true;
	InterruptPending = true;
	SetLatch(MyLatch);
	errno = save_errno;
}

void
cfp_process_connect(Oid dboid)
{
	Assert(!cfp_am_worker && !OidIsValid(MyDatabaseId));

	/*
	 * A SIGTERM cancels it: then leave without a word.  Whether a database
	 * takes connections is asked before a process is started for it.
	 */
	PG_TRY();
	{
		BackgroundWorkerInitializeConnectionByOid(dboid, InvalidOid, BGWORKER_BYPASS_ALLOWCONN);
	}
	PG_CATCH();
	{
		if (ShutdownRequestPending)
			proc_exit(0);
		PG_RE_THROW();
	}
	PG_END_TRY();

	cfp_am_worker = true;
	fix_settings();
	cfp_worker_context = AllocSetContextCreate(TopMemoryContext, "cfp worker",
											   ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(cfp_worker_context);
}

ErrorData *
cfp_worker_catch(void)
{
	ErrorData  *error;

	HOLD_INTERRUPTS();
	MemoryContextSwitchTo(cfp_worker_context);
	error = CopyErrorData();
	FlushErrorState();
	AbortOutOfAnyTransaction();
	LWLockReleaseAll();
	ConditionVariableCancelSleep();
	pgstat_report_wait_end();
	MemoryContextSwitchTo(cfp_worker_context);
	RESUME_INTERRUPTS();
	return error;
}
