/*-------------------------------------------------------------------------
 *
 * read_collection.c
 *		Reading a collection from the tables.
 *
 * Called by cache/load.c, which fills the cache, and by read/ for what the
 * cache may not answer.
 *
 * What is true of an item is its newest record, of storage_history and
 * storage_latest together (read_item.c).  Two ways lead there, both under one
 * snapshot:
 *
 *	- latest, with the items in storage_dirty taken from the history and the
 *	  rows not yet flushed (by the index on txid) on top;
 *	- by skip scan: latest merged with a walk along the history's primary key
 *	  that skips what is old.  Under SERIALIZABLE, where each gap read must be
 *	  locked; while the database is marked to be reconciled; when another of the
 *	  tables was emptied since the snapshot (rewritten.c); when very many rows
 *	  are not flushed yet, and on from where very many items were dirty.
 *
 * Locks: ACCESS SHARE on what is read until the end of the transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "access/genam.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/xid8.h"

#include "base/compat.h"
#include "record/record.h"
#include "tables/read_collection.h"
#include "tables/scan.h"
#include "tables/state.h"
#include "tables/tables.h"

/*
 * More rows not yet flushed than this (of any collection), and the collection
 * is skip scanned: looking through them would cost more than most collections.
 */
#define MAX_UNFLUSHED_ROWS	200

/* Versions of one item to step over before descending anew. */
#define SKIP_AFTER			4

/* So many dirty items, and the rest of the collection is skip scanned. */
#define MANY_DIRTY			1000

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
	text	   *walk_from;		/* the walk's lower bound, as long as it is
								 * one */

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
	for (int i = -1; i < cursor->seen.nxip && seen <= MAX_UNFLUSHED_ROWS; i++)
	{
		/* All from xmax on, then each that was running below it. */
		if (i < 0)
			ScanKeyInit(&key, 1, BTGreaterEqualStrategyNumber, F_XID8GE,
						FullTransactionIdGetDatum(FullTransactionIdFromU64(cursor->seen.xmax)));
		else
			ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_XID8EQ,
						FullTransactionIdGetDatum(FullTransactionIdFromU64(cursor->seen.xip[i])));
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
			stream->unflushed[n].record = cfp_slot_record(scan.slot, &stream->unflushed[n].txid);
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
		Assert(stream->nunflushed == 0 ||
			   cfp_compare_texts(&last->item, &stream->unflushed[i].item) < 0);
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

	Assert(stream->row.item != NULL);

	keys[0] = stream->keys[0];
	keys[1] = stream->keys[1];
	text_key(&keys[2], 3, BTEqualStrategyNumber, stream->row.item);
	version_bound(&keys[3], at_least);
	scan_start(&stream->newest, keys);
	found = scan_next(&stream->newest, BackwardScanDirection);
	if (found)
	{
		stream->row.record = cfp_slot_record(stream->newest.slot, &stream->row.txid);
		Assert(stream->row.record->version >= at_least);
	}
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
	stream->row.record = cfp_slot_record(stream->ahead, &stream->row.txid);
}

/*
 * Begin the skip scan: from the lower bound of the range, or behind the item
 * that the stream stands at.
 */
static void
skip_scan_open(HistoryStream *stream)
{
	MemoryContext old = MemoryContextSwitchTo(MemoryContextGetParent(stream->cxt));

	Assert(stream->nkeys == 3 || stream->nkeys == 4);

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
		stream->skip = cursor.whole_history ||
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
	CfpTables	tables = cfp_tables_for(snapshot);
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
			CfpRecord  *record = cfp_slot_record(latest.slot, &txid);

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

	of->have = scan_next(&of->scan, ForwardScanDirection);
	if (of->have)
		slot_getsomeattrs(of->scan.slot, CFP_COL_COLLECTION + 1);
	if (of->have && only != NULL &&
		!text_is(slot_text(of->scan.slot, CFP_COL_KEY), VARDATA_ANY(only), VARSIZE_ANY_EXHDR(only)))
		of->have = false;
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
		collections_of_seek(a, name, false, collections->key);
	if (cmp >= 0)
		collections_of_seek(b, name, false, collections->key);
	MemoryContextSwitchTo(old);
	return true;
}

void
cfp_collections_end(CfpCollections *collections)
{
	for (int i = 0; i < 2; i++)
		scan_close(&collections->tables[i].scan);
}
