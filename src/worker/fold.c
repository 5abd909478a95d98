/*-------------------------------------------------------------------------
 *
 * fold.c
 *		Fold: storage_dirty into storage_latest.
 *
 * Called by the worker only, after a flush.  Goes through storage_dirty once,
 * in the order of its primary key, a chunk a transaction.  For each item of a
 * chunk one descent of the history's primary key finds the newest record,
 * which replaces that of storage_latest unless that is newer (at the same
 * version it may have been changed by hand), and the item leaves
 * storage_dirty.  An item that has no record any more just leaves.
 *
 * All of a chunk happens in one transaction, with one snapshot.  Every record
 * that a flush has seen is in that snapshot; one committed after it will be
 * found new by a later flush, which puts its item back: the flush must
 * therefore forget which items are in storage_dirty.  So a crash, or an
 * error, at any point loses nothing and repeats nothing.
 *
 * The scan of storage_dirty starts where the last chunk ended, not at the
 * beginning, where the rows deleted so far may still have to be passed.
 *
 * A long fold stops between chunks to flush when a batch waits, so that what
 * is stored meanwhile does not pile up.
 *
 * Locks: the tables, as any reader and writer of rows.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "base/settings.h"
#include "shared/database.h"
#include "tables/latest.h"
#include "tables/scan.h"
#include "tables/statement.h"
#include "tables/table_write.h"
#include "tables/tables.h"
#include "worker/flush.h"
#include "worker/fold.h"
#include "worker/reconcile.h"

/* Items of one chunk. */
#define CHUNK	1000

/* Some items of storage_dirty. */
typedef struct Chunk
{
	int			items;
	Datum		names[CHUNK][3];
	ItemPointerData tids[CHUNK];
} Chunk;

static Chunk *
read_chunk(const CfpTables *tables, const Datum *from)
{
	Chunk	   *chunk = palloc(sizeof(Chunk));
	ScanStart	start;
	TableScan	dirty;

	chunk->items = 0;
	scan_open(&dirty, tables->dirty, tables->dirty_pkey, GetActiveSnapshot(), 1);
	scan_start_at(&dirty, &start, from);
	while (chunk->items < CHUNK && scan_next(&dirty, ForwardScanDirection))
	{
		copy_names(chunk->names[chunk->items], dirty.slot);
		chunk->tids[chunk->items++] = dirty.slot->tts_tid;
	}
	scan_close(&dirty);
	return chunk;
}

/*
 * Fold the chunk that begins at the item `from`, and set it to the chunk's
 * last item.  That one has gone, unless a flush has put it back: then it is
 * folded again.  Returns the number of items.
 */
static int64
fold_one_chunk(Datum *from, MemoryContext context)
{
	CfpTables	tables;
	Chunk	   *chunk;
	int64		items;

	Assert(!IsTransactionState());
	cfp_worker_begin(false, true);
	tables = *cfp_tables();
	chunk = read_chunk(&tables, from);
	items = chunk->items;
	if (items > 0)
	{
		CfpLatestWriter latest;
		CfpTableWriter *dirty;

		cfp_latest_begin(&latest, &tables);
		for (int i = 0; i < items; i++)
			(void) cfp_latest_bring(&latest, chunk->names[i], false);
		cfp_latest_end(&latest);

		dirty = cfp_writer_begin(tables.dirty, 1 << CMD_DELETE);
		for (int i = 0; i < items; i++)
			cfp_writer_delete(dirty, &chunk->tids[i]);
		cfp_writer_end(dirty);
		keep_names(from, chunk->names[items - 1], context);
	}
	cfp_worker_commit();
	return items;
}

int64
cfp_fold_run(void)
{
	CfpDatabase *db = cfp_my_database();
	MemoryContext context = CurrentMemoryContext;
	Datum		from[3];
	int64		done = 0;
	int64		items;
	uint64		generation;
	bool		flushed = false;

	Assert(!IsTransactionState());
	for (int i = 0; i < 3; i++)
		from[i] = PointerGetDatum(cstring_to_text(""));

	cfp_reconcile();
	cfp_publish_state(CFP_WORKER_FOLDING);
	cfp_flush_forget();
	generation = pg_atomic_read_u64(&db->generation);
	do
	{
		int64		left;

		CHECK_FOR_INTERRUPTS();
		items = fold_one_chunk(from, context);
		done += items;

		LWLockAcquire(&db->lock, LW_EXCLUSIVE);
		if (db->dirty_items >= 0)
			db->dirty_items = Max(db->dirty_items - items, 0);
		left = Max(db->dirty_items, 0);
		LWLockRelease(&db->lock);
		cfp_publish_progress(done, done + left);
		pgstat_report_stat(false);	/* autovacuum should hear of it soon */

		if (pg_atomic_read_u64(&db->committed) - pg_atomic_read_u64(&db->flushed) >=
			(uint64) cfp_batch_size)
		{
			cfp_flush_batch();
			cfp_flush_forget();
			flushed = true;
		}
	} while (items >= CHUNK);
	if (!flushed)
		cfp_flush_all_folded(generation);

	LWLockAcquire(&db->lock, LW_EXCLUSIVE);
	db->last_fold = GetCurrentTimestamp();
	LWLockRelease(&db->lock);
	return done;
}

CfpPieceEnd
cfp_fold_piece(int64 *rows)
{
	*rows = cfp_fold_run();
	return CFP_PIECE_DONE;
}
