/*-------------------------------------------------------------------------
 *
 * statement.c
 *		Transactions and statements of cfp's own processes.
 *
 * The worker (worker.c) and the job worker (jobs.c) both work through what is
 * here: fixed settings, their end, transactions with a snapshot and SPI, and
 * prepared statements in which "@schema@" stands for the extension's schema.
 *
 * Plans: the statements all go by key, and must do so whatever the
 * statistics say, the more as a worker keeps its plans while empty tables
 * grow.  So the ways of planning that read whole tables are off in these
 * processes; work that does read them whole, in index order, turns the merge
 * join on for itself.
 *
 * Locks: before what goes from the history into latest, and before its
 * snapshot, ROW EXCLUSIVE on cfp_gate: a change by hand that committed
 * between would be overwritten with what was before it.
 *
 *-------------------------------------------------------------------------
 */
#include "cfp.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "statement.h"
#include "tables.h"

#define GATE_WAIT			5000	/* ms, for changes by hand to end */

bool		cfp_am_worker = false;
MemoryContext cfp_worker_context = NULL;

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
cfp_worker_process_init(void)
{
	cfp_am_worker = true;
	fix_settings();
	cfp_worker_context = AllocSetContextCreate(TopMemoryContext, "cfp worker",
											   ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(cfp_worker_context);
}

/*-------------------------------------------------------------------------
 * Transactions
 *-------------------------------------------------------------------------
 */

/* Whoever changes the tables by hand may hold the gate for hours. */
void
cfp_raise_hand_change(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_IN_USE),
			 errmsg("a transaction is changing the storage tables by hand, or has locked them"),
			 errdetail("What it changes must be compared before the next fold."),
			 errhint("Try again when it has ended.")));
}

/*
 * The gate comes last, as for everybody.  Before it the worker waits holding
 * nothing, so that a TRUNCATE may name the tables in any order.
 */
static void
pass_gate(void)
{
	CfpTables	tables = *cfp_tables();

	cfp_set_local("lock_timeout", psprintf("%dms", GATE_WAIT));
	PG_TRY();
	{
		LockRelationOid(tables.history, AccessShareLock);
		for (int waited = 0; !ConditionalLockRelationOid(tables.latest, RowExclusiveLock);
			 waited += 10)
		{
			UnlockRelationOid(tables.history, AccessShareLock);
			if (waited >= GATE_WAIT)
				cfp_raise_hand_change();
			CHECK_FOR_INTERRUPTS();
			pg_usleep(10000);
			LockRelationOid(tables.history, AccessShareLock);
		}
		LockRelationOid(tables.gate, RowExclusiveLock);
	}
	PG_CATCH();
	{
		if (geterrcode() != ERRCODE_LOCK_NOT_AVAILABLE)
			PG_RE_THROW();
		FlushErrorState();
		cfp_raise_hand_change();
	}
	PG_END_TRY();
}

void
cfp_worker_begin(bool one_snapshot, bool gate)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	if (one_snapshot)
		XactIsoLevel = XACT_REPEATABLE_READ;
	if (gate)
		pass_gate();
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
}

void
cfp_worker_commit(void)
{
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(cfp_worker_context);
}

/* At PGC_S_OVERRIDE, as fix_settings() has it, a value would never be restored. */
void
cfp_set_local(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_SUSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
}

/*-------------------------------------------------------------------------
 * Statements
 *-------------------------------------------------------------------------
 */

/* The statement's text with the schema's quoted name put in. */
static char *
statement_text(const CfpStatement *statement, const char *schema)
{
	static const char placeholder[] = "@schema@";
	StringInfoData text;
	const char *from = statement->sql;
	const char *at;

	initStringInfo(&text);
	while ((at = strstr(from, placeholder)) != NULL)
	{
		appendBinaryStringInfo(&text, from, at - from);
		appendStringInfoString(&text, quote_identifier(schema));
		from = at + strlen(placeholder);
	}
	appendStringInfoString(&text, from);
	return text.data;
}

/* Throws 55000 when the extension is not installed. */
static void
statement_prepare(CfpStatement *statement)
{
	const char *schema = get_namespace_name(cfp_tables()->schema);
	SPIPlanPtr	plan;

	if (schema == NULL)
		elog(ERROR, "the schema of extension cfp is missing");
	if (statement->plan != NULL && strcmp(statement->schema, schema) == 0)
		return;

	if (statement->plan != NULL)
	{
		SPI_freeplan(statement->plan);
		statement->plan = NULL;
	}
	plan = SPI_prepare(statement_text(statement, schema),
					   statement->nargs, statement->argtypes);
	if (plan == NULL || SPI_keepplan(plan) != 0)
		elog(ERROR, "could not prepare a statement of the worker: %s",
			 SPI_result_code_string(SPI_result));
	statement->plan = plan;
	strlcpy(statement->schema, schema, NAMEDATALEN);
}

uint64
cfp_statement_run(CfpStatement *statement, Datum *values, const char *nulls)
{
	int			result;

	statement_prepare(statement);
	result = SPI_execute_plan(statement->plan, values, nulls, false, 0);
	if (result < 0)
		elog(ERROR, "could not run a statement of the worker: %s",
			 SPI_result_code_string(result));
	return SPI_processed;
}

Datum
cfp_statement_value(int column, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, isnull);
}

void
cfp_statement_take_names(Datum *names, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);

	for (int i = 0; i < 3; i++)
	{
		bool		isnull;
		Datum		name = PointerGetDatum(DatumGetTextPCopy(cfp_statement_value(i + 1, &isnull)));

		pfree(DatumGetPointer(names[i]));
		names[i] = name;
	}
	MemoryContextSwitchTo(old);
}
