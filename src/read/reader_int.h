/*-------------------------------------------------------------------------
 *
 * reader_int.h
 *		Opening a collection for a read, for the files of the wing.
 *
 * See the head of reader.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_READER_INT_H
#define CFP_READER_INT_H

#include "cache/chain.h"
#include "shared/database.h"
#include "tables/tables.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "utils/snapmgr.h"

/* What a read is done with. */
typedef struct CfpReader
{
	CfpDatabase *db;
	Oid			history;
	Snapshot	snapshot;
	CfpView		view;
	bool		cached;			/* the cache may be asked at all */
	bool		counted;		/* as a hit or a miss */
	bool		fill;			/* load what is not in the cache */
} CfpReader;

/*
 * Begin a read with the active snapshot: may the cache be asked?  Where not, the
 * reason is counted; the get itself is the caller's to count.
 */
static inline void
cfp_reader_init(CfpReader *reader)
{
	const CfpTables *tables = cfp_tables();

	Assert(ActiveSnapshotSet());
	reader->db = cfp_my_database();
	reader->history = tables->history;
	reader->snapshot = GetActiveSnapshot();
	reader->cached = false;
	reader->counted = false;
	reader->fill = true;

	if (unlikely(IsolationIsSerializable()))
		cfp_counts.table_reads[CFP_READ_SERIALIZABLE]++;
	else if (unlikely(RecoveryInProgress()))
		cfp_counts.table_reads[CFP_READ_RECOVERY]++;
	else if (unlikely(!tables->cacheable || cfp_hand_changed ||
					  pg_atomic_read_u32(&reader->db->hand_changes) != 0))
		cfp_counts.table_reads[CFP_READ_HAND_CHANGE]++;
	else if (unlikely(!cfp_view_make(&reader->view, reader->snapshot)))
		cfp_counts.table_reads[CFP_READ_OTHER]++;
	else
		reader->cached = true;
}

/*
 * The collection, loaded and locked in the given mode, if the reader's
 * snapshot may use it; else NULL (the tables must be read).  Counts a hit or
 * a miss, and the reason for NULL.
 */
extern CfpCollection *cfp_reader_open(CfpReader *reader, const CfpCollectionName *name,
									  uint64 hash, LWLockMode mode);

#endif							/* CFP_READER_INT_H */
