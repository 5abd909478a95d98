/*-------------------------------------------------------------------------
 *
 * reader.c
 *		Opening a collection for a read.
 *
 * Purpose of the wing: every reading function comes through here.  A read is
 * answered by the cache when the caller's snapshot may use it, else by the tables;
 * the transaction's own pending records go on top of either, the higher version
 * winning.  Why a read took the tables is counted (cfp_stat).
 *
 * The wing's files, lowest first: reader.c opens a collection, item.c reads one
 * item, walk.c goes through the rows of a collection, for collection.c, which gives
 * them out, and text.c, which makes JSON text of them; scope.c goes from collection
 * to collection.
 *
 * Called for each item read, and for each batch of a collection.  First
 * cfp_reader_init(), then, while `cached`, cfp_reader_open() as often as wanted:
 * a hit or a miss is counted once a reader.
 *
 * Locks: at most one collection's, in the cache, and never over a wait, I/O,
 * or a callback of the caller's.  It is held on return from cfp_reader_open().
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "cache/directory.h"
#include "cache/load.h"
#include "read/reader_int.h"

/* So that it is not evicted before others; to 10 ms, as many do it at a time. */
static inline void
note_use(CfpCollection *col)
{
	TimestampTz now = GetCurrentStatementStartTimestamp();

	if (pg_atomic_read_u64(&col->last_use) + 10000 < (uint64) now)
		pg_atomic_write_u64(&col->last_use, (uint64) now);
}

CfpCollection *
cfp_reader_open(CfpReader *reader, const CfpCollectionName *name, uint64 hash, LWLockMode mode)
{
	CfpTableRead reason = reader->fill ? CFP_READ_BYPASSED : CFP_READ_OTHER;
	bool		loaded = false;

	Assert(reader->cached);
	for (int tries = 0; tries < CFP_LOAD_TRIES; tries++)
	{
		CfpCollection *col = cfp_directory_lock(name, hash, reader->history, reader->fill, mode);
		bool		worth;

		if (unlikely(col == NULL))
			break;
		if (likely(col->state == CFP_COLLECTION_LOADED &&
				   col->db_generation == pg_atomic_read_u64(&reader->db->generation)))
		{
			if (likely(cfp_view_may_use(&reader->view, col)))
			{
				/* The later batches of a collection count no more. */
				if (loaded)
					cfp_counts.misses++;
				else if (!reader->counted)
				{
					cfp_counts.hits++;
					cfp_count_hit(hash);
				}
				reader->counted = true;
				note_use(col);
				return col;
			}
			LWLockRelease(&col->lock);
			reason = CFP_READ_OLD_SNAPSHOT;
			break;
		}
		worth = reader->fill && cfp_collection_worth_loading(col, reader->db);

		/* That it does not fit is remembered as long as it is asked for. */
		if (!worth && reader->fill)
			note_use(col);
		LWLockRelease(&col->lock);
		if (!worth || !cfp_collection_load(name, hash, false))
			break;
		loaded = true;
	}
	if (reader->fill)
		cfp_counts.misses++;
	if (reader->fill || !reader->counted)
		cfp_counts.table_reads[reason]++;
	reader->cached = false;
	return NULL;
}
