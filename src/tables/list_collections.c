/*-------------------------------------------------------------------------
 *
 * list_collections.c
 *		The collections that the tables have.
 *
 * Called by read/ for what is read of a key, or of all: the cache does not know
 * which collections there are.
 *
 * A collection is there when it has a record in storage_history or storage_latest
 * that the snapshot sees.  Both are gone through along their primary keys, which
 * is left by a descent where a collection has many rows.
 *
 * Locks: ACCESS SHARE on what is read until the end of the transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "tables/list_collections.h"
#include "tables/scan.h"
#include "tables/tables.h"

/* Rows of a collection to step over before descending to the next one. */
#define STEPS_BEFORE_SEEK	64

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
		name = DatumGetTextPCopy(scan.slot->tts_values[CFP_COL_COLLECTION]);
		names = lappend(names, name);
		text_key(&keys[1], 2, BTGreaterStrategyNumber, name);
	}
	scan_close(&scan);
	return names;
}

List *
cfp_table_collections(Snapshot snapshot, const char *key, int key_len)
{
	CfpTables	tables = cfp_tables_for(snapshot);
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

/* ---------- the collections there are, one by one ---------- */

/* The collections of one table. */
typedef struct CollectionsOf
{
	TableScan	scan;
	ScanKeyData names[2];
	ScanKeyData row;
	text	   *after[2];		/* the scan's bound, key and collection */
	bool		have;			/* scan.slot has the next */
} CollectionsOf;

struct CfpCollections
{
	MemoryContext context;
	CollectionsOf tables[2];	/* history, latest */
	text	   *key;			/* NULL: of all keys */
	StringInfoData names;		/* those given out last */
};

/* Go to the next row; none of other keys than the only one counts. */
static void
collections_of_step(CollectionsOf *of, const text *only)
{
	of->have = scan_next(&of->scan, ForwardScanDirection);
	if (of->have)
		slot_getsomeattrs(of->scan.slot, CFP_COL_COLLECTION + 1);
	if (of->have && only != NULL &&
		!text_is(slot_text(of->scan.slot, CFP_COL_KEY), VARDATA_ANY(only), VARSIZE_ANY_EXHDR(only)))
		of->have = false;
}

/* Go to the first row that comes after these names, or that has them. */
static void
collections_of_seek(CollectionsOf *of, const CfpCollectionName *name, bool themselves,
					const text *only)
{
	StrategyNumber strategy = themselves ? BTGreaterEqualStrategyNumber : BTGreaterStrategyNumber;
	text	   *before[2] = {of->after[0], of->after[1]};

	of->after[0] = cstring_to_text_with_len(name->key, name->key_len);
	of->after[1] = cstring_to_text_with_len(name->collection, name->collection_len);
	for (int i = 0; i < 2; i++)
		ScanKeyEntryInitialize(&of->names[i], SK_ROW_MEMBER | (i == 1 ? SK_ROW_END : 0),
							   i + 1, strategy, TEXTOID, C_COLLATION_OID, F_BTTEXTCMP,
							   PointerGetDatum(of->after[i]));
	memset(&of->row, 0, sizeof(of->row));
	of->row.sk_flags = SK_ROW_HEADER;
	of->row.sk_attno = 1;
	of->row.sk_strategy = strategy;
	of->row.sk_argument = PointerGetDatum(of->names);
	scan_start(&of->scan, &of->row);
	for (int i = 0; i < 2; i++)
	{
		if (before[i] != NULL)
			pfree(before[i]);
	}

	collections_of_step(of, only);
}

/* Go behind the rows of these names: step by step where they are few. */
static void
collections_of_pass(CollectionsOf *of, const CfpCollectionName *name, const text *only)
{
	for (int i = 0; i < STEPS_BEFORE_SEEK; i++)
	{
		collections_of_step(of, only);
		if (!of->have ||
			!text_is(slot_text(of->scan.slot, CFP_COL_COLLECTION), name->collection, name->collection_len) ||
			!text_is(slot_text(of->scan.slot, CFP_COL_KEY), name->key, name->key_len))
			return;
	}
	collections_of_seek(of, name, false, only);
}

CfpCollections *
cfp_collections_begin(Snapshot snapshot, const char *key, int key_len)
{
	CfpTables	tables = cfp_tables_for(snapshot);
	CfpCollections *collections = palloc0(sizeof(CfpCollections));
	CfpCollectionName first = {.key = key ? key : "",.key_len = key ? key_len : 0,.collection = ""};

	collections->context = CurrentMemoryContext;
	initStringInfo(&collections->names);
	if (key != NULL)
		collections->key = cstring_to_text_with_len(key, key_len);
	scan_open(&collections->tables[0].scan, tables.history, tables.history_pkey, snapshot, 1);
	scan_open(&collections->tables[1].scan, tables.latest, tables.latest_pkey, snapshot, 1);
	for (int i = 0; i < 2; i++)
		collections_of_seek(&collections->tables[i], &first, true, collections->key);
	return collections;
}

bool
cfp_collections_next(CfpCollections *collections, CfpCollectionName *name)
{
	CollectionsOf *a = &collections->tables[0];
	CollectionsOf *b = &collections->tables[1];
	StringInfo	names = &collections->names;
	MemoryContext old;
	TupleTableSlot *slot;
	int			cmp = 0;
	text	   *part;

	if (!a->have && !b->have)
		return false;
	if (!a->have || !b->have)
		cmp = a->have ? -1 : 1;
	for (int i = CFP_COL_KEY; i <= CFP_COL_COLLECTION && cmp == 0; i++)
	{
		text	   *x = slot_text(a->scan.slot, i);
		text	   *y = slot_text(b->scan.slot, i);

		cmp = cfp_compare_names(VARDATA_ANY(x), VARSIZE_ANY_EXHDR(x),
								VARDATA_ANY(y), VARSIZE_ANY_EXHDR(y));
	}
	slot = cmp <= 0 ? a->scan.slot : b->scan.slot;
	resetStringInfo(names);
	part = slot_text(slot, CFP_COL_KEY);
	appendBinaryStringInfo(names, VARDATA_ANY(part), VARSIZE_ANY_EXHDR(part));
	name->key_len = names->len;
	part = slot_text(slot, CFP_COL_COLLECTION);
	appendBinaryStringInfo(names, VARDATA_ANY(part), VARSIZE_ANY_EXHDR(part));
	name->collection_len = names->len - name->key_len;
	name->key = names->data;
	name->collection = names->data + name->key_len;

	old = MemoryContextSwitchTo(collections->context);
	if (cmp <= 0)
		collections_of_pass(a, name, collections->key);
	if (cmp >= 0)
		collections_of_pass(b, name, collections->key);
	MemoryContextSwitchTo(old);
	return true;
}

void
cfp_collections_end(CfpCollections *collections)
{
	for (int i = 0; i < 2; i++)
		scan_close(&collections->tables[i].scan);
}
