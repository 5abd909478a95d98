/*-------------------------------------------------------------------------
 *
 * insert.c
 *		Inserting into storage_history, below SQL.
 *
 * store/ inserts a transaction's records at pre-commit (or earlier, when there
 * are very many); add_missing.c what a rebuild has found.  All is done that an
 * INSERT does: indexes, constraints, generated columns, AFTER triggers of rows.
 * Most tables have nothing of their own, and then no executor is needed; what
 * that takes to know is remembered.
 *
 * Locks: ROW EXCLUSIVE on the history, which the caller has, and on its indexes,
 * to the end of the transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/pg_am.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/nodeModifyTable.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/xid8.h"

#include "base/compat.h"
#include "base/process.h"
#include "record/row.h"
#include "tables/insert.h"
#include "tables/insert_int.h"
#include "tables/table_write.h"
#include "tables/tables.h"

/* From this many rows on, pages are filled as COPY fills them. */
#define BULK_ROWS			1000

/*
 * Rows handed to the table access method at once: no more than this, and of
 * records no more than this many bytes, since each is copied meanwhile.
 */
#define BATCH_ROWS			1000
#define BATCH_BYTES			(1024 * 1024)

static void
fill_history_slot(TupleTableSlot *slot, const CfpInsertRows *rows, int n)
{
	int			natts = slot->tts_tupleDescriptor->natts;

	ExecClearTuple(slot);
	for (int i = CFP_NCOLS; i < natts; i++)
		slot->tts_isnull[i] = true;
	if (rows->records != NULL)
	{
		const CfpHistoryRow *row = &rows->records[n];

		slot->tts_values[CFP_COL_KEY] = PointerGetDatum(row->key);
		slot->tts_values[CFP_COL_COLLECTION] = PointerGetDatum(row->collection);
		slot->tts_values[CFP_COL_ITEM] = PointerGetDatum(row->item);
		slot->tts_isnull[CFP_COL_KEY] = false;
		slot->tts_isnull[CFP_COL_COLLECTION] = false;
		slot->tts_isnull[CFP_COL_ITEM] = false;
		cfp_record_to_row(row->record, slot->tts_values, slot->tts_isnull);
	}
	else
	{
		memcpy(slot->tts_values, rows->columns[n]->values, sizeof(rows->columns[n]->values));
		memcpy(slot->tts_isnull, rows->columns[n]->nulls, sizeof(rows->columns[n]->nulls));
	}
	slot->tts_values[CFP_COL_TXID] = FullTransactionIdGetDatum(rows->txid);
	slot->tts_isnull[CFP_COL_TXID] = false;
	ExecStoreVirtualTuple(slot);
}

/*
 * Does the table demand more than records fulfil by themselves?  They have
 * their names, updated_at, version, operation and txid, and at most one value.
 */
static bool
has_own_constraints(Relation rel)
{
	TupleConstr *constr = rel->rd_att->constr;

	if (constr == NULL)
		return false;
	if (constr->num_check > 1 ||
		(constr->num_check == 1 &&
		 strcmp(constr->check[0].ccname, "storage_history_one_value") != 0))
		return true;
	if (!constr->has_not_null)
		return false;
	for (int i = 0; i < rel->rd_att->natts; i++)
	{
		if (TupleDescAttr(rel->rd_att, i)->attnotnull &&
			i != CFP_COL_KEY && i != CFP_COL_COLLECTION && i != CFP_COL_ITEM &&
			i != CFP_COL_UPDATED_AT && i != CFP_COL_VERSION && i != CFP_COL_OPERATION &&
			i != CFP_COL_TXID)
			return true;
	}
	return false;
}

/*
 * What inserting needs to know of the history: remembered, since looking it
 * up would cost a tenth of a store, until the table or an index of it is
 * invalidated.  The lock that a store takes on the table accepts the
 * invalidations that concern it.
 */
#define MAX_PLAIN_INDEXES	8

typedef struct InsertTarget
{
	Oid			relid;			/* InvalidOid: not known */
	bool		plain;			/* indexes are btrees of mere columns, and the
								 * table demands nothing of its own: no
								 * executor is needed, and no code of the
								 * user's is run; nor will be when the indexes
								 * that are being built are ready */
	bool		constraints;
	bool		generated;
	bool		triggers;		/* AFTER INSERT FOR EACH ROW: a user's, those
								 * of foreign keys and of deferrable
								 * constraints */
	int			nindexes;
	Oid			indexes[MAX_PLAIN_INDEXES];
	IndexInfo  *infos[MAX_PLAIN_INDEXES];
	AttrNumber	max_attr;		/* the last column in any of them */
	int			nunready;		/* indexes that are being built, and may
								 * concern us any moment */
	Oid			unready[MAX_PLAIN_INDEXES];
	MemoryContext context;		/* of infos */
} InsertTarget;

bool		cfp_history_inserting = false;

static InsertTarget insert_target;
static uint64 target_invalidations = 0;

static void
target_invalidate(Datum arg, Oid relid)
{
	bool		mine = !OidIsValid(relid) || relid == insert_target.relid;

	for (int i = 0; i < insert_target.nindexes; i++)
		mine |= relid == insert_target.indexes[i];
	for (int i = 0; i < insert_target.nunready; i++)
		mine |= relid == insert_target.unready[i];
	if (mine)
		insert_target.relid = InvalidOid;
	target_invalidations++;
}

/* The table's indexes, into the target; false when one is not plain. */
static bool
look_up_indexes(Relation rel)
{
	List	   *list = RelationGetIndexList(rel);
	ListCell   *lc;
	bool		plain = true;

	insert_target.nindexes = 0;
	insert_target.max_attr = 0;
	insert_target.nunready = 0;
	foreach(lc, list)
	{
		Relation	index = index_open(lfirst_oid(lc), RowExclusiveLock);
		IndexInfo  *info = BuildIndexInfo(index);

		if (index->rd_rel->relam != BTREE_AM_OID || !index->rd_index->indimmediate ||
			info->ii_Expressions != NIL || info->ii_Predicate != NIL ||
			info->ii_ExclusionOps != NULL ||
			insert_target.nindexes + insert_target.nunready == MAX_PLAIN_INDEXES)
			plain = false;
		else if (!info->ii_ReadyForInserts)
			insert_target.unready[insert_target.nunready++] = RelationGetRelid(index);
		else
		{
			insert_target.indexes[insert_target.nindexes] = RelationGetRelid(index);
			insert_target.infos[insert_target.nindexes++] = info;
			for (int i = 0; i < info->ii_NumIndexAttrs; i++)
				insert_target.max_attr = Max(insert_target.max_attr, info->ii_IndexAttrNumbers[i]);
		}
		index_close(index, NoLock);
	}
	list_free(list);
	return plain;
}

/*
 * A trigger before the row could change or drop what the cache has already.
 * Throws 55000 if there is one; cfp_stamp is for rows written by hand.
 */
static void
refuse_before_triggers(Relation rel)
{
	TriggerDesc *triggers = rel->trigdesc;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];

		if (TRIGGER_TYPE_MATCHES(trigger->tgtype, TRIGGER_TYPE_ROW,
								 TRIGGER_TYPE_BEFORE, TRIGGER_TYPE_INSERT) &&
			trigger->tgenabled != TRIGGER_DISABLED &&
			strcmp(trigger->tgname, "cfp_stamp") != 0)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("cannot store: trigger \"%s\" on table \"%s\" fires before the row is inserted",
							trigger->tgname, RelationGetRelationName(rel)),
					 errhint("Make it an AFTER trigger, or drop it.")));
	}
}

static void
look_up_target(Relation rel)
{
	static bool registered = false;
	uint64		invalidations;
	MemoryContext old;

	if (!registered)
	{
		CacheRegisterRelcacheCallback(target_invalidate, (Datum) 0);
		registered = true;
	}
	if (insert_target.context == NULL)
		insert_target.context = AllocSetContextCreate(CacheMemoryContext, "cfp insert target",
													  ALLOCSET_SMALL_SIZES);
	insert_target.relid = InvalidOid;
	MemoryContextReset(insert_target.context);

	old = MemoryContextSwitchTo(insert_target.context);
	invalidations = target_invalidations;
	refuse_before_triggers(rel);
	insert_target.triggers = rel->trigdesc && rel->trigdesc->trig_insert_after_row;
	insert_target.constraints = has_own_constraints(rel);
	insert_target.generated = rel->rd_att->constr && rel->rd_att->constr->has_generated_stored;
	insert_target.plain = look_up_indexes(rel) && !insert_target.constraints && !insert_target.generated &&
		!insert_target.triggers;
	MemoryContextSwitchTo(old);

	/* What came meanwhile is for the next look-up: the locks are held. */
	if (invalidations == target_invalidations)
		insert_target.relid = RelationGetRelid(rel);
}

bool
cfp_history_is_plain(Oid history)
{
	if (unlikely(insert_target.relid != history))
	{
		Relation	rel = table_open(history, NoLock);

		Assert(CheckRelationLockedByMe(rel, AccessShareLock, true));
		look_up_target(rel);
		table_close(rel, NoLock);
	}
	return insert_target.plain;
}

static void
insert_index_entries(Relation rel, Relation *indexes, int nindexes, TupleTableSlot *slot)
{
	Assert(insert_target.plain && insert_target.nindexes == nindexes);
	Assert(insert_target.max_attr <= slot->tts_tupleDescriptor->natts);

	slot_getsomeattrs(slot, insert_target.max_attr);
	for (int i = 0; i < nindexes; i++)
	{
		IndexInfo  *info = insert_target.infos[i];
		Datum		values[INDEX_MAX_KEYS];
		bool		isnull[INDEX_MAX_KEYS];

		for (int k = 0; k < info->ii_NumIndexAttrs; k++)
		{
			int			column = info->ii_IndexAttrNumbers[k] - 1;

			values[k] = slot->tts_values[column];
			isnull[k] = slot->tts_isnull[column];
		}
		(void) index_insert(indexes[i], values, isnull, &slot->tts_tid, rel,
							info->ii_Unique ? UNIQUE_CHECK_YES : UNIQUE_CHECK_NO,
							false, info);
	}
}

/* How many rows from `done` on make a batch. */
static int
batch_size(const CfpInsertRows *rows, int done, int nslots)
{
	int			n = Min(nslots, rows->nrows - done);
	Size		bytes = 0;

	if (rows->records != NULL)
	{
		for (int i = 0; i < n; i++)
		{
			if (i > 0 && bytes + rows->records[done + i].record->size > BATCH_BYTES)
				return i;
			bytes += rows->records[done + i].record->size;
		}
	}
	return n;
}

/*
 * Two ways into the indexes: straight, when all is plain, else the
 * executor's.  Like the table's lock, the indexes' are kept to the end.
 */
void
cfp_insert_rows(Relation rel, const CfpInsertRows *rows)
{
	int			nrows = rows->nrows;
	MemoryContext batch_cxt = NULL;
	MemoryContext old_cxt = CurrentMemoryContext;
	EState	   *estate = NULL;
	ResultRelInfo *result_rel = NULL;
	Relation	indexes[MAX_PLAIN_INDEXES];
	BulkInsertState bistate = nrows >= BULK_ROWS ? GetBulkInsertState() : NULL;
	CommandId	cid = GetCurrentCommandId(true);
	int			nslots = Min(nrows, BATCH_ROWS);
	TupleTableSlot **slots = palloc(nslots * sizeof(TupleTableSlot *));
	int			nindexes;
	bool		plain;
	bool		constraints;
	bool		generated;
	bool		triggers;

	Assert(CheckRelationLockedByMe(rel, RowExclusiveLock, true));
	Assert(nrows > 0 && (rows->records == NULL) != (rows->columns == NULL));

	/*
	 * The heap wants one of who writes a table with a toast table; so does
	 * what an index's expressions and predicate run, already when it is
	 * opened.
	 */
	PushActiveSnapshot(GetTransactionSnapshot());
	if (insert_target.relid != RelationGetRelid(rel))
		look_up_target(rel);
	plain = insert_target.plain;
	nindexes = insert_target.nindexes;
	constraints = insert_target.constraints;
	generated = insert_target.generated;
	triggers = insert_target.triggers;
	if (plain)
	{
		for (int i = 0; i < nindexes; i++)
			indexes[i] = index_open(insert_target.indexes[i], RowExclusiveLock);
	}
	else
	{
		estate = CreateExecutorState();
		result_rel = makeNode(ResultRelInfo);
		InitResultRelInfo(result_rel, rel, 0, NULL, 0);
		if (cfp_am_worker)
			cfp_enforce_constraints(result_rel->ri_TrigDesc);
		ExecOpenIndices(result_rel, false);
		estate->es_opened_result_relations = list_make1(result_rel);
	}
	if (triggers)
		AfterTriggerBeginQuery();
	for (int i = 0; i < nslots; i++)
		slots[i] = table_slot_create(rel, NULL);

	/* What a single row takes is left to the caller's context. */
	if (nrows > 1)
		batch_cxt = AllocSetContextCreate(CurrentMemoryContext, "cfp insert",
										  ALLOCSET_DEFAULT_SIZES);

	for (int done = 0, n; done < nrows; done += n)
	{
		n = batch_size(rows, done, nslots);
		Assert(n > 0 && n <= nslots);
		if (batch_cxt != NULL)
			MemoryContextSwitchTo(batch_cxt);
		for (int i = 0; i < n; i++)
		{
			fill_history_slot(slots[i], rows, done + i);
			slots[i]->tts_tableOid = RelationGetRelid(rel);
			if (generated)
				ExecComputeStoredGenerated(result_rel, estate, slots[i], CMD_INSERT);
			if (constraints)
				ExecConstraints(result_rel, slots[i], estate);
		}
		if (n == 1)
			table_tuple_insert(rel, slots[0], cid, 0, bistate);
		else
			table_multi_insert(rel, slots, n, cid, 0, bistate);
		for (int i = 0; i < n; i++)
		{
			if (plain)
				insert_index_entries(rel, indexes, nindexes, slots[i]);
			else
			{
				List	   *recheck = cfp_insert_index_tuples(result_rel, slots[i], estate);

				if (triggers)
					ExecARInsertTriggers(estate, result_rel, slots[i], recheck, NULL);
			}
		}
		MemoryContextSwitchTo(old_cxt);
		for (int i = 0; i < n; i++)
			ExecClearTuple(slots[i]);
		if (batch_cxt != NULL)
			MemoryContextReset(batch_cxt);
		if (estate != NULL)
			ResetPerTupleExprContext(estate);
		CHECK_FOR_INTERRUPTS();
	}
	if (triggers)
		AfterTriggerEndQuery(estate);
	PopActiveSnapshot();

	if (bistate)
		FreeBulkInsertState(bistate);
	table_finish_bulk_insert(rel, 0);
	for (int i = 0; i < nslots; i++)
		ExecDropSingleTupleTableSlot(slots[i]);
	pfree(slots);
	if (plain)
	{
		for (int i = 0; i < nindexes; i++)
			index_close(indexes[i], NoLock);
	}
	else
	{
		for (int i = 0; i < result_rel->ri_NumIndices; i++)
			index_close(result_rel->ri_IndexRelationDescs[i], NoLock);
		ExecResetTupleTable(estate->es_tupleTable, false);	/* of triggers */
		FreeExecutorState(estate);
	}
	if (batch_cxt != NULL)
		MemoryContextDelete(batch_cxt);
}

/* By primary key. */
static inline int
compare_rows(const CfpHistoryRow *a, const CfpHistoryRow *b)
{
	int			cmp = cfp_compare_texts(&a->key, &b->key);

	if (cmp == 0)
		cmp = cfp_compare_texts(&a->collection, &b->collection);
	if (cmp == 0)
		cmp = cfp_compare_texts(&a->item, &b->item);
	return cmp != 0 ? cmp : a->record->version < b->record->version ? -1 :
		a->record->version > b->record->version;
}

void
cfp_history_insert(const CfpHistoryRow *rows, int nrows)
{
	const CfpTables *tables = cfp_tables();
	Oid			pkey = tables->history_pkey;
	Relation	rel = table_open(tables->history, NoLock);
	MemoryContext cxt = CurrentMemoryContext;
	CfpInsertRows insert = {.records = rows,.nrows = nrows};

	Assert(!cfp_history_inserting && nrows > 0);
	for (int i = 1; i < nrows; i++)
		Assert(compare_rows(&rows[i - 1], &rows[i]) < 0);

	insert.txid = GetTopFullTransactionId();
	cfp_history_inserting = true;
	PG_TRY();
	{
		cfp_insert_rows(rel, &insert);
	}
	PG_CATCH();
	{
		ErrorData  *error;
		char	   *pkey_name;

		cfp_history_inserting = false;
		MemoryContextSwitchTo(cxt);
		error = CopyErrorData();
		if (error->sqlerrcode != ERRCODE_UNIQUE_VIOLATION ||
			error->constraint_name == NULL)
			PG_RE_THROW();
		pkey_name = get_rel_name(pkey);
		if (pkey_name == NULL || strcmp(error->constraint_name, pkey_name) != 0)
			PG_RE_THROW();
		FlushErrorState();
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not store: another transaction has stored the same version"),
				 error->detail ? errdetail_internal("%s", error->detail) : 0,
				 errhint("Retry the transaction.")));
	}
	PG_END_TRY();
	cfp_history_inserting = false;
	table_close(rel, NoLock);
}
