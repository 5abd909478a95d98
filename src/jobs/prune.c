/*-------------------------------------------------------------------------
 *
 * prune.c
 *		cfp_prune_history(): superseded records leave storage_history.
 *
 * cfp_prune_history() runs in a session and asks the job worker (jobs.c) for
 * cfp_prune_history_job(), which goes through storage_latest in the order of
 * its primary key, a chunk a transaction, and for each item through the older
 * part of its versions in the history.
 *
 * A record may go when all of these hold:
 *	- its version is below that in storage_latest, so it is folded, and not
 *	  the newest;
 *	- the history has a newer one, with keep_versions as many as that;
 *	- with older_than it was stored before;
 *	- flush and day files have seen it: what was committed late, or could not
 *	  be written yet, still has to go through both.
 *
 * With older_than a deleted item goes entirely, its row of storage_latest
 * included, when its tombstone was stored before, no other record is left,
 * and nothing is unfolded.  Its versions go on: storage_floors keeps the
 * tombstone's for the collection (floors.c).  No store in flight can bring it
 * back to life with an older version: a delete waits for the stores of its item
 * that it finds in flight (claim.c), and what comes later has a higher one.
 * A transaction at REPEATABLE READ that still sees the tombstone cannot store
 * the item any more (40001, claim.c).
 *
 * What may go is decided in one place, for a dry run as for a run.
 *
 * Superseded records need nothing of the cache: no reader asks it for them, and
 * one with an old snapshot finds them in the tables, as after any DELETE.  A
 * collection that loses a tombstone is bypassed from before the chunk's commit,
 * and goes from the cache with it (cfp_pending_bypass).  The day files are told
 * (forget.c), and the next backup is a full one: else a rebuild, or a restore
 * of a chain of backups, would bring the tombstones back.
 *
 * The row in cfp_pruned tells retention.c that these records are not lost.
 * It is committed before the first of them goes.
 *
 * Locks: as a fold; changes by hand are waited for, and keep out.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "base/process.h"
#include "base/waitpoint.h"
#include "jobs/prune.h"
#include "shared/database.h"
#include "shared/jobs.h"
#include "store/commit.h"
#include "tables/floors.h"
#include "tables/forget.h"
#include "tables/references.h"
#include "tables/scan.h"
#include "tables/state.h"
#include "tables/statement.h"
#include "tables/table_write.h"
#include "tables/tables.h"

/* Items, and records, of one chunk. */
#define CHUNK_ITEMS		1000
#define CHUNK_RECORDS	10000

/* A deleted item that goes entirely. */
typedef struct Tombstone
{
	Datum		names[3];
	int32		version;
	ItemPointerData in_history;
	ItemPointerData in_latest;
} Tombstone;

/* What may go of one chunk, and where it ends. */
typedef struct Chunk
{
	int			items;			/* looked at */
	int			records;
	ItemPointerData *tids;		/* in the history; CHUNK_RECORDS at most */
	int			ntombstones;
	Tombstone  *tombstones;
	Datum		last[3];		/* the last item looked at */
	bool		full;			/* it is not done with: it goes on with */
	int32		next_version;	/* this one */
} Chunk;

static CfpStatement pruned_save = {
	.table = "cfp_pruned",
	.sql = "INSERT INTO @schema@.cfp_pruned AS p"
	" (key, collection_name, superseded_before, deleted_before, at)"
	" VALUES ($1, $2, coalesce($3, now()), $3, now())"
	" ON CONFLICT (key, collection_name) DO UPDATE SET"
	" superseded_before = greatest(p.superseded_before, excluded.superseded_before),"
	" deleted_before = greatest(p.deleted_before, excluded.deleted_before), at = excluded.at",
	.nargs = 3,
	.argtypes = {TEXTOID, TEXTOID, TIMESTAMPTZOID},
};

typedef struct Prune
{
	const CfpJobArgs *args;
	MemoryContext context;		/* of names */
	text	   *key;			/* in this key only; NULL: in all */
	text	   *collection;		/* in collections of this name only */
	int			keep;			/* versions of each item, at least 1 */
	Datum		from[3];		/* the item the next chunk begins with, */
	bool		from_done;		/* which is done with, or goes on with */
	int32		from_version;	/* this version */
	int64		records;
	int64		items;

	/* Of the chunk's transaction. */
	CfpTables	tables;
	CfpSeen		flush;
	CfpSeen		files;
	TableScan	latest;
	TableScan	history;		/* by item and least version */
	TableScan	dirty;
} Prune;

/* Note that records of these items may be missing from now on. */
static void
note_pruned(const Prune *prune)
{
	Datum		values[] = {PointerGetDatum(prune->key), PointerGetDatum(prune->collection),
	TimestampTzGetDatum(prune->args->older_than)};
	char		nulls[] = {prune->key == NULL ? 'n' : ' ', prune->collection == NULL ? 'n' : ' ',
	prune->args->has_older_than ? ' ' : 'n', '\0'};

	cfp_worker_begin(false, false);
	cfp_statement_run(&pruned_save, values, nulls);
	cfp_worker_commit();
}

/* How many rows storage_latest has, as far as is known. */
static int64
latest_rows(void)
{
	HeapTuple	tuple;
	int64		rows = 0;

	StartTransactionCommand();
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(cfp_tables()->latest));
	if (HeapTupleIsValid(tuple))
	{
		rows = (int64) Max(((Form_pg_class) GETSTRUCT(tuple))->reltuples, 0);
		ReleaseSysCache(tuple);
	}
	CommitTransactionCommand();
	MemoryContextSwitchTo(cfp_worker_context);
	return rows;
}

static void
prune_begin(Prune *prune, const CfpJobArgs *args)
{
	const char *collection = args->names + Max(args->key_len, 0);

	memset(prune, 0, sizeof(*prune));
	prune->args = args;
	prune->context = cfp_worker_context;
	prune->keep = Max(args->keep_versions, 1);
	prune->from_version = PG_INT32_MIN;
	if (args->key_len >= 0)
		prune->key = cstring_to_text_with_len(args->names, args->key_len);
	if (args->collection_len >= 0)
		prune->collection = cstring_to_text_with_len(collection, args->collection_len);

	/* The first item asked for, or what comes before it. */
	prune->from[0] = PointerGetDatum(cstring_to_text_with_len(args->names, Max(args->key_len, 0)));
	prune->from[1] = PointerGetDatum(cstring_to_text_with_len(collection,
															  args->key_len >= 0 ? Max(args->collection_len, 0) : 0));
	prune->from[2] = PointerGetDatum(cstring_to_text(""));
}

/* Have flush and day files seen the record in the slot? */
static bool
is_flushed(const Prune *prune, TupleTableSlot *row)
{
	uint64		txid = DatumGetUInt64(row->tts_values[CFP_COL_TXID]);

	return cfp_seen_sees(&prune->flush, txid) && cfp_seen_sees(&prune->files, txid);
}

static bool
is_old(const Prune *prune, TupleTableSlot *row)
{
	return !prune->args->has_older_than ||
		DatumGetTimestampTz(row->tts_values[CFP_COL_UPDATED_AT]) < prune->args->older_than;
}

/* Is it a record without data and value? */
static bool
is_tombstone(TupleTableSlot *row)
{
	return row->tts_isnull[CFP_COL_DATA] && row->tts_isnull[CFP_COL_VALUE_INT] &&
		row->tts_isnull[CFP_COL_VALUE_FLOAT] && row->tts_isnull[CFP_COL_VALUE_STRING];
}

/* Is the item in latest's slot one that was asked for?  *more: may others come? */
static bool
in_scope(const Prune *prune, bool *more)
{
	TupleTableSlot *row = prune->latest.slot;
	text	   *key;
	text	   *collection;

	slot_getsomeattrs(row, CFP_COL_ITEM + 1);
	key = slot_text(row, CFP_COL_KEY);
	collection = slot_text(row, CFP_COL_COLLECTION);
	*more = true;
	if (prune->key != NULL &&
		!text_is(key, VARDATA_ANY(prune->key), VARSIZE_ANY_EXHDR(prune->key)))
	{
		*more = false;
		return false;
	}
	if (prune->collection != NULL &&
		!text_is(collection, VARDATA_ANY(prune->collection), VARSIZE_ANY_EXHDR(prune->collection)))
	{
		*more = prune->key == NULL || cfp_compare_texts(&collection, &prune->collection) < 0;
		return false;
	}
	return true;
}

static void
start_history(Prune *prune, const Datum *names, int32 version)
{
	ScanKeyData keys[4];

	names_keys(keys, names);
	version_bound(&keys[3], version);
	scan_start(&prune->history, keys);
}

/* The item's records below this version may go. */
static int32
version_limit(Prune *prune, const Datum *names, int32 in_latest)
{
	start_history(prune, names, PG_INT32_MIN);
	for (int i = 0; i < prune->keep; i++)
	{
		if (!scan_next(&prune->history, BackwardScanDirection))
			return PG_INT32_MIN;
	}
	return Min(in_latest, slot_version(prune->history.slot));
}

static bool
is_dirty(Prune *prune, const Datum *names)
{
	ScanKeyData keys[3];

	names_keys(keys, names);
	scan_start(&prune->dirty, keys);
	return scan_next(&prune->dirty, ForwardScanDirection);
}

/*
 * What may go of the item in latest's slot, from this version on.  False when
 * the chunk is full before its end.
 */
static bool
look_at_item(Prune *prune, Chunk *chunk, int32 from_version)
{
	TupleTableSlot *item = prune->latest.slot;
	TupleTableSlot *row = prune->history.slot;
	Tombstone  *tombstone = &chunk->tombstones[chunk->ntombstones];
	int32		in_latest = slot_version(item);
	int32		limit = version_limit(prune, chunk->last, in_latest);
	bool		deleted;		/* may the item go entirely? */
	bool		has_tombstone = false;

	slot_getsomeattrs(item, CFP_NCOLS);
	deleted = prune->args->has_older_than && is_tombstone(item) && is_old(prune, item) &&
		!is_dirty(prune, chunk->last);

	start_history(prune, chunk->last, deleted ? PG_INT32_MIN : from_version);
	while (scan_next(&prune->history, ForwardScanDirection))
	{
		int32		version = slot_version(row);
		bool		may_go;

		if (!deleted && version >= limit)
			break;
		slot_getsomeattrs(row, CFP_NCOLS);
		may_go = is_old(prune, row) && is_flushed(prune, row);
		if (version == in_latest)
		{
			has_tombstone = may_go && is_tombstone(row);
			tombstone->in_history = row->tts_tid;
		}
		else if (version >= limit || !may_go)
			deleted = false;
		else if (version >= from_version)
		{
			chunk->tids[chunk->records++] = row->tts_tid;
			if (chunk->records == CHUNK_RECORDS)
			{
				chunk->next_version = version + 1;
				return false;
			}
		}
	}

	if (deleted && has_tombstone)
	{
		memcpy(tombstone->names, chunk->last, sizeof(tombstone->names));
		tombstone->version = in_latest;
		tombstone->in_latest = item->tts_tid;
		chunk->ntombstones++;
	}
	return true;
}

/* What may go of the next items; with the chunk's snapshot. */
static Chunk *
find_chunk(Prune *prune)
{
	Chunk	   *chunk = palloc0(sizeof(Chunk));
	ScanStart	start;
	bool		more = true;

	chunk->tids = palloc(sizeof(ItemPointerData) * CHUNK_RECORDS);
	chunk->tombstones = palloc(sizeof(Tombstone) * CHUNK_ITEMS);
	scan_open(&prune->latest, prune->tables.latest, prune->tables.latest_pkey, GetActiveSnapshot(), 1);
	scan_open(&prune->history, prune->tables.history, prune->tables.history_pkey, GetActiveSnapshot(), 4);
	scan_open(&prune->dirty, prune->tables.dirty, prune->tables.dirty_pkey, GetActiveSnapshot(), 3);
	scan_start_at(&prune->latest, &start, prune->from);
	while (more && !chunk->full && chunk->items < CHUNK_ITEMS &&
		   scan_next(&prune->latest, ForwardScanDirection))
	{
		Datum		names[3];
		bool		first;

		if (!in_scope(prune, &more))
			continue;
		copy_names(names, prune->latest.slot);
		first = same_names(names, prune->from, CFP_NAME_COLUMNS);
		if (first && prune->from_done)
			continue;
		memcpy(chunk->last, names, sizeof(names));
		chunk->items++;
		chunk->full = !look_at_item(prune, chunk, first ? prune->from_version : PG_INT32_MIN);
	}
	scan_close(&prune->dirty);
	scan_close(&prune->history);
	scan_close(&prune->latest);
	return chunk;
}

static CfpItemName
tombstone_name(const Tombstone *tombstone)
{
	text	   *key = DatumGetTextPP(tombstone->names[CFP_COL_KEY]);
	text	   *collection = DatumGetTextPP(tombstone->names[CFP_COL_COLLECTION]);
	text	   *item = DatumGetTextPP(tombstone->names[CFP_COL_ITEM]);
	CfpItemName name = {
		.in.key = VARDATA_ANY(key),
		.in.key_len = VARSIZE_ANY_EXHDR(key),
		.in.collection = VARDATA_ANY(collection),
		.in.collection_len = VARSIZE_ANY_EXHDR(collection),
		.item = VARDATA_ANY(item),
		.item_len = VARSIZE_ANY_EXHDR(item)
	};

	return name;
}

/*
 * What goes along with the chunk's tombstones: the chain of backups, what the
 * day files have, the versions, the cache.  The tombstones come in the order of
 * their names.
 */
static void
follow_tombstones(const Chunk *chunk)
{
	CfpTableWriter *writer;
	CfpFloors	floors = {0};

	/* Before the floors, as a reconciliation does it. */
	cfp_state_break_chain();

	writer = cfp_forget_begin();
	for (int i = 0; i < chunk->ntombstones; i++)
	{
		CfpItemName name = tombstone_name(&chunk->tombstones[i]);

		cfp_forget_pruned(writer, &name, chunk->tombstones[i].version);
	}
	cfp_forget_end(writer);

	/* Once a collection. */
	for (int i = 0; i < chunk->ntombstones; i++)
	{
		const Tombstone *tombstone = &chunk->tombstones[i];

		floors.new_items = Max(floors.new_items, cfp_floor_of(tombstone->version));
		if (i + 1 == chunk->ntombstones || !same_names(tombstone->names, tombstone[1].names, CFP_COL_ITEM))
		{
			CfpItemName name = tombstone_name(tombstone);

			cfp_floors_raise(DatumGetTextPP(tombstone->names[CFP_COL_KEY]),
							 DatumGetTextPP(tombstone->names[CFP_COL_COLLECTION]), &floors);
			cfp_pending_bypass(&name.in);
			floors.new_items = 0;
		}
	}
}

/* Each table as its owner. */
static void
remove_chunk(Prune *prune, const Chunk *chunk)
{
	CfpTableWriter *writer;

	if (chunk->records + chunk->ntombstones == 0)
		return;
	writer = cfp_writer_begin(prune->tables.history, 1 << CMD_DELETE);
	for (int i = 0; i < chunk->records; i++)
		cfp_writer_delete(writer, &chunk->tids[i]);
	for (int i = 0; i < chunk->ntombstones; i++)
		cfp_writer_delete(writer, &chunk->tombstones[i].in_history);
	cfp_writer_end(writer);

	if (chunk->ntombstones == 0)
		return;
	writer = cfp_writer_begin(prune->tables.latest, 1 << CMD_DELETE);
	for (int i = 0; i < chunk->ntombstones; i++)
		cfp_writer_delete(writer, &chunk->tombstones[i].in_latest);
	cfp_writer_end(writer);
	follow_tombstones(chunk);
}

/* One chunk; false when there is none left. */
static bool
prune_chunk(Prune *prune)
{
	Chunk	   *chunk;
	int			items;

	cfp_worker_begin(false, true);
	prune->tables = *cfp_tables();
	if (!cfp_state_read_seen("dirty", &prune->flush))
		prune->flush = (CfpSeen)
	{
		.xmin = FirstNormalTransactionId,.xmax = FirstNormalTransactionId
	};
	if (!cfp_state_read_seen("files", &prune->files))
		prune->files = prune->flush;
	chunk = find_chunk(prune);
	if (!prune->args->dry_run)
		remove_chunk(prune, chunk);

	items = chunk->items;
	prune->records += chunk->records + chunk->ntombstones;
	if (items > 0)
	{
		keep_names(prune->from, chunk->last, prune->context);
		cfp_waitpoint("prune_commit", true);
	}
	prune->from_done = !chunk->full;
	prune->from_version = chunk->next_version;
	if (!chunk->full)
		prune->items += items;
	cfp_worker_commit();
	return items > 0;
}

int64
cfp_prune_history_job(const CfpJobArgs *args)
{
	Prune		prune;
	int64		total;

	Assert(!IsTransactionState());
	cfp_worker_begin(false, false);
	cfp_refuse_references();
	cfp_worker_commit();

	prune_begin(&prune, args);
	total = args->key_len < 0 && args->collection_len < 0 ? latest_rows() : 0;
	if (!args->dry_run)
		note_pruned(&prune);

	do
	{
		CHECK_FOR_INTERRUPTS();
		cfp_job_progress(prune.items, Max(prune.items, total));
		cfp_waitpoint("prune_chunk", true);
		pgstat_report_stat(false);	/* autovacuum should hear of it soon */
	} while (prune_chunk(&prune));
	return prune.records;
}
