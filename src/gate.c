/*-------------------------------------------------------------------------
 *
 * gate.c
 *		The triggers that notice changes of the storage tables by hand.
 *
 * cfp itself writes storage_history and storage_latest below the level at
 * which triggers fire (stores) or in the worker, where they do nothing.  So
 * whoever gets here is a DBA with DML, COPY, TRUNCATE or a restore.
 *
 * cfp_gate_trigger runs before each such statement:
 *
 *	- It takes SHARE ROW EXCLUSIVE on cfp_gate to the end of the transaction.
 *	  Each store holds ROW EXCLUSIVE on it, so no store is in flight while the
 *	  tables change, and two changes by hand queue here instead of meeting in
 *	  a deadlock.  Lock order as in a store: storage table, then gate.
 *	- It tells pending.c, which bypasses the cache until the transaction ends.
 *	- It marks the database to be reconciled: raises the counter of the row
 *	  'reconcile' of cfp_state.  The worker clears the mark only if the counter
 *	  is still the one it found when it began to compare.
 *
 * Switching these triggers off (pg_restore --disable-triggers) and on again
 * counts as such a change too; while they are off nothing is cached (tables.c).
 *
 * cfp_stamp_trigger gives each row written by hand the frozen txid, so that
 * a restored history is not taken for new records.  Logical replication fires
 * row triggers only, so it also does what cfp_gate_trigger does, if that has
 * not been done.
 *
 * Both work in a server where cfp is not preloaded: the mark then is all.
 *
 * They must fire in every session.  Where a restore has left them enabled
 * for ordinary sessions only, the worker calls cfp_gate_enable_always().
 *
 *-------------------------------------------------------------------------
 */
#include "cfp.h"
#include "compat.h"
#include "gate.h"
#include "pending.h"
#include "tables.h"
#include "worker.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

PG_FUNCTION_INFO_V1(cfp_gate_trigger);
PG_FUNCTION_INFO_V1(cfp_stamp_trigger);

/* Columns of cfp_state used here. */
#define STATE_NAME			1
#define STATE_COUNTER		5
#define STATE_AT			9
#define STATE_COLUMNS		9

#define RECONCILE_MARK		"reconcile"

static const char *const storage_tables[] = {"storage_history", "storage_latest"};

/* The (sub)transaction that has marked the database last. */
static TransactionId marked_by = InvalidTransactionId;

static Oid
required_table(const char *name)
{
	Oid			relid = cfp_table_oid(name);

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" of extension \"%s\" is missing",
						name, CFP_EXTENSION_NAME),
				 errhint("Create it again as the extension's script does, or disable the extension's triggers first.")));
	return relid;
}

/*
 * The live row of the mark, a copy; NULL when there is none.  The snapshot is
 * a fresh one at every isolation level: the mark is not the user's data, and
 * an old snapshot must not turn it into a serialization failure.
 */
static HeapTuple
find_mark(Relation state, Oid index, Snapshot snapshot)
{
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, STATE_NAME, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(RECONCILE_MARK));
	key.sk_collation = TupleDescAttr(RelationGetDescr(state), STATE_NAME - 1)->attcollation;
	scan = systable_beginscan(state, index, OidIsValid(index), snapshot, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		tuple = heap_copytuple(tuple);
	systable_endscan(scan);
	return tuple;
}

/*
 * Lock the row against the worker, which alone may be clearing it; false when
 * it has gone or changed meanwhile.
 */
static bool
lock_mark(Relation state, HeapTuple tuple)
{
	Buffer		buffer;
	TM_FailureData failure;
	TM_Result	result;
	/* heap_lock_tuple makes it point into the buffer */
	HeapTupleData locked = {.t_self = tuple->t_self};

	result = heap_lock_tuple(state, &locked, GetCurrentCommandId(true),
							 LockTupleNoKeyExclusive, LockWaitBlock, false,
							 &buffer, &failure);
	ReleaseBuffer(buffer);
	return result == TM_Ok;
}

/*
 * Mark the database to be reconciled, once a transaction.  The caller holds
 * the gate, so nobody else marks now.  Written directly: the role that
 * changes the storage tables needs no privilege on cfp_state.
 */
static void
mark_reconcile(void)
{
	Relation	state = table_open(required_table("cfp_state"), RowExclusiveLock);
	Oid			index = cfp_primary_key_index(state);
	Datum		values[STATE_COLUMNS] = {0};
	bool		nulls[STATE_COLUMNS] = {0};
	bool		replaces[STATE_COLUMNS] = {0};
	bool		done = false;

	values[STATE_AT - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	replaces[STATE_AT - 1] = true;
	replaces[STATE_COUNTER - 1] = true;

	while (!done)
	{
		Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
		HeapTuple	old = find_mark(state, index, snapshot);

		if (old == NULL)
		{
			memset(nulls, true, sizeof(nulls));
			nulls[STATE_NAME - 1] = nulls[STATE_COUNTER - 1] = nulls[STATE_AT - 1] = false;
			values[STATE_NAME - 1] = CStringGetTextDatum(RECONCILE_MARK);
			values[STATE_COUNTER - 1] = Int64GetDatum(1);
			CatalogTupleInsert(state, heap_form_tuple(RelationGetDescr(state), values, nulls));
			done = true;
		}
		else if (TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(old->t_data)))
			done = true;		/* marked before, and not rolled back since */
		else if (lock_mark(state, old))
		{
			bool		isnull;
			Datum		counter = heap_getattr(old, STATE_COUNTER, RelationGetDescr(state), &isnull);

			memset(nulls, false, sizeof(nulls));
			values[STATE_COUNTER - 1] = Int64GetDatum(isnull ? 1 : DatumGetInt64(counter) + 1);
			CatalogTupleUpdate(state, &old->t_self,
							   heap_modify_tuple(old, RelationGetDescr(state),
												 values, nulls, replaces));
			done = true;
		}
		UnregisterSnapshot(snapshot);
	}

	/* The next trigger of the same statement must find the row changed. */
	CommandCounterIncrement();
	marked_by = GetCurrentTransactionId();
	table_close(state, NoLock);
}

void
cfp_gate_pass(void)
{
	LockRelationOid(required_table("cfp_gate"), ShareRowExclusiveLock);
	cfp_pending_note_hand_change();
	mark_reconcile();
}

/* Does the statement switch triggers? */
static bool
switches_triggers(const AlterTableStmt *statement)
{
	ListCell   *lc;

	foreach(lc, statement->cmds)
	{
		switch (((AlterTableCmd *) lfirst(lc))->subtype)
		{
			case AT_EnableTrig:
			case AT_EnableAlwaysTrig:
			case AT_EnableReplicaTrig:
			case AT_DisableTrig:
			case AT_EnableTrigAll:
			case AT_DisableTrigAll:
			case AT_EnableTrigUser:
			case AT_DisableTrigUser:
				return true;
			default:
				break;
		}
	}
	return false;
}

void
cfp_gate_altered(const AlterTableStmt *statement)
{
	Oid			relid;

	/* The extension's own script switches them on, and so may the worker. */
	if (creating_extension || cfp_am_worker || statement->objtype != OBJECT_TABLE ||
		!switches_triggers(statement))
		return;
	relid = RangeVarGetRelid(statement->relation, NoLock, true);
	if (OidIsValid(relid) &&
		(relid == cfp_table_oid("storage_history") ||
		 relid == cfp_table_oid("storage_latest")))
		cfp_gate_pass();
}

Datum
cfp_gate_trigger(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo) ||
		!TRIGGER_FIRED_FOR_STATEMENT(((TriggerData *) fcinfo->context)->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be called as a statement trigger",
						"cfp_gate_trigger")));
	cfp_check_trigger_relation(fcinfo, "cfp_gate_trigger",
							   storage_tables, lengthof(storage_tables));

	if (!cfp_am_worker)
		cfp_gate_pass();
	return PointerGetDatum(NULL);
}

Datum
cfp_stamp_trigger(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	HeapTuple	row;
	int			column;
	Datum		frozen = FullTransactionIdGetDatum(FullTransactionIdFromEpochAndXid(0, FrozenTransactionId));
	bool		isnull = false;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		!TRIGGER_FIRED_BEFORE(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be called as a row trigger before the change",
						"cfp_stamp_trigger")));
	cfp_check_trigger_relation(fcinfo, "cfp_stamp_trigger",
							   storage_tables, lengthof(storage_tables));

	row = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple : trigger->tg_trigtuple;
	if (cfp_am_worker)
		return PointerGetDatum(row);
	if (!TransactionIdIsCurrentTransactionId(marked_by))
		cfp_gate_pass();
	if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
		return PointerGetDatum(row);

	column = SPI_fnumber(RelationGetDescr(trigger->tg_relation), "txid");
	return PointerGetDatum(heap_modify_tuple_by_cols(row, RelationGetDescr(trigger->tg_relation),
													 1, &column, &frozen, &isnull));
}

/*
 * The lock ALTER TABLE needs is only asked for, not waited for: stores would
 * queue behind a worker that waits.
 */
bool
cfp_gate_enable_always(void)
{
	const CfpTables *tables = cfp_tables();
	Oid			relids[] = {tables->history, tables->latest};
	char	   *schema;

	if (!tables->triggers_origin)
		return false;
	schema = get_namespace_name(tables->schema);
	for (int i = 0; i < lengthof(relids); i++)
	{
		if (!ConditionalLockRelationOid(relids[i], ShareRowExclusiveLock))
			return false;
	}
	/* Of what was changed while one of them was missing nobody was told. */
	cfp_pending_note_hand_change();

	SPI_connect();
	for (int i = 0; i < lengthof(relids); i++)
	{
		char	   *name = get_rel_name(relids[i]);

		if (schema == NULL || name == NULL ||
			SPI_execute(psprintf("ALTER TABLE %s ENABLE ALWAYS TRIGGER cfp_gate, "
								 "ENABLE ALWAYS TRIGGER cfp_gate_truncate, "
								 "ENABLE ALWAYS TRIGGER cfp_stamp",
								 quote_qualified_identifier(schema, name)),
						false, 0) != SPI_OK_UTILITY)
			elog(ERROR, "could not enable the triggers of the storage tables");
	}
	SPI_finish();
	ereport(LOG,
			(errmsg("cfp: the triggers of the storage tables fire in all sessions again"),
			 errdetail("They had been disabled and enabled, as pg_restore --disable-triggers does.")));
	return true;
}
