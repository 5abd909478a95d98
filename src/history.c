/*-------------------------------------------------------------------------
 *
 * history.c
 *		The one place that reads and writes the storage tables directly.
 *
 * Writing: pending.c inserts a transaction's records at pre-commit (or
 * earlier, when there are very many).  Reading: collection.c loads the cache
 * and answers what the cache may not; pending.c looks up versions of items
 * that are not cached.
 *
 * What is true of an item is its newest record, of storage_history and
 * storage_latest together; of the same version in both the history's (they
 * differ only after a change by hand).  Three ways lead there, all under one snapshot:
 *
 *	- one item: one look-up in latest, and one backward descent of the
 *	  history's primary key, down to the version that latest has;
 *	- a collection: latest, with the items in storage_dirty taken from the
 *	  history and the rows not yet flushed (by the index on txid) on top;
 *	- a collection by skip scan: latest merged with a walk along the history's
 *	  primary key that skips what is old.  Under SERIALIZABLE, where each gap
 *	  read must be locked; while the database is marked to be reconciled; when
 *	  very many rows are not flushed yet, and on from where very many items
 *	  were dirty.
 *
 * The scans use no SPI: neither the caller's privileges nor row security may
 * filter them.  Locks: ACCESS SHARE on what is read until the end of the
 * transaction, as for any query; ROW EXCLUSIVE on the history when writing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"
#include "history.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/index.h"
#include "catalog/pg_am.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/nodeModifyTable.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/xid8.h"

/* From this many rows on, pages are filled as COPY fills them. */
#define BULK_ROWS			1000

/* Rows handed to the table access method at once. */
#define BATCH_ROWS			1000

/*
 * More rows not yet flushed than this (of any collection), and the collection
 * is skip scanned: looking through them would cost more than most collections.
 */
#define MAX_UNFLUSHED_ROWS	200

/* Versions of one item to step over before descending anew. */
#define SKIP_AFTER			4

/* So many dirty items, and the rest of the collection is skip scanned. */
#define MANY_DIRTY			1000

/* ---------- writing ---------- */

/* Rows to insert: of the one form or of the other. */
typedef struct InsertRows
{
	const CfpHistoryRow *records;
	const CfpHistoryColumns *const *columns;
	int			nrows;
	FullTransactionId txid;
} InsertRows;

static void
fill_slot(TupleTableSlot *slot, const InsertRows *rows, int n)
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
 * their names, updated_at, version and txid, and at most one value.
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
			i != CFP_COL_UPDATED_AT && i != CFP_COL_VERSION && i != CFP_COL_TXID)
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
								 * executor is needed */
	bool		constraints;
	bool		generated;
	bool		triggers;		/* AFTER INSERT FOR EACH ROW: a user's, those of
								 * foreign keys and of deferrable constraints */
	int			nindexes;
	Oid			indexes[MAX_PLAIN_INDEXES];
	IndexInfo  *infos[MAX_PLAIN_INDEXES];
	AttrNumber	max_attr;		/* the last column in any of them */
	MemoryContext context;		/* of infos */
} InsertTarget;

bool		cfp_history_inserting = false;

static InsertTarget target;
static uint64 target_invalidations = 0;

static void
target_invalidate(Datum arg, Oid relid)
{
	bool		mine = !OidIsValid(relid) || relid == target.relid;

	for (int i = 0; i < target.nindexes; i++)
		mine |= relid == target.indexes[i];
	if (mine)
		target.relid = InvalidOid;
	target_invalidations++;
}

/* The table's indexes, into the target; false when one is not plain. */
static bool
look_up_indexes(Relation rel)
{
	List	   *list = RelationGetIndexList(rel);
	ListCell   *lc;
	bool		plain = true;

	target.nindexes = 0;
	target.max_attr = 0;
	foreach(lc, list)
	{
		Relation	index = index_open(lfirst_oid(lc), RowExclusiveLock);
		IndexInfo  *info = BuildIndexInfo(index);

		if (index->rd_rel->relam != BTREE_AM_OID || !index->rd_index->indimmediate ||
			info->ii_Expressions != NIL || info->ii_Predicate != NIL ||
			info->ii_ExclusionOps != NULL || target.nindexes == MAX_PLAIN_INDEXES)
			plain = false;
		else if (info->ii_ReadyForInserts)
		{
			target.indexes[target.nindexes] = RelationGetRelid(index);
			target.infos[target.nindexes++] = info;
			for (int i = 0; i < info->ii_NumIndexAttrs; i++)
				target.max_attr = Max(target.max_attr, info->ii_IndexAttrNumbers[i]);
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
	if (target.context == NULL)
		target.context = AllocSetContextCreate(CacheMemoryContext, "cfp insert target",
											   ALLOCSET_SMALL_SIZES);
	target.relid = InvalidOid;
	MemoryContextReset(target.context);

	old = MemoryContextSwitchTo(target.context);
	invalidations = target_invalidations;
	refuse_before_triggers(rel);
	target.triggers = rel->trigdesc && rel->trigdesc->trig_insert_after_row;
	target.constraints = has_own_constraints(rel);
	target.generated = rel->rd_att->constr && rel->rd_att->constr->has_generated_stored;
	target.plain = look_up_indexes(rel) && !target.constraints && !target.generated &&
		!target.triggers;
	MemoryContextSwitchTo(old);

	/* What came meanwhile is for the next look-up: the locks are held. */
	if (invalidations == target_invalidations)
		target.relid = RelationGetRelid(rel);
}

static void
insert_index_entries(Relation rel, Relation *indexes, TupleTableSlot *slot)
{
	slot_getsomeattrs(slot, target.max_attr);
	for (int i = 0; i < target.nindexes; i++)
	{
		IndexInfo  *info = target.infos[i];
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

/*
 * Two ways into the indexes: straight, when all is plain, else the
 * executor's.  Like the table's lock, the indexes' are kept to the end.
 */
static void
insert_rows(Relation rel, const InsertRows *rows)
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

	bool		plain;
	bool		constraints;
	bool		generated;
	bool		triggers;

	if (target.relid != RelationGetRelid(rel))
		look_up_target(rel);
	plain = target.plain;
	constraints = target.constraints;
	generated = target.generated;
	triggers = target.triggers;
	if (plain)
	{
		for (int i = 0; i < target.nindexes; i++)
			indexes[i] = index_open(target.indexes[i], RowExclusiveLock);
	}
	else
	{
		estate = CreateExecutorState();
		result_rel = makeNode(ResultRelInfo);
		InitResultRelInfo(result_rel, rel, 0, NULL, 0);
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

	/* The heap wants one of who writes a table with a toast table. */
	PushActiveSnapshot(GetTransactionSnapshot());
	for (int done = 0; done < nrows; done += nslots)
	{
		int			n = Min(nslots, nrows - done);

		if (batch_cxt != NULL)
			MemoryContextSwitchTo(batch_cxt);
		for (int i = 0; i < n; i++)
		{
			fill_slot(slots[i], rows, done + i);
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
				insert_index_entries(rel, indexes, slots[i]);
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
		for (int i = 0; i < target.nindexes; i++)
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

void
cfp_history_insert(const CfpHistoryRow *rows, int nrows)
{
	const CfpTables *tables = cfp_tables();
	Oid			pkey = tables->history_pkey;
	Relation	rel = table_open(tables->history, NoLock);
	MemoryContext cxt = CurrentMemoryContext;
	InsertRows	insert = {.records = rows,.nrows = nrows};

	insert.txid = GetTopFullTransactionId();
	cfp_history_inserting = true;
	PG_TRY();
	{
		insert_rows(rel, &insert);
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

/* ---------- scanning an index of a table ---------- */

typedef struct TableScan
{
	Relation	table;
	Relation	index;
	IndexScanDesc scan;
	TupleTableSlot *slot;
	MemoryContext cxt;			/* where the index keeps what it needs */
} TableScan;

static void
scan_open(TableScan *s, Oid table, Oid index, Snapshot snapshot, int nkeys)
{
	s->table = table_open(table, AccessShareLock);
	s->index = index_open(index, AccessShareLock);
	s->scan = cfp_index_beginscan(s->table, s->index, snapshot, nkeys);
	s->slot = table_slot_create(s->table, NULL);
	s->cxt = CurrentMemoryContext;
}

/* As many keys as the scan was opened with. */
static inline void
scan_start(TableScan *s, ScanKey keys)
{
	MemoryContext old = MemoryContextSwitchTo(s->cxt);

	index_rescan(s->scan, keys, s->scan->numberOfKeys, NULL, 0);
	MemoryContextSwitchTo(old);
}

static inline bool
scan_next(TableScan *s, ScanDirection direction)
{
	MemoryContext old = MemoryContextSwitchTo(s->cxt);
	bool		found;

	CHECK_FOR_INTERRUPTS();
	found = index_getnext_slot(s->scan, direction, s->slot);
	MemoryContextSwitchTo(old);
	return found;
}

static void
scan_close(TableScan *s)
{
	index_endscan(s->scan);
	ExecDropSingleTupleTableSlot(s->slot);
	index_close(s->index, NoLock);
	table_close(s->table, NoLock);
}

/* attno is the index column's number, from 1. */
static inline void
text_key(ScanKey key, int attno, StrategyNumber strategy, text *value)
{
	ScanKeyInit(key, attno, strategy,
				strategy == BTEqualStrategyNumber ? F_TEXTEQ :
				strategy == BTGreaterStrategyNumber ? F_TEXT_GT :
				strategy == BTGreaterEqualStrategyNumber ? F_TEXT_GE : F_TEXT_LE,
				PointerGetDatum(value));
}

static inline text *
slot_text(TupleTableSlot *slot, int column)
{
	return DatumGetTextPP(slot->tts_values[column]);
}

static inline bool
text_is(const text *t, const char *name, int len)
{
	return VARSIZE_ANY_EXHDR(t) == len && memcmp(VARDATA_ANY(t), name, len) == 0;
}

/* The record in a slot of history or latest; in CurrentMemoryContext. */
static CfpRecord *
slot_record(TupleTableSlot *slot, uint64 *txid)
{
	slot_getsomeattrs(slot, CFP_NCOLS);
	if (txid)
		*txid = U64FromFullTransactionId(DatumGetFullTransactionId(slot->tts_values[CFP_COL_TXID]));
	return cfp_record_from_row(slot->tts_values, slot->tts_isnull);
}

static inline int32
slot_version(TupleTableSlot *slot)
{
	slot_getsomeattrs(slot, CFP_COL_VERSION + 1);
	return DatumGetInt32(slot->tts_values[CFP_COL_VERSION]);
}

/* ---------- adding what is missing ---------- */

/* By primary key; the names are not toasted. */
static inline int
compare_columns(const CfpHistoryColumns *a, const CfpHistoryColumns *b)
{
	int32		a_version = DatumGetInt32(a->values[CFP_COL_VERSION]);
	int32		b_version = DatumGetInt32(b->values[CFP_COL_VERSION]);

	for (int i = CFP_COL_KEY; i <= CFP_COL_ITEM; i++)
	{
		char	   *a_name = DatumGetPointer(a->values[i]);
		char	   *b_name = DatumGetPointer(b->values[i]);
		int			cmp = cfp_compare_names(VARDATA_ANY(a_name), VARSIZE_ANY_EXHDR(a_name),
											VARDATA_ANY(b_name), VARSIZE_ANY_EXHDR(b_name));

		if (cmp != 0)
			return cmp;
	}
	return a_version < b_version ? -1 : a_version > b_version;
}

/* Of equal ones the first stays the first. */
static inline int
compare_columns_stable(const CfpHistoryColumns *a, const CfpHistoryColumns *b)
{
	int			cmp = compare_columns(a, b);

	return cmp != 0 ? cmp : a < b ? -1 : 1;
}

typedef const CfpHistoryColumns *ColumnsPointer;

#define ST_SORT sort_columns
#define ST_ELEMENT_TYPE ColumnsPointer
#define ST_COMPARE(a, b) compare_columns_stable(*(a), *(b))
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

/* Look for a row by its first so many columns, as the scan was opened. */
static bool
probe(TableScan *scan, const CfpHistoryColumns *row, int nkeys, ScanDirection direction)
{
	ScanKeyData keys[4];

	for (int i = 0; i < Min(nkeys, 3); i++)
		text_key(&keys[i], i + 1, BTEqualStrategyNumber,
				 DatumGetTextPP(row->values[CFP_COL_KEY + i]));
	if (nkeys == 4)
		ScanKeyInit(&keys[3], 4, BTEqualStrategyNumber, F_INT4EQ,
					row->values[CFP_COL_VERSION]);
	scan_start(scan, keys);
	return scan_next(scan, direction);
}

static inline bool
same_collection(const CfpHistoryColumns *a, const CfpHistoryColumns *b)
{
	for (int i = CFP_COL_KEY; i <= CFP_COL_COLLECTION; i++)
	{
		text	   *name = DatumGetTextPP(b->values[i]);

		if (!text_is(DatumGetTextPP(a->values[i]), VARDATA_ANY(name),
					 VARSIZE_ANY_EXHDR(name)))
			return false;
	}
	return true;
}

/*
 * Most often a table is to be filled that lost all.  So the last row of each
 * collection is looked up first: what lies behind it is missing.  The others
 * are looked up one by one.
 */
int64
cfp_history_add_missing(const CfpHistoryColumns *rows, int nrows)
{
	CfpTables	tables = cfp_tables_locked();
	ColumnsPointer *sorted = MemoryContextAllocHuge(CurrentMemoryContext,
													(Size) Max(nrows, 1) * sizeof(ColumnsPointer));
	ColumnsPointer previous = NULL;
	InsertRows	insert = {.columns = sorted};
	TableScan	collections;
	TableScan	records;
	CfpHistoryColumns last = {0};	/* of the collection: its primary key */
	bool		there = false;
	Relation	rel;

	for (int i = 0; i < nrows; i++)
		sorted[i] = &rows[i];
	sort_columns(sorted, nrows);

	PushActiveSnapshot(GetTransactionSnapshot());
	scan_open(&collections, tables.history, tables.history_pkey, GetActiveSnapshot(), 2);
	scan_open(&records, tables.history, tables.history_pkey, GetActiveSnapshot(), 4);
	for (int i = 0; i < nrows; i++)
	{
		ColumnsPointer row = sorted[i];

		if (previous == NULL || !same_collection(previous, row))
		{
			there = probe(&collections, row, 2, BackwardScanDirection);
			if (there)
			{
				slot_getsomeattrs(collections.slot, CFP_COL_VERSION + 1);
				for (int j = CFP_COL_KEY; j <= CFP_COL_ITEM; j++)
					last.values[j] = PointerGetDatum(slot_text(collections.slot, j));
				last.values[CFP_COL_VERSION] = collections.slot->tts_values[CFP_COL_VERSION];
			}
		}
		else if (compare_columns(previous, row) == 0)
			continue;
		previous = row;
		if (!there || compare_columns(row, &last) > 0 ||
			!probe(&records, row, 4, ForwardScanDirection))
			sorted[insert.nrows++] = row;
	}
	scan_close(&records);
	scan_close(&collections);
	PopActiveSnapshot();

	if (insert.nrows > 0)
	{
		insert.txid = FullTransactionIdFromEpochAndXid(0, FrozenTransactionId);
		rel = table_open(tables.history, NoLock);
		insert_rows(rel, &insert);
		table_close(rel, NoLock);
	}
	pfree(sorted);
	return insert.nrows;
}

/* ---------- one item ---------- */

/*
 * The fourth key of a search for an item's newest record, backward.  A btree
 * reads all of a page that matches: without a bound an item of hundreds of
 * versions would cost hundreds of comparisons.
 */
static inline void
version_bound(ScanKey key, int32 at_least)
{
	ScanKeyInit(key, 4, BTGreaterEqualStrategyNumber, F_INT4GE, Int32GetDatum(at_least));
}

static void
item_keys(ScanKey keys, const CfpItemName *name)
{
	text_key(&keys[0], 1, BTEqualStrategyNumber,
			 cstring_to_text_with_len(name->in.key, name->in.key_len));
	text_key(&keys[1], 2, BTEqualStrategyNumber,
			 cstring_to_text_with_len(name->in.collection, name->in.collection_len));
	text_key(&keys[2], 3, BTEqualStrategyNumber,
			 cstring_to_text_with_len(name->item, name->item_len));
}

CfpRecord *
cfp_table_read_item(Snapshot snapshot, const CfpItemName *name, uint64 *txid)
{
	CfpTables	tables = cfp_tables_locked();
	ScanKeyData keys[4];
	TableScan	history;
	TableScan	latest;
	CfpRecord  *record = NULL;
	bool		in_latest;

	item_keys(keys, name);
	scan_open(&latest, tables.latest, tables.latest_pkey, snapshot, 3);
	scan_start(&latest, keys);
	in_latest = scan_next(&latest, ForwardScanDirection);

	version_bound(&keys[3], in_latest ? slot_version(latest.slot) : PG_INT32_MIN);
	scan_open(&history, tables.history, tables.history_pkey, snapshot, 4);
	scan_start(&history, keys);
	if (scan_next(&history, BackwardScanDirection))
		record = slot_record(history.slot, txid);
	else if (in_latest)
		record = slot_record(latest.slot, txid);
	scan_close(&history);
	scan_close(&latest);
	return record;
}

CfpRecord *
cfp_table_read_version(Snapshot snapshot, const CfpItemName *name, int32 version)
{
	CfpTables	tables = cfp_tables_locked();
	ScanKeyData keys[4];
	TableScan	history;
	CfpRecord  *record = NULL;

	item_keys(keys, name);
	ScanKeyInit(&keys[3], 4, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(version));
	scan_open(&history, tables.history, tables.history_pkey, snapshot, 4);
	scan_start(&history, keys);
	if (scan_next(&history, ForwardScanDirection))
		record = slot_record(history.slot, NULL);
	scan_close(&history);
	return record;
}

void
cfp_table_read_versions(Snapshot snapshot, const CfpItemName *name, int max_versions,
						CfpTableRowCallback callback, void *arg)
{
	CfpTables	tables = cfp_tables_locked();
	ScanKeyData keys[3];
	TableScan	history;
	int			given = 0;

	item_keys(keys, name);
	scan_open(&history, tables.history, tables.history_pkey, snapshot, 3);
	scan_start(&history, keys);
	while ((max_versions <= 0 || given < max_versions) &&
		   scan_next(&history, BackwardScanDirection))
	{
		uint64		txid;
		CfpRecord  *record = slot_record(history.slot, &txid);
		bool		go_on = callback(name->item, name->item_len, record, txid, arg);

		pfree(record);
		given++;
		if (!go_on)
			break;
	}
	scan_close(&history);
}

/* ---------- the cursor ---------- */

/* A row of cfp_state by name; false when the snapshot sees none. */
static bool
state_row(TableScan *scan, const char *name)
{
	ScanKeyData key;

	text_key(&key, 1, BTEqualStrategyNumber, cstring_to_text(name));
	scan_start(scan, &key);
	if (!scan_next(scan, ForwardScanDirection))
		return false;
	slot_getallattrs(scan->slot);
	return true;
}

/* "xmin:xmax:xid,xid": the text form is the type's only interface. */
static void
cursor_parse(CfpCursor *cursor, char *text)
{
	char	   *p = strchr(text, ':') + 1;
	char	   *end;
	int			n = 0;

	cursor->xmax = strtou64(p, &end, 10);
	cursor->xip = palloc((strlen(end) / 2 + 1) * sizeof(uint64));
	for (p = end + 1; *p != '\0'; p = *end == ',' ? end + 1 : end)
		cursor->xip[n++] = strtou64(p, &end, 10);
	cursor->nxip = n;
}

/* Does the row the scan stands at belong to this database? */
static bool
state_is_ours(TupleTableSlot *slot)
{
	return !slot->tts_isnull[1] && !slot->tts_isnull[2] &&
		(uint64) DatumGetInt64(slot->tts_values[1]) == GetSystemIdentifier() &&
		DatumGetObjectId(slot->tts_values[2]) == MyDatabaseId;
}

bool
cfp_cursor_read_file(Snapshot snapshot, DateADT *date, int32 *file, int64 *length)
{
	CfpTables	tables = cfp_tables_locked();
	TableScan	state;
	bool		found;

	scan_open(&state, tables.state, tables.state_pkey, snapshot, 1);
	found = state_row(&state, "files") && state_is_ours(state.slot) &&
		!state.slot->tts_isnull[5] && !state.slot->tts_isnull[6] &&
		!state.slot->tts_isnull[7];
	if (found)
	{
		*date = DatumGetDateADT(state.slot->tts_values[5]);
		*file = DatumGetInt32(state.slot->tts_values[6]);
		*length = DatumGetInt64(state.slot->tts_values[7]);
	}
	scan_close(&state);
	return found;
}

void
cfp_cursor_read(Snapshot snapshot, CfpCursor *cursor)
{
	CfpTables	tables = cfp_tables_locked();
	TableScan	state;

	/* Never flushed: everything but what is frozen is new. */
	cursor->xmax = FirstNormalTransactionId;
	cursor->nxip = 0;
	cursor->xip = NULL;

	scan_open(&state, tables.state, tables.state_pkey, snapshot, 1);
	cursor->reconcile = state_row(&state, "reconcile");
	if (state_row(&state, "dirty"))
	{
		TupleTableSlot *slot = state.slot;

		if (slot->tts_isnull[3] || !state_is_ours(slot))
			cursor->reconcile = true;
		else
			cursor_parse(cursor, OidOutputFunctionCall(F_PG_SNAPSHOT_OUT,
													   slot->tts_values[3]));
	}
	scan_close(&state);
}

/* ---------- a collection ---------- */

/* The row a stream stands at. */
typedef struct StreamRow
{
	text	   *item;
	CfpRecord  *record;			/* NULL: to be looked up by descend_to_newest */
	uint64		txid;
} StreamRow;

/*
 * What the history adds to latest, in byte order of item name: by skip scan,
 * or from storage_dirty and the rows not yet flushed.
 */
typedef struct HistoryStream
{
	bool		skip;
	Snapshot	snapshot;
	MemoryContext cxt;			/* of the row the stream stands at */
	StreamRow	row;
	bool		done;

	/* keys: collection, and the bounds of the range */
	ScanKeyData keys[4];
	int			nkeys;			/* 3, or 4 with an upper bound */

	TableScan	newest;			/* for descents to one item */

	/* skip scan: the slot after the one returned, already fetched */
	TableScan	walk;
	bool		started;
	bool		have_next;
	TupleTableSlot *ahead;
	text	   *walk_from;		/* the walk's lower bound, as long as it is one */

	/* dirty and unflushed */
	TableScan	dirty;
	bool		have_dirty;
	int			ndirty;			/* so far */
	StreamRow  *unflushed;		/* sorted by item, newest of each */
	int			nunflushed;
	int			next_unflushed;
} HistoryStream;

static int
compare_stream_rows(const void *a, const void *b)
{
	const StreamRow *x = a;
	const StreamRow *y = b;
	int			cmp = cfp_compare_names(VARDATA_ANY(x->item), VARSIZE_ANY_EXHDR(x->item),
									VARDATA_ANY(y->item), VARSIZE_ANY_EXHDR(y->item));

	if (cmp != 0)
		return cmp;
	return x->record->version > y->record->version ? -1 : 1;	/* newest first */
}

static text *
copy_text(const text *t)
{
	return cstring_to_text_with_len(VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t));
}

static inline bool
in_range(const text *item, const CfpItemRange *range)
{
	const char *name = VARDATA_ANY(item);
	int			len = VARSIZE_ANY_EXHDR(item);

	return range == NULL ||
		((range->from == NULL ||
		  cfp_compare_names(name, len, range->from, range->from_len) >= 0) &&
		 (range->to == NULL ||
		  cfp_compare_names(name, len, range->to, range->to_len) <= 0));
}

/*
 * Rows of the collection not yet flushed, into stream->unflushed.  False when
 * there are too many (of all collections) to look through, which they are
 * when this transaction has written some: then it has written many.
 */
static bool
collect_unflushed(HistoryStream *stream, const CfpTables *tables,
				  const CfpCursor *cursor, const CfpCollectionName *name,
				  const CfpItemRange *range)
{
	TableScan	scan;
	ScanKeyData key;
	int			seen = 0;
	int			allocated = 64;
	int			n = 0;
	FullTransactionId own = GetTopFullTransactionIdIfAny();

	stream->unflushed = palloc(allocated * sizeof(StreamRow));
	scan_open(&scan, tables->history, tables->history_txid, stream->snapshot, 1);
	for (int i = -1; i < cursor->nxip && seen <= MAX_UNFLUSHED_ROWS; i++)
	{
		/* All from xmax on, then each that was running below it. */
		if (i < 0)
			ScanKeyInit(&key, 1, BTGreaterEqualStrategyNumber, F_XID8GE,
						FullTransactionIdGetDatum(FullTransactionIdFromU64(cursor->xmax)));
		else
			ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_XID8EQ,
						FullTransactionIdGetDatum(FullTransactionIdFromU64(cursor->xip[i])));
		scan_start(&scan, &key);
		while (scan_next(&scan, ForwardScanDirection))
		{
			if (++seen > MAX_UNFLUSHED_ROWS)
				break;
			slot_getsomeattrs(scan.slot, CFP_COL_TXID + 1);
			if (FullTransactionIdEquals(own, DatumGetFullTransactionId(scan.slot->tts_values[CFP_COL_TXID])))
			{
				seen = MAX_UNFLUSHED_ROWS + 1;
				break;
			}
			if (!text_is(slot_text(scan.slot, CFP_COL_KEY), name->key, name->key_len) ||
				!text_is(slot_text(scan.slot, CFP_COL_COLLECTION), name->collection,
						 name->collection_len) ||
				!in_range(slot_text(scan.slot, CFP_COL_ITEM), range))
				continue;
			if (n == allocated)
			{
				allocated *= 2;
				stream->unflushed = repalloc(stream->unflushed,
											 allocated * sizeof(StreamRow));
			}
			stream->unflushed[n].item = copy_text(slot_text(scan.slot, CFP_COL_ITEM));
			stream->unflushed[n].record = slot_record(scan.slot, &stream->unflushed[n].txid);
			n++;
		}
	}
	scan_close(&scan);
	if (seen > MAX_UNFLUSHED_ROWS)
		return false;

	/* Newest of each item. */
	if (n > 1)
		qsort(stream->unflushed, n, sizeof(StreamRow), compare_stream_rows);
	for (int i = 0; i < n; i++)
	{
		StreamRow  *last = &stream->unflushed[stream->nunflushed - 1];

		if (stream->nunflushed > 0 &&
			text_is(last->item, VARDATA_ANY(stream->unflushed[i].item),
					VARSIZE_ANY_EXHDR(stream->unflushed[i].item)))
			continue;
		stream->unflushed[stream->nunflushed++] = stream->unflushed[i];
	}
	return true;
}

/*
 * The newest record of stream->row.item, of a version at least so high, by one
 * descent; false when there is none.
 */
static bool
descend_to_newest(HistoryStream *stream, int32 at_least)
{
	ScanKeyData keys[4];
	MemoryContext old = MemoryContextSwitchTo(stream->cxt);
	bool		found;

	keys[0] = stream->keys[0];
	keys[1] = stream->keys[1];
	text_key(&keys[2], 3, BTEqualStrategyNumber, stream->row.item);
	version_bound(&keys[3], at_least);
	scan_start(&stream->newest, keys);
	found = scan_next(&stream->newest, BackwardScanDirection);
	if (found)
		stream->row.record = slot_record(stream->newest.slot, &stream->row.txid);
	MemoryContextSwitchTo(old);
	return found;
}

/*
 * Walk along the primary key: the last version before the item changes is the
 * newest.  An item of many versions is left by a descent to its newest and a
 * new start behind it, so that each gap between items is passed over.
 */
static void
skip_scan_next(HistoryStream *stream)
{
	TableScan  *scan = &stream->walk;
	TupleTableSlot *current;
	int			stepped = 0;

	if (!stream->started)
	{
		scan_start(scan, stream->keys);
		stream->have_next = scan_next(scan, ForwardScanDirection);
		stream->started = true;
	}
	if (!stream->have_next)
	{
		stream->done = true;
		return;
	}

	/* scan->slot holds the first version of the next item. */
	slot_getsomeattrs(scan->slot, CFP_COL_ITEM + 1);
	stream->row.item = copy_text(slot_text(scan->slot, CFP_COL_ITEM));
	for (;;)
	{
		text	   *item;

		current = scan->slot;
		scan->slot = stream->ahead;
		stream->ahead = current;
		stream->have_next = scan_next(scan, ForwardScanDirection);
		if (!stream->have_next)
			break;
		slot_getsomeattrs(scan->slot, CFP_COL_ITEM + 1);
		item = slot_text(scan->slot, CFP_COL_ITEM);
		if (!text_is(item, VARDATA_ANY(stream->row.item),
					 VARSIZE_ANY_EXHDR(stream->row.item)))
			break;
		if (++stepped >= SKIP_AFTER)
		{
			ScanKeyData keys[4];
			MemoryContext old;

			if (!descend_to_newest(stream, slot_version(stream->ahead)))
				elog(ERROR, "newest record of an item has vanished from one snapshot");

			/* The scan keeps the pointer: the bound outlives the row. */
			if (stream->walk_from != NULL)
				pfree(stream->walk_from);
			old = MemoryContextSwitchTo(MemoryContextGetParent(stream->cxt));
			stream->walk_from = copy_text(stream->row.item);
			MemoryContextSwitchTo(old);
			memcpy(keys, stream->keys, sizeof(keys));
			text_key(&keys[2], 3, BTGreaterStrategyNumber, stream->walk_from);
			scan_start(scan, keys);
			stream->have_next = scan_next(scan, ForwardScanDirection);
			return;
		}
	}
	stream->row.record = slot_record(stream->ahead, &stream->row.txid);
}

/*
 * Begin the skip scan: from the lower bound of the range, or behind the item
 * that the stream stands at.
 */
static void
skip_scan_open(HistoryStream *stream)
{
	MemoryContext old = MemoryContextSwitchTo(MemoryContextGetParent(stream->cxt));

	if (stream->row.item != NULL)
	{
		stream->walk_from = copy_text(stream->row.item);
		text_key(&stream->keys[2], 3, BTGreaterStrategyNumber, stream->walk_from);
	}
	scan_open(&stream->walk, RelationGetRelid(stream->newest.table),
			  RelationGetRelid(stream->newest.index),
			  stream->snapshot, stream->nkeys);
	stream->ahead = table_slot_create(stream->walk.table, NULL);
	stream->skip = true;
	MemoryContextSwitchTo(old);
}

/* The next of storage_dirty and the unflushed rows, merged. */
static void
dirty_next(HistoryStream *stream)
{
	StreamRow  *unflushed = stream->next_unflushed < stream->nunflushed ?
		&stream->unflushed[stream->next_unflushed] : NULL;
	int			cmp;

	if (!stream->have_dirty && unflushed == NULL)
	{
		stream->done = true;
		return;
	}
	if (stream->have_dirty)
		slot_getsomeattrs(stream->dirty.slot, CFP_COL_ITEM + 1);
	if (!stream->have_dirty)
		cmp = 1;
	else if (unflushed == NULL)
		cmp = -1;
	else
	{
		text	   *item = slot_text(stream->dirty.slot, CFP_COL_ITEM);

		cmp = cfp_compare_names(VARDATA_ANY(item), VARSIZE_ANY_EXHDR(item),
								VARDATA_ANY(unflushed->item),
								VARSIZE_ANY_EXHDR(unflushed->item));
	}
	if (cmp >= 0)
		stream->next_unflushed++;
	if (cmp > 0)
	{
		stream->row = *unflushed;
		return;
	}

	/* In dirty: the history's newest includes the unflushed one. */
	stream->row.item = copy_text(slot_text(stream->dirty.slot, CFP_COL_ITEM));
	stream->row.record = NULL;
	stream->have_dirty = scan_next(&stream->dirty, ForwardScanDirection);
	stream->ndirty++;
}

static void
stream_next(HistoryStream *stream)
{
	MemoryContext old;

	if (!stream->skip && stream->ndirty > MANY_DIRTY)
	{
		scan_close(&stream->dirty);
		skip_scan_open(stream);
	}
	MemoryContextReset(stream->cxt);
	old = MemoryContextSwitchTo(stream->cxt);
	if (stream->skip)
		skip_scan_next(stream);
	else
		dirty_next(stream);
	MemoryContextSwitchTo(old);
}

static void
stream_open(HistoryStream *stream, const CfpTables *tables, Snapshot snapshot,
			const CfpCollectionName *name, const CfpItemRange *range)
{
	memset(stream, 0, sizeof(*stream));
	stream->snapshot = snapshot;
	stream->cxt = AllocSetContextCreate(CurrentMemoryContext, "cfp history stream",
										ALLOCSET_DEFAULT_SIZES);
	text_key(&stream->keys[0], 1, BTEqualStrategyNumber,
			 cstring_to_text_with_len(name->key, name->key_len));
	text_key(&stream->keys[1], 2, BTEqualStrategyNumber,
			 cstring_to_text_with_len(name->collection, name->collection_len));
	/* Always a lower bound, the third: the skip scan moves it as it goes. */
	if (range && range->from)
		text_key(&stream->keys[2], 3, BTGreaterEqualStrategyNumber,
				 cstring_to_text_with_len(range->from, range->from_len));
	else
		text_key(&stream->keys[2], 3, BTGreaterEqualStrategyNumber,
				 cstring_to_text(""));
	stream->nkeys = 3;
	if (range && range->to)
		text_key(&stream->keys[stream->nkeys++], 3, BTLessEqualStrategyNumber,
				 cstring_to_text_with_len(range->to, range->to_len));

	if (IsolationIsSerializable())
		stream->skip = true;
	else
	{
		CfpCursor	cursor;

		cfp_cursor_read(snapshot, &cursor);
		stream->skip = cursor.reconcile ||
			!collect_unflushed(stream, tables, &cursor, name, range);
	}

	scan_open(&stream->newest, tables->history, tables->history_pkey, snapshot, 4);
	if (stream->skip)
		skip_scan_open(stream);
	else
	{
		scan_open(&stream->dirty, tables->dirty, tables->dirty_pkey, snapshot,
				  stream->nkeys);
		scan_start(&stream->dirty, stream->keys);
		stream->have_dirty = scan_next(&stream->dirty, ForwardScanDirection);
	}
	stream_next(stream);
}

static void
stream_close(HistoryStream *stream)
{
	if (stream->skip)
	{
		ExecDropSingleTupleTableSlot(stream->ahead);
		scan_close(&stream->walk);
	}
	else
		scan_close(&stream->dirty);
	scan_close(&stream->newest);
	MemoryContextDelete(stream->cxt);
}

void
cfp_table_read_collection(Snapshot snapshot, const CfpCollectionName *name,
						  const CfpItemRange *range,
						  CfpTableRowCallback callback, void *arg)
{
	CfpTables	tables = cfp_tables_locked();
	HistoryStream stream;
	TableScan	latest;
	MemoryContext scan_cxt = AllocSetContextCreate(CurrentMemoryContext,
												   "cfp collection read",
												   ALLOCSET_DEFAULT_SIZES);
	MemoryContext row_cxt = AllocSetContextCreate(scan_cxt, "cfp collection row",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(scan_cxt);
	bool		have_latest;
	bool		go_on = true;

	stream_open(&stream, &tables, snapshot, name, range);
	scan_open(&latest, tables.latest, tables.latest_pkey, snapshot, stream.nkeys);
	scan_start(&latest, stream.keys);
	have_latest = scan_next(&latest, ForwardScanDirection);

	MemoryContextSwitchTo(row_cxt);
	while (go_on && (have_latest || !stream.done))
	{
		text	   *item = NULL;
		int			cmp;

		if (have_latest)
		{
			slot_getsomeattrs(latest.slot, CFP_COL_ITEM + 1);
			item = slot_text(latest.slot, CFP_COL_ITEM);
		}
		if (!have_latest)
			cmp = 1;
		else if (stream.done)
			cmp = -1;
		else
			cmp = cfp_compare_names(VARDATA_ANY(item), VARSIZE_ANY_EXHDR(item),
								VARDATA_ANY(stream.row.item),
								VARSIZE_ANY_EXHDR(stream.row.item));

		/* Dirty, but nothing that latest has not: folded or pruned meanwhile. */
		if (cmp >= 0 && stream.row.record == NULL &&
			!descend_to_newest(&stream, cmp == 0 ? slot_version(latest.slot) : PG_INT32_MIN))
		{
			stream_next(&stream);
			continue;
		}

		/* Both have the item: the higher version is true, or the history's. */
		if (cmp < 0 ||
			(cmp == 0 && slot_version(latest.slot) > stream.row.record->version))
		{
			uint64		txid;
			CfpRecord  *record = slot_record(latest.slot, &txid);

			go_on = callback(VARDATA_ANY(item), VARSIZE_ANY_EXHDR(item),
							 record, txid, arg);
		}
		else
			go_on = callback(VARDATA_ANY(stream.row.item),
							 VARSIZE_ANY_EXHDR(stream.row.item),
							 stream.row.record, stream.row.txid, arg);
		MemoryContextReset(row_cxt);
		if (cmp <= 0)
			have_latest = scan_next(&latest, ForwardScanDirection);
		if (cmp >= 0)
			stream_next(&stream);
	}
	MemoryContextSwitchTo(scan_cxt);
	scan_close(&latest);
	stream_close(&stream);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scan_cxt);
}

/* ---------- the collections of a key ---------- */

/* Distinct collection names below a key in one table, by skip scan. */
static List *
distinct_collections(Snapshot snapshot, Oid table, Oid index, text *key)
{
	TableScan	scan;
	ScanKeyData keys[2];
	List	   *names = NIL;

	text_key(&keys[0], 1, BTEqualStrategyNumber, key);
	text_key(&keys[1], 2, BTGreaterEqualStrategyNumber, cstring_to_text(""));
	scan_open(&scan, table, index, snapshot, 2);
	for (;;)
	{
		text	   *name;

		scan_start(&scan, keys);
		if (!scan_next(&scan, ForwardScanDirection))
			break;
		slot_getsomeattrs(scan.slot, CFP_COL_COLLECTION + 1);
		name = copy_text(slot_text(scan.slot, CFP_COL_COLLECTION));
		names = lappend(names, name);
		text_key(&keys[1], 2, BTGreaterStrategyNumber, name);
	}
	scan_close(&scan);
	return names;
}

List *
cfp_table_collections(Snapshot snapshot, const char *key, int key_len)
{
	CfpTables	tables = cfp_tables_locked();
	text	   *key_text = cstring_to_text_with_len(key, key_len);
	List	   *a = distinct_collections(snapshot, tables.history,
										 tables.history_pkey, key_text);
	List	   *b = distinct_collections(snapshot, tables.latest,
										 tables.latest_pkey, key_text);
	List	   *merged = NIL;
	int			i = 0,
				j = 0;

	while (i < list_length(a) || j < list_length(b))
	{
		text	   *x = i < list_length(a) ? list_nth(a, i) : NULL;
		text	   *y = j < list_length(b) ? list_nth(b, j) : NULL;
		int			cmp = x == NULL ? 1 : y == NULL ? -1 :
		cfp_compare_names(VARDATA_ANY(x), VARSIZE_ANY_EXHDR(x),
					  VARDATA_ANY(y), VARSIZE_ANY_EXHDR(y));

		merged = lappend(merged, cmp <= 0 ? x : y);
		if (cmp <= 0)
			i++;
		if (cmp >= 0)
			j++;
	}
	return merged;
}
