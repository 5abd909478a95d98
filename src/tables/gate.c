/*-------------------------------------------------------------------------
 *
 * gate.c
 *		What the triggers do that notice changes of the storage tables by hand.
 *
 * cfp itself writes storage_history and storage_latest below the level at
 * which triggers fire (stores) or in the worker, where they do nothing.  So
 * whoever gets here is a DBA with DML, COPY, TRUNCATE or a restore.
 *
 * cfp_gate_statement() runs before each such statement:
 *
 *	- It takes SHARE ROW EXCLUSIVE on cfp_gate to the end of the transaction.
 *	  Each store holds ROW EXCLUSIVE on it, so no store is in flight while the
 *	  tables change, and two changes by hand queue here instead of meeting in
 *	  a deadlock.  Lock order as in a store: storage table, then gate.
 *	- It raises hand_changes of the database, which bypasses the cache until the
 *	  transaction ends.
 *	- It marks the database to be reconciled: raises the counter of the row
 *	  'reconcile' of cfp_state.  The worker clears the mark only if the counter
 *	  is still the one it found when it began to compare.
 *
 * Switching these triggers off (pg_restore --disable-triggers) and on again
 * counts as such a change too; while they are off nothing is cached (tables.c).
 *
 * cfp_gate_row() gives each row written by hand the frozen txid, so that
 * a restored history is not taken for new records, and refuses what a store
 * would refuse (content.c).  Logical replication fires
 * row triggers only, so it also does what cfp_gate_statement() does, if that has
 * not been done; and it has replication.c see to it that what is applied does
 * not meet what this database has made of the history by itself.
 *
 * What records go from the tables, or become others, is noted (given_up.c):
 * their versions stay taken, and the day files are told.
 *
 * cfp_gate_floor() merges what is inserted into storage_floors.
 *
 * They work in a server where cfp is not preloaded: the mark then is all that
 * tells of the change.
 *
 * They must fire in every session.  Where a restore has left them enabled
 * for ordinary sessions only, the worker calls cfp_gate_enable_always().
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"
#include "base/compat.h"
#include "base/process.h"
#include "record/content.h"
#include "record/row.h"
#include "record/record.h"
#include "shared/database.h"
#include "tables/floors.h"
#include "tables/gate.h"
#include "tables/given_up.h"
#include "tables/replication.h"
#include "tables/state.h"
#include "tables/table_write.h"
#include "tables/tables.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "commands/tablecmds.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "replication/logicalworker.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

/* The (sub)transaction that has marked the database last. */
static TransactionId marked_by = InvalidTransactionId;

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

#ifdef USE_ASSERT_CHECKING
/* As a change by hand does, so that nobody stores, and no other changes. */
static bool
holds_gate(void)
{
	LOCKTAG		tag;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, cfp_required_oid("cfp_gate"));
	return cfp_lock_held_by_me(&tag, ShareRowExclusiveLock);
}
#endif

/*
 * Mark the database to be reconciled, once a transaction.  The caller holds
 * the gate, so nobody else marks now.
 */
static void
mark_reconcile(void)
{
	Relation	state = table_open(cfp_required_oid("cfp_state"), RowExclusiveLock);
	bool		done = false;

	Assert(holds_gate());

	/*
	 * A fresh snapshot at every isolation level: the mark is not the user's
	 * data, and an old one must not turn it into a serialization failure.
	 */
	while (!done)
	{
		Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
		HeapTuple	old = cfp_state_mark(state, snapshot);

		if (old == NULL)
		{
			cfp_state_write_mark(state, snapshot, NULL);
			done = true;
		}
		else if (TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(old->t_data)))
			done = true;		/* marked before, and not rolled back since */
		else if (lock_mark(state, old))
		{
			/* Of what was changed before, nobody has seen the versions yet. */
			cfp_given_up_unseen();
			cfp_state_write_mark(state, snapshot, old);
			done = true;
		}
		UnregisterSnapshot(snapshot);
	}

	marked_by = GetCurrentTransactionId();
	table_close(state, NoLock);
}

void
cfp_gate_pass(void)
{
	LockRelationOid(cfp_required_oid("cfp_gate"), ShareRowExclusiveLock);
	cfp_hand_change_begin();
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
		 relid == cfp_table_oid("storage_latest") ||
		 relid == cfp_table_oid("storage_floors")))
	{
		cfp_gate_pass();
		cfp_given_up_unseen();
	}
}

void
cfp_gate_statement(const TriggerData *trigger)
{
	if (cfp_am_worker)
		return;
	cfp_gate_pass();
	if (TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
	{
		cfp_given_up_table(trigger->tg_relation);
		if (IsLogicalWorker())
			cfp_replication_truncate(trigger->tg_relation);
	}
}

/*
 * Is the row deleted, or does it become another record?  *goes_on: of the same
 * item, at a higher version.
 */
static bool
gives_up(const TriggerData *trigger, bool *goes_on)
{
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);
	bool		isnull;
	int32		old;
	int32		new;

	*goes_on = false;
	if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		return false;
	if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event) || !cfp_updates_same_item(trigger))
		return true;
	old = DatumGetInt32(heap_getattr(trigger->tg_trigtuple, CFP_COL_VERSION + 1, desc, &isnull));
	new = DatumGetInt32(heap_getattr(trigger->tg_newtuple, CFP_COL_VERSION + 1, desc, &isnull));
	*goes_on = new > old;
	return new != old;
}

/*
 * What cannot be read back must not get in by hand either.  The table may have
 * been altered: what counts is the type of a column.
 */
static void
check_row(HeapTuple row, TupleDesc desc)
{
	Datum	   *values = palloc(desc->natts * sizeof(Datum));
	bool	   *nulls = palloc(desc->natts * sizeof(bool));

	heap_deform_tuple(row, desc, values, nulls);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i);
		const char *name = NameStr(column->attname);
		bool		sound = true;
		CfpFault	fault;

		if (nulls[i])
			continue;
		if (column->atttypid == TEXTOID)
		{
			text	   *str = DatumGetTextPP(values[i]);

			sound = cfp_text_is_sound(name, VARDATA_ANY(str), VARSIZE_ANY_EXHDR(str), &fault);
		}
		else if (column->atttypid == JSONBOID)
			sound = cfp_data_is_sound(name, &DatumGetJsonbP(values[i])->root, &fault);
		if (!sound)
			cfp_raise_fault(&fault);
	}
	pfree(values);
	pfree(nulls);
}

/*
 * Does the row say which record it is?  Not where the table has been altered,
 * nor with a NULL, which the table refuses after the triggers.
 */
static bool
is_record(HeapTuple row, TupleDesc desc)
{
	for (int i = CFP_COL_KEY; i <= CFP_COL_VERSION; i++)
	{
		if (i > CFP_COL_ITEM && i < CFP_COL_VERSION)
			continue;
		if (i >= desc->natts || heap_attisnull(row, i + 1, desc) ||
			TupleDescAttr(desc, i)->atttypid != (i == CFP_COL_VERSION ? INT4OID : TEXTOID))
			return false;
	}
	return true;
}

/*
 * What comes into the table and what goes from it is noted.  False when the
 * change is passed over, as some that a subscription applies are.
 */
static bool
note_row(const TriggerData *trigger)
{
	Relation	rel = trigger->tg_relation;
	bool		updated = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event);
	bool		given_up;
	bool		goes_on;

	if (!TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
		cfp_given_up_unseen();
	if (!is_record(trigger->tg_trigtuple, RelationGetDescr(rel)) ||
		(updated && !is_record(trigger->tg_newtuple, RelationGetDescr(rel))))
		return true;
	given_up = gives_up(trigger, &goes_on);
	if (given_up)
		cfp_given_up_row(rel, trigger->tg_trigtuple, goes_on);
	if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		cfp_given_up_comes(rel, trigger->tg_trigtuple);
	else if (updated && given_up && !goes_on)
		cfp_given_up_comes(rel, trigger->tg_newtuple);
	return !IsLogicalWorker() || cfp_replication_row(trigger, given_up);
}

/*
 * The operation of a row that comes without one, or with one that it cannot be.
 * False when it has its own, or the table has been altered.
 */
static bool
must_have_been(HeapTuple row, TupleDesc desc, Datum *operation)
{
	Datum		values[CFP_NCOLS];
	bool		nulls[CFP_NCOLS];
	Oid			type;

	if (desc->natts < CFP_NCOLS || !is_record(row, desc))
		return false;
	type = TupleDescAttr(desc, CFP_COL_OPERATION)->atttypid;
	if (type != cfp_operation_type() && !cfp_operation_set_type(type))
		return false;
	for (int i = 0; i < CFP_NCOLS; i++)
		values[i] = heap_getattr(row, i + 1, desc, &nulls[i]);
	*operation = cfp_operation_datum(cfp_row_operation(values, nulls));
	return nulls[CFP_COL_OPERATION] || values[CFP_COL_OPERATION] != *operation;
}

HeapTuple
cfp_gate_row(const TriggerData *trigger)
{
	HeapTuple	row = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ?
	trigger->tg_newtuple : trigger->tg_trigtuple;
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);
	int			columns[2];
	Datum		values[2];
	bool		nulls[2] = {false, false};
	int			n = 0;

	Assert(TRIGGER_FIRED_BEFORE(trigger->tg_event) && TRIGGER_FIRED_FOR_ROW(trigger->tg_event));

	if (cfp_am_worker)
		return row;
	if (!TransactionIdIsCurrentTransactionId(marked_by))
		cfp_gate_pass();
	if (!note_row(trigger))
		return NULL;
	if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
		return row;
	check_row(row, desc);

	columns[n] = SPI_fnumber(desc, "txid");
	values[n] = FullTransactionIdGetDatum(FullTransactionIdFromEpochAndXid(0, FrozenTransactionId));
	if (columns[n] > 0 && TupleDescAttr(desc, columns[n] - 1)->atttypid == XID8OID)
		n++;
	columns[n] = CFP_COL_OPERATION + 1;
	if (must_have_been(row, desc, &values[n]))
		n++;
	return n == 0 ? row : heap_modify_tuple_by_cols(row, desc, n, columns, values, nulls);
}

HeapTuple
cfp_gate_floor(const TriggerData *trigger)
{
	if (!cfp_am_worker && !TransactionIdIsCurrentTransactionId(marked_by))
		cfp_gate_pass();
	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		return IsLogicalWorker() ?
			cfp_floors_greatest(trigger->tg_relation, trigger->tg_trigtuple,
								trigger->tg_newtuple) :
			trigger->tg_newtuple;
	if (!cfp_am_worker && cfp_floors_merge(trigger->tg_relation, trigger->tg_trigtuple))
		return NULL;
	return trigger->tg_trigtuple;
}

/* Enable the extension's triggers on the table for all sessions, as its owner. */
static void
enable_always(Oid relid, const char *row_trigger)
{
	const char *const names[] = {"cfp_gate", "cfp_gate_truncate", row_trigger};
	List	   *commands = NIL;
	CfpOwner	saved;

	for (int i = 0; i < lengthof(names); i++)
	{
		AlterTableCmd *command = makeNode(AlterTableCmd);

		command->subtype = AT_EnableAlwaysTrig;
		command->name = pstrdup(names[i]);
		commands = lappend(commands, command);
	}
	cfp_owner_enter(cfp_table_owner(relid), &saved);
	AlterTableInternal(relid, commands, false);
	cfp_owner_leave(&saved);
}

/*
 * The lock ALTER TABLE needs is only asked for, not waited for: stores would
 * queue behind a worker that waits.
 */
bool
cfp_gate_enable_always(void)
{
	const CfpTables *tables = cfp_tables();
	Oid			relids[] = {tables->history, tables->latest, tables->floors};
	const char *const row_triggers[] = {"cfp_stamp", "cfp_stamp", "cfp_floor"};

	if (!tables->triggers_origin)
		return false;
	for (int i = 0; i < lengthof(relids); i++)
	{
		if (!ConditionalLockRelationOid(relids[i], ShareRowExclusiveLock))
			return false;
	}
	/* Of what was changed while one of them was missing nobody was told. */
	cfp_hand_change_begin();

	for (int i = 0; i < lengthof(relids); i++)
		enable_always(relids[i], row_triggers[i]);
	ereport(LOG,
			(errmsg("cfp: the triggers of the storage tables fire in all sessions again"),
			 errdetail("They had been disabled and enabled, as pg_restore --disable-triggers does.")));
	return true;
}
