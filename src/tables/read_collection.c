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
 * For many collections they are looked through but once.
 */
#define MAX_UNFLUSHED_ROWS	200
#define MAX_UNFLUSHED_ROWS_OF_MANY	20000

/* So much of them is kept in memory. */
#define MAX_UNFLUSHED_BYTES	(16 * 1024 * 1024)

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
 * What the history adds to latest, of one collection after the other, in byte order
 * of item name: by skip scan, or from storage_dirty and the rows not yet flushed.
 */
typedef struct HistoryStream
{
	const CfpTables *tables;
	Snapshot	snapshot;
	MemoryContext context;		/* of the scans */
	int			nkeys;			/* 3, or 4 with an upper bound */
	TableScan	newest;			/* for descents to one item */

	/* the collection */
	MemoryContext names_cxt;	/* of what its keys point to */
	ScanKeyData keys[4];		/* its names, and the bounds of the range */
	bool		skip;
	bool		done;
	MemoryContext cxt;			/* of the row the stream stands at */
	StreamRow	row;

	/* skip scan: the slot after the one returned, already fetched */
	TableScan	walk;
	bool		walk_open;
	bool		started;
	bool		have_next;
	TupleTableSlot *ahead;
	text	   *walk_from;		/* the walk's lower bound, as long as it is
								 * one */

	/* dirty and unflushed */
	TableScan	dirty;
	bool		dirty_open;
	bool		have_dirty;
	int			ndirty;			/* so far */
	StreamRow  *unflushed;		/* sorted by item, newest of each */
	int			nunflushed;
	int			next_unflushed;
} HistoryStream;

/* A row not yet flushed, and which collection it is of. */
typedef struct UnflushedRow
{
	CfpCollectionName in;
	StreamRow	row;
} UnflushedRow;

struct CfpTableReader
{
	MemoryContext context;
	MemoryContext row_cxt;
	CfpTables	tables;
	Snapshot	snapshot;
	bool		skip;			/* all that is read is skip scanned */
	HistoryStream stream;
	TableScan	latest;

	/* Not yet flushed: sorted by collection and item, newest of each. */
	StreamRow  *unflushed;
	CfpCollectionName *unflushed_in;
	int			nunflushed;
};

static int
compare_collections(const CfpCollectionName *x, const CfpCollectionName *y)
{
	int			cmp = cfp_compare_names(x->key, x->key_len, y->key, y->key_len);

	return cmp != 0 ? cmp : cfp_compare_names(x->collection, x->collection_len,
											  y->collection, y->collection_len);
}

static int
compare_unflushed(const void *a, const void *b)
{
	const UnflushedRow *x = a;
	const UnflushedRow *y = b;
	int			cmp = compare_collections(&x->in, &y->in);

	if (cmp == 0)
		cmp = cfp_compare_texts(&x->row.item, &y->row.item);
	if (cmp != 0)
		return cmp;
	return x->row.record->version > y->row.record->version ? -1 : 1;	/* newest first */
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

static void
take_name(TupleTableSlot *slot, int column, const char **name, int *len)
{
	text	   *t = slot_text(slot, column);

	*len = VARSIZE_ANY_EXHDR(t);
	*name = memcpy(palloc(*len + 1), VARDATA_ANY(t), *len);
}

/*
 * Rows not yet flushed, of all collections or of a range of the one, into the
 * reader.  False when there are too many (of all collections) to look through,
 * which they are when this transaction has written some: then it has written many;
 * and when they are too large to be kept.
 */
static bool
collect_unflushed(CfpTableReader *reader, const CfpCursor *cursor,
				  const CfpCollectionName *name, const CfpItemRange *range)
{
	TableScan	scan;
	ScanKeyData key;
	UnflushedRow *rows;
	int			most = name == NULL ? MAX_UNFLUSHED_ROWS_OF_MANY : MAX_UNFLUSHED_ROWS;
	int			seen = 0;
	int			allocated = 64;
	int			n = 0;
	Size		bytes = 0;
	FullTransactionId own = GetTopFullTransactionIdIfAny();

	rows = palloc(allocated * sizeof(UnflushedRow));
	scan_open(&scan, reader->tables.history, reader->tables.history_txid, reader->snapshot, 1);
	for (int i = -1; i < cursor->seen.nxip && seen <= most; i++)
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
			UnflushedRow *row;

			if (++seen > most)
				break;
			slot_getsomeattrs(scan.slot, CFP_COL_TXID + 1);
			if (FullTransactionIdEquals(own, DatumGetFullTransactionId(scan.slot->tts_values[CFP_COL_TXID])))
			{
				seen = most + 1;
				break;
			}
			if (name != NULL &&
				(!text_is(slot_text(scan.slot, CFP_COL_KEY), name->key, name->key_len) ||
				 !text_is(slot_text(scan.slot, CFP_COL_COLLECTION), name->collection,
						  name->collection_len) ||
				 !in_range(slot_text(scan.slot, CFP_COL_ITEM), range)))
				continue;
			if (n == allocated)
			{
				allocated *= 2;
				rows = repalloc(rows, allocated * sizeof(UnflushedRow));
			}
			row = &rows[n++];
			take_name(scan.slot, CFP_COL_KEY, &row->in.key, &row->in.key_len);
			take_name(scan.slot, CFP_COL_COLLECTION, &row->in.collection, &row->in.collection_len);
			row->row.item = copy_text(slot_text(scan.slot, CFP_COL_ITEM));
			row->row.record = cfp_slot_record(scan.slot, &row->row.txid);
			bytes += CFP_RECORD_BYTES(row->row.record);
			if (bytes > MAX_UNFLUSHED_BYTES)
			{
				seen = most + 1;
				break;
			}
		}
	}
	scan_close(&scan);
	if (seen > most)
		return false;

	/* Newest of each item. */
	if (n > 1)
		qsort(rows, n, sizeof(UnflushedRow), compare_unflushed);
	reader->unflushed = palloc(Max(n, 1) * sizeof(StreamRow));
	reader->unflushed_in = palloc(Max(n, 1) * sizeof(CfpCollectionName));
	for (int i = 0; i < n; i++)
	{
		if (i > 0 && compare_collections(&rows[i - 1].in, &rows[i].in) == 0 &&
			cfp_compare_texts(&rows[i - 1].row.item, &rows[i].row.item) == 0)
			continue;
		reader->unflushed[reader->nunflushed] = rows[i].row;
		reader->unflushed_in[reader->nunflushed++] = rows[i].in;
	}
	pfree(rows);
	return true;
}

/* Those of a collection, from the item on that the range begins with. */
static void
take_unflushed(HistoryStream *stream, const CfpTableReader *reader,
			   const CfpCollectionName *name, const CfpItemRange *range)
{
	int			low = 0;
	int			high = reader->nunflushed;

	while (low < high)
	{
		int			mid = low + (high - low) / 2;
		int			cmp = compare_collections(&reader->unflushed_in[mid], name);

		if (cmp == 0 && range != NULL && range->from != NULL)
			cmp = cfp_compare_names(VARDATA_ANY(reader->unflushed[mid].item),
									VARSIZE_ANY_EXHDR(reader->unflushed[mid].item),
									range->from, range->from_len);
		if (cmp < 0)
			low = mid + 1;
		else
			high = mid;
	}
	stream->unflushed = &reader->unflushed[low];
	stream->nunflushed = stream->next_unflushed = 0;
	while (low + stream->nunflushed < reader->nunflushed &&
		   compare_collections(&reader->unflushed_in[low + stream->nunflushed], name) == 0)
		stream->nunflushed++;
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
			old = MemoryContextSwitchTo(stream->context);
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
skip_scan_begin(HistoryStream *stream)
{
	MemoryContext old = MemoryContextSwitchTo(stream->context);

	Assert(stream->nkeys == 3 || stream->nkeys == 4);

	if (stream->row.item != NULL)
	{
		if (stream->walk_from != NULL)
			pfree(stream->walk_from);
		stream->walk_from = copy_text(stream->row.item);
		text_key(&stream->keys[2], 3, BTGreaterStrategyNumber, stream->walk_from);
	}
	if (!stream->walk_open)
	{
		scan_open(&stream->walk, RelationGetRelid(stream->newest.table),
				  RelationGetRelid(stream->newest.index),
				  stream->snapshot, stream->nkeys);
		stream->ahead = table_slot_create(stream->walk.table, NULL);
		stream->walk_open = true;
	}
	stream->skip = true;
	stream->started = false;
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
		skip_scan_begin(stream);
	MemoryContextReset(stream->cxt);
	old = MemoryContextSwitchTo(stream->cxt);
	if (stream->skip)
		skip_scan_next(stream);
	else
		dirty_next(stream);
	MemoryContextSwitchTo(old);
}

/* For collections with an upper bound of their range, or without. */
static void
stream_open(HistoryStream *stream, const CfpTables *tables, Snapshot snapshot, bool bounded)
{
	memset(stream, 0, sizeof(*stream));
	stream->tables = tables;
	stream->snapshot = snapshot;
	stream->context = CurrentMemoryContext;
	stream->nkeys = bounded ? 4 : 3;
	stream->cxt = AllocSetContextCreate(CurrentMemoryContext, "cfp history stream",
										ALLOCSET_DEFAULT_SIZES);
	scan_open(&stream->newest, tables->history, tables->history_pkey, snapshot, 4);
}

/* What the keys of a collection say.  Its names outlive the scans that have them. */
static void
set_keys(HistoryStream *stream, const CfpCollectionName *name, const CfpItemRange *range)
{
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
	if (stream->nkeys == 4)
		text_key(&stream->keys[3], 3, BTLessEqualStrategyNumber,
				 cstring_to_text_with_len(range->to, range->to_len));
}

/* Go to the first row of a collection; its keys are set. */
static void
stream_start(HistoryStream *stream, const CfpTableReader *reader,
			 const CfpCollectionName *name, const CfpItemRange *range)
{
	stream->skip = reader->skip;
	stream->done = false;
	stream->row.item = NULL;
	stream->ndirty = 0;
	if (stream->skip)
		skip_scan_begin(stream);
	else
	{
		take_unflushed(stream, reader, name, range);
		if (!stream->dirty_open)
		{
			scan_open(&stream->dirty, stream->tables->dirty, stream->tables->dirty_pkey,
					  stream->snapshot, stream->nkeys);
			stream->dirty_open = true;
		}
		scan_start(&stream->dirty, stream->keys);
		stream->have_dirty = scan_next(&stream->dirty, ForwardScanDirection);
	}
	stream_next(stream);
}

static void
stream_close(HistoryStream *stream)
{
	if (stream->walk_open)
	{
		ExecDropSingleTupleTableSlot(stream->ahead);
		scan_close(&stream->walk);
	}
	if (stream->dirty_open)
		scan_close(&stream->dirty);
	scan_close(&stream->newest);
}

/* ---------- the reader ---------- */

/* For all collections (name NULL), or for a range of the one. */
static CfpTableReader *
reader_open(Snapshot snapshot, const CfpCollectionName *name, const CfpItemRange *range)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "cfp table reader",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	CfpTableReader *reader = palloc0(sizeof(CfpTableReader));
	bool		bounded = range != NULL && range->to != NULL;

	reader->context = context;
	reader->row_cxt = AllocSetContextCreate(context, "cfp collection row",
											ALLOCSET_DEFAULT_SIZES);
	reader->tables = cfp_tables_for(snapshot);
	reader->snapshot = snapshot;
	reader->skip = IsolationIsSerializable();
	if (!reader->skip)
	{
		CfpCursor	cursor;

		cfp_cursor_read(snapshot, &cursor);
		reader->skip = cursor.whole_history || !collect_unflushed(reader, &cursor, name, range);
	}
	stream_open(&reader->stream, &reader->tables, snapshot, bounded);
	scan_open(&reader->latest, reader->tables.latest, reader->tables.latest_pkey, snapshot,
			  reader->stream.nkeys);
	MemoryContextSwitchTo(old);
	return reader;
}

CfpTableReader *
cfp_table_reader_open(Snapshot snapshot)
{
	return reader_open(snapshot, NULL, NULL);
}

void
cfp_table_reader_close(CfpTableReader *reader)
{
	scan_close(&reader->latest);
	stream_close(&reader->stream);
	MemoryContextDelete(reader->context);
}

void
cfp_table_reader_read(CfpTableReader *reader, const CfpCollectionName *name,
					  const CfpItemRange *range, CfpTableRowCallback callback, void *arg)
{
	HistoryStream *stream = &reader->stream;
	TableScan  *latest = &reader->latest;
	MemoryContext old = MemoryContextSwitchTo(reader->context);
	MemoryContext names_before = stream->names_cxt;
	bool		have_latest;
	bool		go_on = true;

	Assert(stream->nkeys == (range != NULL && range->to != NULL ? 4 : 3));
	stream->names_cxt = AllocSetContextCreate(reader->context, "cfp collection names",
											  ALLOCSET_SMALL_SIZES);
	MemoryContextSwitchTo(stream->names_cxt);
	set_keys(stream, name, range);
	MemoryContextSwitchTo(reader->context);
	scan_start(latest, stream->keys);
	have_latest = scan_next(latest, ForwardScanDirection);
	stream_start(stream, reader, name, range);
	if (names_before != NULL)
		MemoryContextDelete(names_before);

	MemoryContextSwitchTo(reader->row_cxt);
	while (go_on && (have_latest || !stream->done))
	{
		text	   *item = NULL;
		int			cmp;

		if (have_latest)
		{
			slot_getsomeattrs(latest->slot, CFP_COL_ITEM + 1);
			item = slot_text(latest->slot, CFP_COL_ITEM);
		}
		if (!have_latest)
			cmp = 1;
		else if (stream->done)
			cmp = -1;
		else
			cmp = cfp_compare_names(VARDATA_ANY(item), VARSIZE_ANY_EXHDR(item),
									VARDATA_ANY(stream->row.item),
									VARSIZE_ANY_EXHDR(stream->row.item));

		/* Dirty, but nothing that latest has not: folded or pruned meanwhile. */
		if (cmp >= 0 && stream->row.record == NULL &&
			!descend_to_newest(stream, cmp == 0 ? slot_version(latest->slot) : PG_INT32_MIN))
		{
			stream_next(stream);
			continue;
		}

		/* Both have the item: the higher version is true, or the history's. */
		if (cmp < 0 ||
			(cmp == 0 && slot_version(latest->slot) > stream->row.record->version))
		{
			uint64		txid;
			CfpRecord  *record = cfp_slot_record(latest->slot, &txid);

			go_on = callback(VARDATA_ANY(item), VARSIZE_ANY_EXHDR(item),
							 record, txid, arg);
		}
		else
			go_on = callback(VARDATA_ANY(stream->row.item),
							 VARSIZE_ANY_EXHDR(stream->row.item),
							 stream->row.record, stream->row.txid, arg);
		MemoryContextReset(reader->row_cxt);
		if (cmp <= 0)
			have_latest = scan_next(latest, ForwardScanDirection);
		if (cmp >= 0)
			stream_next(stream);
	}
	MemoryContextSwitchTo(old);
}

void
cfp_table_read_collection(Snapshot snapshot, const CfpCollectionName *name,
						  const CfpItemRange *range,
						  CfpTableRowCallback callback, void *arg)
{
	CfpTableReader *reader = reader_open(snapshot, name, range);

	cfp_table_reader_read(reader, name, range, callback, arg);
	cfp_table_reader_close(reader);
}
