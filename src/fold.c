/*-------------------------------------------------------------------------
 *
 * fold.c
 *		Fold: storage_dirty into storage_latest (DESIGN.md section 2.3).
 *
 * Called by the worker only, after a flush.  Goes through storage_dirty once,
 * in the order of its primary key, a chunk a transaction.  For each item of a
 * chunk one descent of the history's primary key finds the newest record,
 * which replaces that of storage_latest unless that is newer (at the same
 * version it may have been changed by hand), and the item leaves
 * storage_dirty.  An item that has no record any more just leaves.
 *
 * All of a chunk happens in one statement, with one snapshot.  Every record
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
#include "cfp.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/builtins.h"

#include "latest.h"
#include "settings.h"
#include "worker.h"

/* Items of one chunk. */
#define CHUNK	1000

static CfpStatement fold_chunk = {
	.sql = "WITH chunk AS MATERIALIZED ("
	"SELECT key, collection_name, item_name FROM @schema@.storage_dirty"
	" WHERE (key, collection_name, item_name) >= ($1, $2, $3)"
	" ORDER BY key, collection_name, item_name LIMIT " CppAsString2(CHUNK)
	"), folded AS ("
	CFP_LATEST_INSERT CFP_LATEST_CONFLICT
	"), gone AS ("
	"DELETE FROM @schema@.storage_dirty d USING chunk c"
	" WHERE d.key = c.key AND d.collection_name = c.collection_name AND d.item_name = c.item_name"
	") SELECT key, collection_name, item_name, count(*) OVER () FROM chunk"
	" ORDER BY key DESC, collection_name DESC, item_name DESC LIMIT 1",
	.nargs = 3,
	.argtypes = {TEXTOID, TEXTOID, TEXTOID},
};

/*
 * Fold the chunk that begins at the item `from`, and set it to the chunk's
 * last item.  That one has gone, unless a flush has put it back: then it is
 * folded again.  Returns the number of items.
 */
static int64
fold_one_chunk(Datum *from, MemoryContext context)
{
	int64		items = 0;

	cfp_worker_begin(false, true);
	if (cfp_statement_run(&fold_chunk, from, NULL) > 0)
	{
		bool		isnull;

		cfp_statement_take_names(from, context);
		items = DatumGetInt64(cfp_statement_value(4, &isnull));
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

	for (int i = 0; i < 3; i++)
		from[i] = PointerGetDatum(cstring_to_text(""));

	cfp_flush_forget();
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
		cfp_worker_progress(done, done + left);
		pgstat_report_stat(false);	/* autovacuum should hear of it soon */

		if (pg_atomic_read_u64(&db->committed) - pg_atomic_read_u64(&db->flushed) >=
			(uint64) cfp_batch_size)
		{
			cfp_flush_run();
			cfp_flush_forget();
		}
	} while (items >= CHUNK);

	return done;
}
