/*-------------------------------------------------------------------------
 *
 * collection.c
 *		Reading the rows of a collection as the caller's snapshot sees them.
 *
 * Called by the SQL functions that return rows of a collection, or the names of
 * collections, or have one loaded.
 *
 * Locks: none while a row is given out.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "cache/directory.h"
#include "cache/load.h"
#include "read/collection.h"
#include "read/reader_int.h"
#include "read/walk_int.h"
#include "store/own.h"
#include "tables/list_collections.h"
#include "tables/read_collection.h"
#include "tables/tables.h"

#include "utils/builtins.h"
#include "utils/snapmgr.h"

/* ---------- rows for a callback ---------- */

typedef struct CallbackSink
{
	CfpRowSink	sink;
	CfpRowCallback callback;
	void	   *arg;
	MemoryContext caller_cxt;
	int64		left;			/* rows still wanted; 0: no limit */
} CallbackSink;

static bool
take_row(CfpRowSink *sink, const CfpRow *row, CfpRowText json)
{
	CallbackSink *into = (CallbackSink *) sink;
	MemoryContext old = MemoryContextSwitchTo(into->caller_cxt);
	bool		more = into->callback(row, into->arg);

	MemoryContextSwitchTo(old);
	return more && (into->left == 0 || --into->left > 0);
}

bool
cfp_read_collection(const CfpCollectionName *name, const CfpReadOptions *options,
					CfpRowCallback callback, void *arg)
{
	CallbackSink into = {
		.sink = {.take = take_row,.again = options->again},
		.callback = callback,
		.arg = arg,
		.caller_cxt = CurrentMemoryContext,
		.left = Max(options->max_items, 0)
	};

	return cfp_walk_collection(name, options, &into.sink);
}

/* ---------- only counted ---------- */

static bool
count_row(CfpRowSink *sink, const CfpRow *row, CfpRowText json)
{
	sink->counted++;
	return true;
}

int64
cfp_count_collection(const CfpCollectionName *name, const CfpReadOptions *options)
{
	CfpRowSink	sink = {.take = count_row,.again = options->again,.counts = true};

	Assert(!options->backward && !options->include_deleted && options->max_items == 0);
	(void) cfp_walk_collection(name, options, &sink);
	return sink.counted;
}

/* ---------- the collections of a key ---------- */

List *
cfp_read_collections(const char *key, int key_len)
{
	List	   *stored = cfp_table_collections(GetActiveSnapshot(), key, key_len);
	List	   *names = NIL;
	CfpPendingRow *own;
	int			nown = 0;
	int			nstored = list_length(stored);
	text	  **all;
	int			n = 0;
	ListCell   *lc;

	if (!cfp_pending_any)
		return stored;
	own = cfp_pending_all(key, key_len, CFP_UP_TO_NOW, &nown);
	all = palloc((nstored + nown) * sizeof(text *));
	foreach(lc, stored)
		all[n++] = lfirst(lc);
	for (int i = 0; i < nown; i++)
		all[n++] = cstring_to_text_with_len(own[i].name.in.collection,
											own[i].name.in.collection_len);
	qsort(all, n, sizeof(text *), cfp_compare_texts);
	for (int i = 0; i < n; i++)
	{
		if (i == 0 || cfp_compare_texts(&all[i - 1], &all[i]) != 0)
			names = lappend(names, all[i]);
	}
	return names;
}

/* ---------- warming ---------- */

int64
cfp_collection_warm(const CfpCollectionName *name)
{
	uint64		hash = cfp_collection_hash(name);
	CfpReader	reader;
	int64		nitems = -1;

	cfp_reader_init(&reader);
	if (!reader.cached)
		return -1;
	for (int tries = 0; tries < CFP_LOAD_TRIES && nitems < 0; tries++)
	{
		CfpCollection *col = cfp_directory_lock(name, hash, reader.history, true, LW_SHARED);

		if (col == NULL)
			break;
		if (col->state == CFP_COLLECTION_LOADED &&
			col->db_generation == pg_atomic_read_u64(&reader.db->generation))
			nitems = col->nitems - col->nempty;
		LWLockRelease(&col->lock);
		if (nitems < 0 && !cfp_collection_load(name, hash, true))
			break;
	}
	return nitems;
}

int64
cfp_collection_cached_items(const CfpCollectionName *name)
{
	CfpCollection *col = cfp_directory_lock(name, cfp_collection_hash(name),
											cfp_tables()->history, false, LW_SHARED);
	int64		nitems = -1;

	if (col == NULL)
		return -1;
	if (col->state == CFP_COLLECTION_LOADED)
		nitems = col->nitems - col->nempty;
	LWLockRelease(&col->lock);
	return nitems;
}
