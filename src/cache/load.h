/*-------------------------------------------------------------------------
 *
 * load.h
 *		Collections come into the cache, stay there while pinned, and leave.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_LOAD_H
#define CFP_LOAD_H

#include "base/names.h"

#include "access/xact.h"

#include "cache/cache.h"
#include "cache/evict.h"
#include "shared/database.h"

/* How often to begin anew when others evict what was just loaded. */
#define CFP_LOAD_TRIES			3

/*
 * Is the collection, not LOADED, worth a load?  One that did not fit is not
 * before it has become smaller (cfp_collection_resized), or the tables were
 * changed by hand; what else takes its place is looked at now and then.  The
 * caller holds its lock in any mode.
 */
static inline bool
cfp_collection_worth_loading(const CfpCollection *col, const CfpDatabase *db)
{
	Assert(cfp_collection_is_steady(col));
	return col->state != CFP_COLLECTION_BYPASSED &&
		(col->needs == 0 ||
		 col->db_generation != pg_atomic_read_u64(&unconstify(CfpDatabase *, db)->generation) ||
		 (cfp_size_fits(col->needs) &&
		  col->not_before <= GetCurrentStatementStartTimestamp()));
}

/*
 * Make the collection LOADED; false when it cannot be, or not now.  True does
 * not say that it still is.  With `anew` what is known of its size does not
 * count.  The caller holds no lock of the cache.
 */
extern bool cfp_collection_load(const CfpCollectionName *name, uint64 hash, bool anew);

/* cfp_evict: drop from memory; false when not cached or pinned by a store. */
extern bool cfp_collection_evict(const CfpCollectionName *name);

/*
 * For storing (claim.c, commit.c).  All wait at most for a load, unless said so.
 *
 * Pin the collection for the writer, loading it first; NULL when the store
 * must go through the tables.  Pinned, the collection stays in memory and its
 * items' last_version is true until cfp_collection_unpin.  May throw.
 */
extern CfpCollection *cfp_collection_pin(const CfpCollectionName *name, uint64 hash,
										 FullTransactionId writer);

/*
 * Holding its lock exclusively; cannot throw, allocates nothing.  True when the
 * collection, bypassed or mostly empty, is to be dropped by cfp_collection_drop.
 */
extern bool cfp_collection_unpin(CfpCollection *col, FullTransactionId writer);

/*
 * Pin the collection for a transaction that removes rows of it from the
 * tables behind the cache: until it is unpinned readers take the tables, and
 * nobody pins or loads it.  Waits for a load.  NULL when memory is short.
 */
extern CfpCollection *cfp_collection_pin_bypassed(const CfpCollectionName *name,
												  uint64 hash, FullTransactionId writer);

/* From now on readers take the tables, and no new pin is admitted. */
extern void cfp_collection_bypass(CfpCollection *col);

/*
 * Begin table mode: returns when no pin but the writer's own remains, with a
 * lock held to the end of the transaction that keeps out loads and other
 * writers in table mode.  Waits for transactions; throws 40P01.  Without `wait`
 * it waits for none that goes on: false then, and nothing has changed.
 */
extern bool cfp_collection_table_mode(const CfpCollectionName *name, uint64 hash,
									  FullTransactionId writer, bool wait);

/*
 * A store in table mode has made the records of the collection so many bytes
 * larger or smaller: it may fit into the cache now, or no more.  Cannot throw
 * once the tables are known.
 */
extern void cfp_collection_resized(const CfpCollectionName *name, uint64 hash, int64 by);

#endif							/* CFP_LOAD_H */
