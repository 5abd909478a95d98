/*-------------------------------------------------------------------------
 *
 * walk.c
 *		A walk through all rows of a collection.
 *
 * Called by collection.c and text.c, which say where the rows go (CfpRowSink).
 *
 * Rows are copied out of the cache in batches under the shared lock and given out
 * without it.  Between batches the collection may be evicted or changed: the
 * snapshot sees to it that the result is still of one moment, and the rest may
 * come from the tables.  Own pending records are merged in by name.
 *
 * Locks: the collection's, shared while a batch is copied, exclusive while its
 * items are sorted; never while a row is given out or the tables are read.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "cache/directory.h"
#include "cache/items.h"
#include "read/reader_int.h"
#include "read/walk_int.h"
#include "store/own.h"
#include "tables/read_collection.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/*
 * What is read goes through here in order of item name: puts the own pending
 * records in and gives the rows to the sink.
 */
typedef struct Merge
{
	CfpRowSink *sink;
	bool		include_deleted;
	int			sign;			/* of comparisons: -1 backward */
	CfpPendingRow *own;			/* sorted by item name, in the walk's
								 * direction */
	int			nown;
	int			next_own;
	uint64		own_txid;
	bool		stopped;		/* the sink has enough */
} Merge;

static const CfpRowText no_text = {0};

static inline bool
merge_give(Merge *merge, const CfpRow *row, CfpRowText json)
{
	if (CFP_RECORD_IS_TOMBSTONE(row->record) && !merge->include_deleted)
		return true;
	merge->stopped = !merge->sink->take(merge->sink, row, json);
	return !merge->stopped;
}

static bool
merge_give_own(Merge *merge)
{
	CfpPendingRow *own = &merge->own[merge->next_own++];
	CfpRow		row = {
		.item = own->name.item,
		.item_len = own->name.item_len,
		.record = cfp_pending_record(own),
		.txid = merge->own_txid,
		.own = true
	};

	return merge_give(merge, &row, no_text);
}

static bool
merge_row(Merge *merge, const CfpRow *row, CfpRowText json)
{
	while (merge->next_own < merge->nown)
	{
		CfpPendingRow *own = &merge->own[merge->next_own];
		int			cmp = merge->sign * cfp_compare_names(own->name.item, own->name.item_len,
														  row->item, row->item_len);

		if (cmp > 0)
			break;
		if (cmp == 0)
		{
			if (own->version > row->record->version)
				return merge_give_own(merge);
			merge->next_own++;
			break;
		}
		if (!merge_give_own(merge))
			return false;
	}
	return merge_give(merge, row, json);
}

static bool
merge_table_row(const char *item, int item_len, const CfpRecord *record,
				uint64 txid, void *arg)
{
	CfpRow		row = {
		.item = item,.item_len = item_len,.record = record,.txid = txid
	};

	return merge_row(arg, &row, no_text);
}

/* Note the item to go on with. */
static void
resume_at(StringInfo resume, const CfpItem *item)
{
	resetStringInfo(resume);
	appendBinaryStringInfo(resume, item->name, item->name_len);
}

/*
 * Where in the order array to begin: at the name to go on with, else at the range's
 * begin, which backward is its end.  Past the array when there is nothing.
 */
static uint32
first_place(const CfpCollection *col, const CfpReadOptions *options, StringInfo resume)
{
	const char *name = options->backward ? options->range.to : options->range.from;
	int			len = options->backward ? options->range.to_len : options->range.from_len;
	uint32		place;

	if (resume->len > 0)
	{
		name = resume->data;
		len = resume->len;
	}
	if (name == NULL)
		return options->backward ? col->nitems - 1 : 0;
	place = cfp_items_before(col, name, len);
	if (options->backward &&
		(place == col->nitems || cfp_item_compare(cfp_ptr(col->order[place]), name, len) != 0))
		place--;
	return place;
}

/* Does the item lie behind the range, in the walk's direction? */
static bool
is_behind(const CfpItem *item, const CfpReadOptions *options)
{
	if (options->backward)
		return options->range.from != NULL &&
			cfp_item_compare(item, options->range.from, options->range.from_len) < 0;
	return options->range.to != NULL &&
		cfp_item_compare(item, options->range.to, options->range.to_len) > 0;
}

/*
 * Copy rows from the place `start` of the order array on, until the batch is
 * full or the range ends; returns how many, and in *end whether that was all,
 * else in resume the name to go on with.  With texts, those at hand are copied
 * instead of records; with *counted, rows are added up there instead.  The caller
 * holds the collection's lock; the order is sorted.
 */
static int
copy_batch(const CfpReader *reader, const CfpCollection *col, uint32 start,
		   const CfpReadOptions *options, bool texts, int64 *counted, CfpBatchRow *rows,
		   bool *end, StringInfo resume)
{
	Size		bytes = 0;
	int			most = options->max_items > 0 ? Min(options->max_items, BATCH_ROWS) : BATCH_ROWS;
	uint32		step = options->backward ? PG_UINT32_MAX : 1;	/* -1, going round */
	int			looked_at = 0;
	int			n = 0;

	Assert(LWLockHeldByMe(unconstify(LWLock *, &col->lock)));
	Assert(col->order_sorted == col->nitems);
	*end = true;
	for (uint32 i = start; i < col->nitems; i += step)
	{
		CfpItem    *item = cfp_ptr(col->order[i]);
		CfpNode    *node;
		CfpRecord  *record;
		CfpText    *json;
		CfpBatchRow *row;
		char	   *copy;
		Size		record_size;
		Size		json_size;

		if (is_behind(item, options))
			break;
		if (n == most || bytes > BATCH_BYTES || looked_at++ == BATCH_ITEMS)
		{
			resume_at(resume, item);
			*end = false;
			break;
		}
		node = cfp_chain_visible(item, &reader->view);
		if (node == NULL && (item->flags & CFP_ITEM_PRUNED) == 0)
			continue;

		record = node ? cfp_ptr(node->record) : NULL;
		if (counted != NULL && record != NULL)
		{
			*counted += !CFP_RECORD_IS_TOMBSTONE(record);
			continue;
		}

		/* One piece of memory a row: record, JSON text, name. */
		json = node && texts && node->json ? cfp_ptr(node->json) : NULL;
		record_size = record == NULL ? 0 :
			json || options->no_records ? CFP_RECORD_HEADER : CFP_RECORD_BYTES(record);
		json_size = json ? json->len : 0;
		copy = palloc(record_size + json_size + item->name_len);
		bytes += record_size + json_size;

		row = &rows[n++];
		memset(row, 0, sizeof(CfpBatchRow));
		row->row.item = memcpy(copy + record_size + json_size, item->name, item->name_len);
		row->row.item_len = item->name_len;
		if (record == NULL)
		{
			row->pruned = true;
			continue;
		}
		row->row.record = memcpy(copy, record, record_size);
		row->row.txid = U64FromFullTransactionId(node->writer);
		if (json)
		{
			row->json.data = memcpy(copy + record_size, json->data, json_size);
			row->json.len = json_size;
		}
		else
			row->make_json = texts && !CFP_RECORD_IS_TOMBSTONE(record);
	}
	return n;
}

/*
 * Read through the cache, batch by batch; false when the rest must come from
 * the tables, with resume then set to where.
 */
static bool
read_batches(CfpReader *reader, const CfpCollectionName *name,
			 const CfpReadOptions *options, Merge *merge, StringInfo resume,
			 MemoryContext batch_cxt)
{
	CfpRowSink *sink = merge->sink;
	uint64		hash = cfp_collection_hash(name);
	CfpBatchRow *rows = palloc(BATCH_ROWS * sizeof(CfpBatchRow));
	bool		end = false;

	while (!end)
	{
		CfpCollection *col;
		uint64		generation;
		uint32		start;
		bool		full = false;
		int			n = 0;
		MemoryContext old;

		CHECK_FOR_INTERRUPTS();
		if (sink->texts)
			sink->before_batch(sink);
		col = cfp_reader_open(reader, name, hash, LW_SHARED);
		while (col != NULL && col->order_sorted < col->nitems)
		{
			LWLockRelease(&col->lock);
			CHECK_FOR_INTERRUPTS();
			col = cfp_reader_open(reader, name, hash, LW_EXCLUSIVE);
			if (col != NULL)
				cfp_items_sort(col);
		}
		if (col == NULL)
			return false;
		generation = col->generation;

		old = MemoryContextSwitchTo(batch_cxt);
		start = first_place(col, options, resume);
		if (sink->texts && merge->nown == 0)
			start = sink->take_in_place(sink, reader, col, start, &full);
		end = start >= col->nitems;
		if (full && !end)
			resume_at(resume, cfp_ptr(col->order[start]));
		else if (!end)
			n = copy_batch(reader, col, start, options, sink->texts,
						   sink->counts && merge->nown == 0 ? &sink->counted : NULL,
						   rows, &end, resume);
		LWLockRelease(&col->lock);
		if (sink->texts)
			sink->make_texts(name, col, generation, rows, n);

		for (int i = 0; i < n; i++)
		{
			CfpRow	   *row = &rows[i].row;

			if (rows[i].pruned)
			{
				CfpItemName item = {
					.in = *name,.item = row->item,.item_len = row->item_len
				};

				cfp_counts.table_reads[CFP_READ_PRUNED]++;
				row->record = cfp_table_read_item(reader->snapshot, &item, &row->txid);
				if (row->record == NULL)
					continue;
			}
			if (!merge_row(merge, row, rows[i].json))
			{
				end = true;
				break;
			}
		}
		MemoryContextSwitchTo(old);
		MemoryContextReset(batch_cxt);
	}
	return true;
}

/* From the tables: what the cache has not given. */
static void
read_tables(const CfpReader *reader, const CfpCollectionName *name,
			const CfpReadOptions *options, StringInfo resume, Merge *merge)
{
	CfpItemRange range = options->range;
	CfpManyReads *many = options->many;

	if (resume->len > 0)
	{
		range.from = resume->data;
		range.from_len = resume->len;
	}
	if (many == NULL || range.to != NULL)
	{
		cfp_table_read_collection(reader->snapshot, name, &range, merge_table_row, merge);
		return;
	}
	if (many->tables == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(many->context);

		many->tables = cfp_table_reader_open(reader->snapshot);
		MemoryContextSwitchTo(old);
	}
	cfp_table_reader_read(many->tables, name, &range, merge_table_row, merge);
}

static void
turn_round(CfpPendingRow *rows, int n)
{
	for (int i = 0; i < n / 2; i++)
	{
		CfpPendingRow row = rows[i];

		rows[i] = rows[n - 1 - i];
		rows[n - 1 - i] = row;
	}
}

bool
cfp_walk_collection(const CfpCollectionName *name, const CfpReadOptions *options,
					CfpRowSink *sink)
{
	CfpReader	reader;
	Merge		merge = {
		.sink = sink,
		.include_deleted = options->include_deleted,
		.sign = options->backward ? -1 : 1
	};
	bool		done;
	MemoryContext caller_cxt = CurrentMemoryContext;
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "cfp collection",
											  ALLOCSET_DEFAULT_SIZES);
	MemoryContext batch_cxt = AllocSetContextCreate(cxt, "cfp batch",
													ALLOCSET_DEFAULT_SIZES);
	StringInfoData resume;

	Assert(ActiveSnapshotSet());
	Assert(!options->backward || !sink->texts);
	MemoryContextSwitchTo(cxt);
	initStringInfo(&resume);
	if (cfp_pending_any)
	{
		merge.own = cfp_pending_collection(name, &options->range,
										   options->has_command ? options->command : CFP_UP_TO_NOW,
										   &merge.nown);
		merge.own_txid = U64FromFullTransactionId(GetTopFullTransactionId());
		if (options->backward)
			turn_round(merge.own, merge.nown);
	}

	cfp_reader_init(&reader);
	reader.counted = sink->again;
	reader.fill = !options->no_fill;
	if (!sink->again)
		cfp_counts.gets++;
	done = reader.cached && read_batches(&reader, name, options, &merge, &resume, batch_cxt);
	if (!done && !options->backward)
	{
		read_tables(&reader, name, options, &resume, &merge);
		done = true;
	}
	while (done && !merge.stopped && merge.next_own < merge.nown)
		(void) merge_give_own(&merge);
	MemoryContextSwitchTo(caller_cxt);
	MemoryContextDelete(cxt);
	return done;
}
