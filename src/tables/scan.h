/*-------------------------------------------------------------------------
 *
 * scan.h
 *		Direct scans of a table by one of its indexes.
 *
 * For whoever reads the tables without SQL: no privilege and no row security
 * filters what is found, and nothing of the table's owner runs, as a statement's
 * planning would have it do (the constant parts of an index's expressions).
 *
 * Locks: ACCESS SHARE on table and index, to the end of the transaction.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_SCAN_H
#define CFP_SCAN_H

#include "access/genam.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_collation_d.h"
#include "catalog/pg_type_d.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

#include "base/names.h"
#include "base/compat.h"
#include "record/record.h"
#include "tables/tables.h"

typedef struct TableScan
{
	Relation	table;
	Relation	index;
	IndexScanDesc scan;
	TupleTableSlot *slot;
	MemoryContext cxt;			/* where the index keeps what it needs */
} TableScan;

static inline void
scan_open(TableScan *s, Oid table, Oid index, Snapshot snapshot, int nkeys)
{
	Assert(IsTransactionState() && snapshot != NULL);

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

	Assert(keys != NULL || s->scan->numberOfKeys == 0);

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

static inline void
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

/* The first three keys of a search for an item. */
static inline void
names_keys(ScanKey keys, const Datum *names)
{
	for (int i = 0; i < 3; i++)
		text_key(&keys[i], i + 1, BTEqualStrategyNumber, DatumGetTextPP(names[i]));
}

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

static inline text *
slot_text(TupleTableSlot *slot, int column)
{
	Assert(column < slot->tts_nvalid && !slot->tts_isnull[column]);

	return DatumGetTextPP(slot->tts_values[column]);
}

static inline bool
text_is(const text *t, const char *name, int len)
{
	return VARSIZE_ANY_EXHDR(t) == len && memcmp(VARDATA_ANY(t), name, len) == 0;
}

static inline int32
slot_version(TupleTableSlot *slot)
{
	slot_getsomeattrs(slot, CFP_COL_VERSION + 1);
	return DatumGetInt32(slot->tts_values[CFP_COL_VERSION]);
}

/* Copies of the three names in a slot. */
static inline void
copy_names(Datum *names, TupleTableSlot *slot)
{
	slot_getsomeattrs(slot, CFP_COL_ITEM + 1);
	for (int i = CFP_COL_KEY; i <= CFP_COL_ITEM; i++)
		names[i] = PointerGetDatum(DatumGetTextPCopy(slot->tts_values[i]));
}

/* Are the first n of the three names the same? */
static inline bool
same_names(const Datum *a, const Datum *b, int n)
{
	for (int i = 0; i < n; i++)
	{
		text	   *name = DatumGetTextPP(b[i]);

		if (!text_is(DatumGetTextPP(a[i]), VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name)))
			return false;
	}
	return true;
}

/* Three names, texts of the context, become those. */
static inline void
keep_names(Datum *names, const Datum *from, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);

	for (int i = 0; i < 3; i++)
	{
		pfree(DatumGetPointer(names[i]));
		names[i] = PointerGetDatum(DatumGetTextPCopy(from[i]));
	}
	MemoryContextSwitchTo(old);
}

/*
 * Begin with the row of these three names, or what comes after it, in the
 * order of an index that begins with them; opened with one key.  They must
 * live as long as the scan, as must *start.
 */
typedef struct ScanStart
{
	ScanKeyData names[3];
	ScanKeyData row;
} ScanStart;

static inline void
scan_start_at(TableScan *s, ScanStart *start, const Datum *names)
{
	for (int i = 0; i < 3; i++)
		ScanKeyEntryInitialize(&start->names[i], SK_ROW_MEMBER | (i == 2 ? SK_ROW_END : 0),
							   i + 1, BTGreaterEqualStrategyNumber, TEXTOID,
							   C_COLLATION_OID, F_BTTEXTCMP, names[i]);
	memset(&start->row, 0, sizeof(start->row));
	start->row.sk_flags = SK_ROW_HEADER;
	start->row.sk_attno = 1;
	start->row.sk_strategy = BTGreaterEqualStrategyNumber;
	start->row.sk_argument = PointerGetDatum(start->names);
	scan_start(s, &start->row);
}

/* A slot's three names and those; -1, 0, 1. */
static inline int
compare_slot_names(TupleTableSlot *a, const Datum *names)
{
	int			cmp = 0;

	slot_getsomeattrs(a, CFP_COL_ITEM + 1);
	for (int i = CFP_COL_KEY; i <= CFP_COL_ITEM && cmp == 0; i++)
	{
		text	   *x = slot_text(a, i);
		text	   *y = DatumGetTextPP(names[i]);

		cmp = cfp_compare_names(VARDATA_ANY(x), VARSIZE_ANY_EXHDR(x),
								VARDATA_ANY(y), VARSIZE_ANY_EXHDR(y));
	}
	return cmp;
}

/* By their names; -1, 0, 1. */
static inline int
compare_slots(TupleTableSlot *a, TupleTableSlot *b)
{
	slot_getsomeattrs(b, CFP_COL_ITEM + 1);
	return compare_slot_names(a, &b->tts_values[CFP_COL_KEY]);
}

/*
 * The tables for a reader with this snapshot, locked as cfp_tables_locked()
 * does it.  Throws 40001 when the history has lost what the snapshot saw.
 */
extern CfpTables cfp_tables_for(Snapshot snapshot);

/* The record in a slot of history or latest, palloc'd; txid may be NULL. */
extern CfpRecord *cfp_slot_record(TupleTableSlot *slot, uint64 *txid);

#endif							/* CFP_SCAN_H */
