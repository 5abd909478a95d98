/*-------------------------------------------------------------------------
 *
 * table_write.c
 *		Writing the extension's tables as their owners.
 *
 * Called by all that writes them in the worker and the job worker, which run
 * as the bootstrap superuser.  A table may be anybody's, and its triggers, the
 * expressions and predicates of its indexes, its CHECKs, defaults and generated
 * columns are whatever its owner made them.  So each table is written as
 * its owner, in a security-restricted operation, as autovacuum, REINDEX and
 * logical replication do it: what the owner's code sets is taken back, and it
 * can leave nothing behind that would run later as somebody else.
 *
 *	- storage_history, storage_latest and storage_dirty, which may well be
 *	  given to a role of their own, are written row by row, by what is here.
 *	  They are read by direct scans (scan.h).  So their owner needs no
 *	  privilege, not even on the schema, and nothing of one table's owner runs
 *	  as the other's.
 *	  So is storage_floors (floors.c), and what is added to cfp_forgotten
 *	  (forget.c).
 *	- cfp_state, storage_days, cfp_pruned and cfp_forgotten are read and written
 *	  by statements (statement.c), each on one of them only.
 *
 * Of the settings of an owner's code nothing outlives the operation; there is
 * no need to restrict search_path, since that of these processes is empty.
 *
 * A deferred trigger would fire at commit, when we are the superuser again.  So
 * what is written here defers none; for what statements and an owner's code
 * write, all constraints are immediate in the transactions of these processes
 * (statement.c); and what that code makes deferred again the server refuses to
 * queue within a security-restricted operation.
 *
 * session_replication_role is replica in these processes, so that of the
 * triggers only those made for that fire.  The triggers of constraints are none
 * of them, but must fire.
 *
 * The extension's own triggers are for changes by hand and for what logical
 * replication applies, and are left out.
 *
 * Rows are inserted some at a time, as COPY does it, where no trigger is to see
 * them one by one.
 *
 * In a session this writes cfp_state (gate.c), storage_floors and cfp_forgotten,
 * for the same reasons.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"
#include "base/compat.h"
#include "tables/table_write.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/nodeModifyTable.h"
#include "miscadmin.h"
#include "rewrite/rewriteHandler.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/* Rows that are inserted together: so many, or once they are so long. */
#define BUFFER_ROWS		100
#define BUFFER_BYTES	65536

struct CfpTableWriter
{
	Relation	rel;
	int			operations;
	CfpOwner	owner;
	MemoryContext context;		/* of what follows */
	EState	   *estate;
	ResultRelInfo *target;
	EPQState	epq;
	TupleTableSlot *slot;		/* the new row of an update */
	bool		buffers;		/* are rows inserted together? */
	int			nbuffered;
	Size		bytes;			/* of those buffered */
	TupleTableSlot *buffer[BUFFER_ROWS];	/* new rows; made when needed */
	ExprState **defaults;		/* by column; NULL: none, or not made yet */
	bool		defaults_made;
	bool		before_insert;	/* are there triggers before each row? */
	bool		before_update;
	bool		before_delete;
	TransitionCaptureState *insert_capture;
	TransitionCaptureState *update_capture;
	TransitionCaptureState *delete_capture;
};

/*-------------------------------------------------------------------------
 * Whose code runs
 *-------------------------------------------------------------------------
 */

void
cfp_owner_enter(Oid owner, CfpOwner *saved)
{
	GetUserIdAndSecContext(&saved->user, &saved->security);
	SetUserIdAndSecContext(owner, saved->security | SECURITY_RESTRICTED_OPERATION |
						   SECURITY_NOFORCE_RLS);
	saved->guc_level = NewGUCNestLevel();
}

void
cfp_owner_leave(const CfpOwner *saved)
{
	Assert(InSecurityRestrictedOperation());

	AtEOXact_GUC(false, saved->guc_level);
	SetUserIdAndSecContext(saved->user, saved->security);
}

Oid
cfp_table_owner(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relid);
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

void
cfp_enforce_constraints(TriggerDesc *triggers)
{
	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];

		if (trigger->tgisinternal && OidIsValid(trigger->tgconstraint) &&
			trigger->tgenabled == TRIGGER_FIRES_ON_ORIGIN)
			trigger->tgenabled = TRIGGER_FIRES_ALWAYS;
		trigger->tgdeferrable = trigger->tginitdeferred = false;
	}
}

/* Leave out the extension's own triggers. */
static void
disable_own_triggers(TriggerDesc *triggers)
{
	static const char *const names[] = {"cfp_gate", "cfp_stamp", "cfp_floor", "cfp_local"};

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];

		for (int j = 0; j < lengthof(names); j++)
		{
			if (strcmp(trigger->tgname, names[j]) == 0)
				trigger->tgenabled = TRIGGER_DISABLED;
		}
	}
}

/* Is there one before each row for this event that is not switched off? */
static bool
has_before_trigger(const TriggerDesc *triggers, int16 event)
{
	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		const Trigger *trigger = &triggers->triggers[i];

		if (trigger->tgenabled != TRIGGER_DISABLED &&
			TRIGGER_TYPE_MATCHES(trigger->tgtype, TRIGGER_TYPE_ROW, TRIGGER_TYPE_BEFORE, event))
			return true;
	}
	return false;
}

/* A slot for the next row to insert. */
static TupleTableSlot *
next_buffer(CfpTableWriter *writer)
{
	TupleTableSlot **slot = &writer->buffer[writer->nbuffered];

	if (*slot == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(writer->context);

		*slot = table_slot_create(writer->rel, &writer->estate->es_tupleTable);
		MemoryContextSwitchTo(old);
	}
	return *slot;
}

/* What is buffered goes into the table and its indexes. */
static void
insert_buffered(CfpTableWriter *writer)
{
	EState	   *estate = writer->estate;
	MemoryContext old = MemoryContextSwitchTo(GetPerTupleMemoryContext(estate));

	if (writer->nbuffered == 1)
		table_tuple_insert(writer->rel, writer->buffer[0], estate->es_output_cid, 0, NULL);
	else if (writer->nbuffered > 1)
		table_multi_insert(writer->rel, writer->buffer, writer->nbuffered,
						   estate->es_output_cid, 0, NULL);
	for (int i = 0; i < writer->nbuffered; i++)
	{
		TupleTableSlot *slot = writer->buffer[i];
		List	   *recheck = NIL;

		if (writer->target->ri_NumIndices > 0)
			recheck = cfp_insert_index_tuples(writer->target, slot, estate);
		ExecARInsertTriggers(estate, writer->target, slot, recheck, writer->insert_capture);
		ExecClearTuple(slot);
		ResetPerTupleExprContext(estate);
	}
	writer->nbuffered = 0;
	writer->bytes = 0;
	MemoryContextSwitchTo(old);
	ResetPerTupleExprContext(estate);
}

/*-------------------------------------------------------------------------
 * One statement's worth
 *-------------------------------------------------------------------------
 */

static inline bool
writer_does(const CfpTableWriter *writer, CmdType operation)
{
	return (writer->operations & (1 << operation)) != 0;
}

/* For triggers on UPDATE OF columns: an update gives all but the key. */
static Bitmapset *
updated_columns(Relation rel)
{
	Bitmapset  *key = RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_PRIMARY_KEY);
	Bitmapset  *columns = NULL;

	for (int i = 0; i < RelationGetNumberOfAttributes(rel); i++)
	{
		int			column = i + 1 - FirstLowInvalidHeapAttributeNumber;

		if (!TupleDescAttr(RelationGetDescr(rel), i)->attisdropped &&
			!bms_is_member(column, key))
			columns = bms_add_member(columns, column);
	}
	return columns;
}

static void
fire_before_statement(CfpTableWriter *writer)
{
	TriggerDesc *triggers = writer->target->ri_TrigDesc;
	Oid			relid = RelationGetRelid(writer->rel);

	if (writer_does(writer, CMD_INSERT))
	{
		ExecBSInsertTriggers(writer->estate, writer->target);
		writer->insert_capture = MakeTransitionCaptureState(triggers, relid, CMD_INSERT);
	}
	if (writer_does(writer, CMD_UPDATE))
	{
		ExecBSUpdateTriggers(writer->estate, writer->target);
		writer->update_capture = MakeTransitionCaptureState(triggers, relid, CMD_UPDATE);
	}
	if (writer_does(writer, CMD_DELETE))
	{
		ExecBSDeleteTriggers(writer->estate, writer->target);
		writer->delete_capture = MakeTransitionCaptureState(triggers, relid, CMD_DELETE);
	}
}

CfpTableWriter *
cfp_writer_begin(Oid relid, int operations)
{
	CfpTableWriter *writer = palloc0(sizeof(CfpTableWriter));
	Relation	rel = table_open(relid, RowExclusiveLock);
	TriggerDesc *triggers;
	MemoryContext old;

	Assert(ActiveSnapshotSet());
	Assert((operations & ~(1 << CMD_INSERT | 1 << CMD_UPDATE | 1 << CMD_DELETE)) == 0);

	writer->rel = rel;
	writer->operations = operations;
	cfp_owner_enter(rel->rd_rel->relowner, &writer->owner);

	writer->estate = CreateExecutorState();
	writer->context = writer->estate->es_query_cxt;
	old = MemoryContextSwitchTo(writer->context);
	cfp_init_range_table(writer->estate, rel, updated_columns(rel));
	writer->estate->es_snapshot = GetActiveSnapshot();
	writer->estate->es_output_cid = GetCurrentCommandId(true);
	writer->target = makeNode(ResultRelInfo);
	InitResultRelInfo(writer->target, rel, 1, NULL, 0);
	writer->estate->es_opened_result_relations = list_make1(writer->target);
	cfp_init_epq(&writer->epq, writer->estate);
	writer->slot = table_slot_create(rel, &writer->estate->es_tupleTable);
	writer->defaults = palloc0(sizeof(ExprState *) * RelationGetNumberOfAttributes(rel));

	triggers = writer->target->ri_TrigDesc;
	disable_own_triggers(triggers);
	cfp_enforce_constraints(triggers);
	writer->before_insert = has_before_trigger(triggers, TRIGGER_TYPE_INSERT);
	writer->buffers = !writer->before_insert &&
		!(triggers != NULL && (triggers->trig_insert_after_row || triggers->trig_insert_new_table));
	writer->before_update = has_before_trigger(triggers, TRIGGER_TYPE_UPDATE);
	writer->before_delete = has_before_trigger(triggers, TRIGGER_TYPE_DELETE);
	if (writer_does(writer, CMD_UPDATE))
		CheckCmdReplicaIdentity(rel, CMD_UPDATE);
	if (writer_does(writer, CMD_DELETE))
		CheckCmdReplicaIdentity(rel, CMD_DELETE);
	ExecOpenIndices(writer->target, false);
	AfterTriggerBeginQuery();
	fire_before_statement(writer);
	MemoryContextSwitchTo(old);
	return writer;
}

void
cfp_writer_end(CfpTableWriter *writer)
{
	MemoryContext old = MemoryContextSwitchTo(writer->context);

	insert_buffered(writer);
	if (writer_does(writer, CMD_DELETE))
		ExecASDeleteTriggers(writer->estate, writer->target, writer->delete_capture);
	if (writer_does(writer, CMD_UPDATE))
		ExecASUpdateTriggers(writer->estate, writer->target, writer->update_capture);
	if (writer_does(writer, CMD_INSERT))
		ExecASInsertTriggers(writer->estate, writer->target, writer->insert_capture);
	AfterTriggerEndQuery(writer->estate);
	MemoryContextSwitchTo(old);

	ExecCloseIndices(writer->target);
	EvalPlanQualEnd(&writer->epq);
	ExecResetTupleTable(writer->estate->es_tupleTable, false);
	FreeExecutorState(writer->estate);
	table_close(writer->rel, NoLock);
	cfp_owner_leave(&writer->owner);
	CommandCounterIncrement();
	pfree(writer);
}

/* The default of a column; NULL when it has none. */
static ExprState *
make_default(CfpTableWriter *writer, int column)
{
	Form_pg_attribute form = TupleDescAttr(RelationGetDescr(writer->rel), column);
	MemoryContext old = MemoryContextSwitchTo(writer->context);
	Node	   *expression = NULL;
	ExprState  *state = NULL;

	if (!form->attisdropped && form->attgenerated == '\0')
		expression = build_column_default(writer->rel, column + 1);
	if (expression != NULL)
		state = ExecPrepareExpr((Expr *) expression, writer->estate);
	MemoryContextSwitchTo(old);
	return state;
}

/* The columns that the caller does not give, of a new row. */
static void
writer_fill_defaults(CfpTableWriter *writer, TupleTableSlot *slot, int ncolumns)
{
	int			natts = slot->tts_tupleDescriptor->natts;

	for (int i = ncolumns; i < natts; i++)
	{
		if (!writer->defaults_made)
			writer->defaults[i] = make_default(writer, i);
		slot->tts_values[i] = (Datum) 0;
		slot->tts_isnull[i] = true;
		if (writer->defaults[i] != NULL)
			slot->tts_values[i] = ExecEvalExpr(writer->defaults[i],
											   GetPerTupleExprContext(writer->estate),
											   &slot->tts_isnull[i]);
	}
	writer->defaults_made = true;
}

/* The row as it is to be, before its triggers. */
static void
writer_fill_slot(CfpTableWriter *writer, TupleTableSlot *slot, TupleTableSlot *old,
				 int ncolumns, const Datum *values, const bool *nulls)
{
	int			natts = slot->tts_tupleDescriptor->natts;

	Assert(ncolumns > 0 && ncolumns <= natts);

	ExecClearTuple(slot);
	memcpy(slot->tts_values, values, sizeof(Datum) * ncolumns);
	memcpy(slot->tts_isnull, nulls, sizeof(bool) * ncolumns);
	if (old == NULL)
		writer_fill_defaults(writer, slot, ncolumns);
	else if (natts > ncolumns)
	{
		slot_getallattrs(old);
		memcpy(slot->tts_values + ncolumns, old->tts_values + ncolumns,
			   sizeof(Datum) * (natts - ncolumns));
		memcpy(slot->tts_isnull + ncolumns, old->tts_isnull + ncolumns,
			   sizeof(bool) * (natts - ncolumns));
	}
	ExecStoreVirtualTuple(slot);
	slot->tts_tableOid = RelationGetRelid(writer->rel);
}

/* After the triggers before the row: what is computed of it, and checked. */
static void
complete_row(CfpTableWriter *writer, TupleTableSlot *slot, CmdType operation)
{
	TupleConstr *constr = writer->rel->rd_att->constr;

	if (constr != NULL && constr->has_generated_stored)
		ExecComputeStoredGenerated(writer->target, writer->estate, slot, operation);
	if (constr != NULL)
		ExecConstraints(writer->target, slot, writer->estate);
}

void
cfp_writer_insert(CfpTableWriter *writer, int ncolumns, const Datum *values, const bool *nulls)
{
	EState	   *estate = writer->estate;
	MemoryContext old = MemoryContextSwitchTo(GetPerTupleMemoryContext(estate));
	TupleTableSlot *slot = next_buffer(writer);

	Assert(writer_does(writer, CMD_INSERT));

	writer_fill_slot(writer, slot, NULL, ncolumns, values, nulls);
	if (!writer->before_insert || ExecBRInsertTriggers(estate, writer->target, slot))
	{
		complete_row(writer, slot, CMD_INSERT);
		slot_getallattrs(slot);
		writer->bytes += heap_compute_data_size(slot->tts_tupleDescriptor,
												slot->tts_values, slot->tts_isnull);
		ExecMaterializeSlot(slot);
		writer->nbuffered++;
	}
	MemoryContextSwitchTo(old);
	ResetPerTupleExprContext(estate);
	if (!writer->buffers || writer->nbuffered == BUFFER_ROWS || writer->bytes > BUFFER_BYTES)
		insert_buffered(writer);
}

/* Throws unless the row has been changed by us, now. */
static void
check_result(const CfpTableWriter *writer, TM_Result result)
{
	if (result == TM_Ok)
		return;
	if (result == TM_SelfModified)
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
				 errmsg("a row of table \"%s\" was changed by a trigger of the statement that was to change it",
						RelationGetRelationName(writer->rel))));
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not change a row of table \"%s\": another transaction has changed it",
					RelationGetRelationName(writer->rel))));
}

void
cfp_writer_update(CfpTableWriter *writer, TupleTableSlot *row, int ncolumns,
				  const Datum *values, const bool *nulls)
{
	EState	   *estate = writer->estate;
	MemoryContext old = MemoryContextSwitchTo(GetPerTupleMemoryContext(estate));
	TupleTableSlot *slot = writer->slot;
	ItemPointerData tid = row->tts_tid;

	Assert(writer_does(writer, CMD_UPDATE) && ItemPointerIsValid(&tid));

	writer_fill_slot(writer, slot, row, ncolumns, values, nulls);

	if (!writer->before_update ||
		cfp_before_row_update(estate, &writer->epq, writer->target, &tid, slot))
	{
		List	   *recheck = NIL;

		complete_row(writer, slot, CMD_UPDATE);
		check_result(writer, cfp_update_tuple(writer->target, &tid, slot, estate, &recheck));
		ExecARUpdateTriggers(estate, writer->target, NULL, NULL, &tid, NULL, slot, recheck,
							 writer->update_capture, false);
	}
	ExecClearTuple(slot);
	MemoryContextSwitchTo(old);
	ResetPerTupleExprContext(estate);
}

void
cfp_writer_delete(CfpTableWriter *writer, ItemPointer tid)
{
	EState	   *estate = writer->estate;
	MemoryContext old = MemoryContextSwitchTo(GetPerTupleMemoryContext(estate));

	Assert(writer_does(writer, CMD_DELETE) && ItemPointerIsValid(tid));

	if (!writer->before_delete ||
		cfp_before_row_delete(estate, &writer->epq, writer->target, tid))
	{
		TM_FailureData failure;

		check_result(writer, table_tuple_delete(writer->rel, tid, estate->es_output_cid,
												estate->es_snapshot, InvalidSnapshot, true,
												&failure, false));
		ExecARDeleteTriggers(estate, writer->target, tid, NULL, writer->delete_capture, false);
	}
	MemoryContextSwitchTo(old);
	ResetPerTupleExprContext(estate);
}
