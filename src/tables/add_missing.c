/*-------------------------------------------------------------------------
 *
 * add_missing.c
 *		Adding to storage_history what it has lost.
 *
 * Called by the rebuild of the history, a batch of rows from day files at a
 * time, each in a transaction that excludes stores and changes by hand.
 *
 * Locks: those of the caller, and ACCESS SHARE on what is read.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "access/sysattr.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "storage/lmgr.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "tables/add_missing.h"
#include "tables/floors.h"
#include "tables/insert_int.h"
#include "tables/scan.h"
#include "tables/table_write.h"
#include "tables/tables.h"

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
probe_row(TableScan *scan, const CfpHistoryColumns *row, int nkeys, ScanDirection direction)
{
	ScanKeyData keys[4];

	Assert(nkeys == scan->scan->numberOfKeys && nkeys <= lengthof(keys));

	for (int i = 0; i < Min(nkeys, 3); i++)
		text_key(&keys[i], i + 1, BTEqualStrategyNumber,
				 DatumGetTextPP(row->values[CFP_COL_KEY + i]));
	if (nkeys == 4)
		ScanKeyInit(&keys[3], 4, BTEqualStrategyNumber, F_INT4EQ,
					row->values[CFP_COL_VERSION]);
	scan_start(scan, keys);
	return scan_next(scan, direction);
}

/* Is it another record, apart from its txid? */
static bool
record_differs(TupleDesc desc, const Datum *values, const bool *nulls, const CfpHistoryColumns *row)
{
	for (int i = CFP_COL_DATA; i < CFP_COL_TXID; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(desc, i);

		if (nulls[i] != row->nulls[i] ||
			(!nulls[i] && !datum_image_eq(values[i], row->values[i], attr->attbyval, attr->attlen)))
			return true;
	}
	return false;
}

/* Has the job inserted the row in the slot? */
static bool
is_added(TupleTableSlot *slot, const CfpAdding *adding)
{
	bool		isnull;
	TransactionId xmin =
	DatumGetTransactionId(slot_getsysattr(slot, MinTransactionIdAttributeNumber, &isnull));

	for (int i = 0; i < adding->nxids; i++)
	{
		if (adding->xids[i] == xmin)
			return true;
	}
	return false;
}

/*
 * What comes back of an item that was pruned whole need not be its last record,
 * and from there it must not go on.  So in a collection that gets rows, the
 * floor of new items becomes that of all.
 */
static void
raise_floors(const CfpInsertRows *added)
{
	for (int i = 0; i < added->nrows; i++)
	{
		const CfpHistoryColumns *row = added->columns[i];
		text	   *key = DatumGetTextPP(row->values[CFP_COL_KEY]);
		text	   *collection = DatumGetTextPP(row->values[CFP_COL_COLLECTION]);

		if (i > 0 && same_names(added->columns[i - 1]->values, row->values, CFP_COL_ITEM))
			continue;
		cfp_floors_level(key, collection, PG_INT32_MIN);
	}
}

static void
report_twice(CfpAdding *adding, const CfpHistoryColumns *row)
{
	adding->twice++;
	adding->report(row);
}

/*
 * Most often a table is to be filled that lost all.  So the last row of each
 * collection is looked up first: what lies behind it is missing.  The others
 * are looked up one by one.
 */
int64
cfp_history_add_missing(const CfpHistoryColumns *rows, int nrows, CfpAdding *adding)
{
	CfpTables	tables = cfp_tables_locked();
	ColumnsPointer *sorted = MemoryContextAllocHuge(CurrentMemoryContext,
													(Size) Max(nrows, 1) * sizeof(ColumnsPointer));
	ColumnsPointer previous = NULL;
	CfpInsertRows insert = {.columns = sorted};
	TableScan	collections;
	TableScan	records;
	CfpHistoryColumns last = {0};	/* of the collection: its primary key */
	bool		there = false;
	Relation	rel = table_open(tables.history, NoLock);
	int			replaced = 0;
	CfpOwner	saved;

	Assert(CheckRelationLockedByMe(rel, RowExclusiveLock, true));
	Assert(adding->report != NULL && adding->nxids >= 0);

	for (int i = 0; i < nrows; i++)
		sorted[i] = &rows[i];
	sort_columns(sorted, nrows);

	cfp_owner_enter(rel->rd_rel->relowner, &saved);
	PushActiveSnapshot(GetTransactionSnapshot());
	scan_open(&collections, tables.history, tables.history_pkey, GetActiveSnapshot(), 2);
	scan_open(&records, tables.history, tables.history_pkey, GetActiveSnapshot(), 4);
	for (int i = 0; i < nrows; i++)
	{
		ColumnsPointer row = sorted[i];

		/* The last of equal ones counts. */
		if (i + 1 < nrows && compare_columns(row, sorted[i + 1]) == 0)
		{
			if (record_differs(RelationGetDescr(rel), row->values, row->nulls, sorted[i + 1]))
				report_twice(adding, sorted[i + 1]);
			continue;
		}
		if (previous == NULL || !same_names(previous->values, row->values, CFP_COL_ITEM))
		{
			there = probe_row(&collections, row, 2, BackwardScanDirection);
			if (there)
			{
				slot_getsomeattrs(collections.slot, CFP_COL_VERSION + 1);
				for (int j = CFP_COL_KEY; j <= CFP_COL_ITEM; j++)
					last.values[j] = PointerGetDatum(slot_text(collections.slot, j));
				last.values[CFP_COL_VERSION] = collections.slot->tts_values[CFP_COL_VERSION];
			}
		}
		previous = row;
		if (there && compare_columns(row, &last) <= 0 &&
			probe_row(&records, row, 4, ForwardScanDirection))
		{
			ItemPointerData tid = records.slot->tts_tid;

			slot_getsomeattrs(records.slot, CFP_NCOLS);
			if (!is_added(records.slot, adding) ||
				!record_differs(RelationGetDescr(rel), records.slot->tts_values,
								records.slot->tts_isnull, row))
				continue;
			report_twice(adding, row);
			simple_table_tuple_delete(rel, &tid, GetActiveSnapshot());
			replaced++;
		}
		sorted[insert.nrows++] = row;
	}
	scan_close(&records);
	scan_close(&collections);
	cfp_owner_leave(&saved);
	raise_floors(&insert);
	PopActiveSnapshot();

	cfp_owner_enter(rel->rd_rel->relowner, &saved);
	if (insert.nrows > 0)
	{
		insert.txid = FullTransactionIdFromEpochAndXid(0, FrozenTransactionId);
		cfp_insert_rows(rel, &insert);
	}
	cfp_owner_leave(&saved);
	table_close(rel, NoLock);
	pfree(sorted);
	return insert.nrows - replaced;
}
