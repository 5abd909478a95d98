/*-------------------------------------------------------------------------
 *
 * statement.c
 *		Transactions and statements of cfp's own processes.
 *
 * The worker (worker.c) and the job worker (job_worker.c) both work through
 * what is here: transactions with a snapshot and SPI, and prepared statements
 * in which "@schema@" stands for the extension's schema.
 *
 * A statement reads or writes one of cfp's own tables, as its owner
 * (table_write.c).  The constraints of all tables are immediate, for the same
 * reasons: what is deferred fires when nobody is that owner any more.
 *
 * Locks: before what goes from the history into latest, and before its
 * snapshot, ROW EXCLUSIVE on cfp_gate: a change by hand that committed
 * between would be overwritten with what was before it.  Then, once that is
 * had, SHARE UPDATE EXCLUSIVE: worker and job worker take turns, since who
 * writes a row that the other has changed would fail.  Before the snapshot of a
 * flush, ACCESS SHARE on the history: an ALTER TABLE that rewrote it between
 * would hide the new records from it, which no later flush looks for.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "access/xact.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "base/process.h"
#include "tables/statement.h"
#include "tables/table_write.h"
#include "tables/tables.h"

#define GATE_WAIT			5000	/* ms, for changes by hand to end */

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
		/* A reconciliation may take long. */
		cfp_set_local("lock_timeout", "0");
		LockRelationOid(tables.gate, ShareUpdateExclusiveLock);
		cfp_set_local("lock_timeout", psprintf("%dms", GATE_WAIT));
		/* What cfp_tables() says from here on stays true of all three. */
		LockRelationOid(tables.dirty, AccessShareLock);
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
	ConstraintsSetStmt immediate = {.type = T_ConstraintsSetStmt};

	Assert(cfp_am_worker && !IsTransactionState());

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	if (one_snapshot)
		XactIsoLevel = XACT_REPEATABLE_READ;
	AfterTriggerSetState(&immediate);
	if (gate)
		pass_gate();
	else if (one_snapshot)
		LockRelationOid(cfp_tables()->history, AccessShareLock);
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
}

void
cfp_worker_commit(void)
{
	Assert(IsTransactionState());

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

/* An owner can take its own privileges away, or have none on the schema. */
static void
require_privileges(Oid relid, Oid owner)
{
	AclMode		needed = ACL_SELECT | ACL_INSERT | ACL_UPDATE | ACL_DELETE;
	Oid			schema = get_rel_namespace(relid);
	const char *role;

	if (cfp_may_use_schema(schema, owner) &&
		pg_class_aclmask(relid, owner, needed, ACLMASK_ALL) == needed)
		return;
	role = quote_identifier(GetUserNameFromId(owner, false));
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("the worker of cfp cannot use table \"%s\" as its owner \"%s\"",
					get_rel_name(relid), GetUserNameFromId(owner, false)),
			 errhint("GRANT USAGE ON SCHEMA %s TO %s; GRANT ALL ON %s TO %s;",
					 quote_identifier(get_namespace_name(schema)), role,
					 quote_qualified_identifier(get_namespace_name(schema), get_rel_name(relid)),
					 role)));
}

uint64
cfp_statement_run(CfpStatement *statement, Datum *values, const char *nulls)
{
	Oid			relid = get_relname_relid(statement->table, cfp_tables()->schema);
	Oid			owner;
	CfpOwner	saved;
	int			result;

	Assert(ActiveSnapshotSet());
	Assert(statement->nargs <= CFP_STATEMENT_ARGS);
	Assert(values != NULL || statement->nargs == 0);

	if (!OidIsValid(relid))
		elog(ERROR, "table \"%s\" of the extension is missing", statement->table);
	LockRelationOid(relid, AccessShareLock);
	owner = cfp_table_owner(relid);
	require_privileges(relid, owner);

	cfp_owner_enter(owner, &saved);
	statement_prepare(statement);
	result = SPI_execute_plan(statement->plan, values, nulls, false, 0);
	if (result < 0)
		elog(ERROR, "could not run a statement of the worker: %s",
			 SPI_result_code_string(result));
	cfp_owner_leave(&saved);
	return SPI_processed;
}

Datum
cfp_statement_value(int column, bool *isnull)
{
	Assert(SPI_tuptable != NULL && SPI_tuptable->numvals > 0);
	Assert(column >= 1 && column <= SPI_tuptable->tupdesc->natts);

	return SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, isnull);
}
