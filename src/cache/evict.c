/*-------------------------------------------------------------------------
 *
 * evict.c
 *		Making room in the cache.
 *
 * Purpose: collections that nobody has pinned leave the cache when others need
 * their memory, the least recently used first.
 *
 * Called by directory.c (memory for descriptors and names), by load.c and by
 * stores (memory for contents), when an allocation has failed.
 *
 * Fragmentation: a piece that is given back becomes one with what is free
 * beside it, but what is free may lie between collections that stay.  Where a
 * larger piece is wanted than is free, those next to a large free one are
 * evicted (cfp_make_room).  The arena's chunks take what there is; only the arrays,
 * and large records and texts, must be in one piece.
 *
 * Locks: none may be held by the caller.  Looking for what to evict is done
 * without locks; cfp_collection_drop() looks again under them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "cache/arena.h"
#include "cache/descriptor.h"
#include "cache/descriptor_int.h"
#include "cache/evict.h"
#include "shared/database.h"

/* How many descriptors to look at for the least recently used one. */
#define CFP_EVICTION_SAMPLE 1024

/* How many to evict at most for what lies at the end of the area. */
#define CFP_EVICT_LAST		16

/* How many to evict at most before the caller may look for interrupts. */
#define CFP_EVICT_AT_ONCE	4096

/* How many free pieces to look at for one to be made larger. */
#define CFP_PIECES_SEEN		64

bool
cfp_size_fits(uint64 bytes)
{
	return bytes <= cfp_area_size() / 4 * 3;
}

/*
 * Looking for what to evict is done without locks: what is read may be stale,
 * cfp_collection_drop looks again.
 */
static inline bool
may_evict(const CfpCollection *col, const CfpCollection *except)
{
	const volatile CfpCollection *look = col;
	CfpCollectionState state = look->state;

	return col != except && look->pins == 0 &&
		(state == CFP_COLLECTION_LOADED || state == CFP_COLLECTION_EMPTY);
}

/* The owner of a piece of the area, if it can be evicted. */
static CfpCollection *
evictable(CfpRef ref, const CfpCollection *except, uint64 *generation)
{
	CfpCollection *col = cfp_ptr(ref);

	if (ref == 0 || !may_evict(col, except))
		return NULL;
	*generation = ((volatile CfpCollection *) col)->generation;
	return col;
}

/* The least recently used of the next descriptors that could be evicted. */
static CfpCollection *
find_victim(const CfpCollection *except, uint64 *generation)
{
	CfpCollection *best = NULL;
	CfpCollection *col;
	CfpCollection *first;
	uint64		best_use = 0;
	int			seen = 0;

	*generation = 0;
	LWLockAcquire(&cfp_descriptors->free_lock, LW_SHARED);
	first = cfp_descriptors->hand ? cfp_descriptors->hand : cfp_descriptors->made;
	LWLockRelease(&cfp_descriptors->free_lock);

	col = first;
	while (col != NULL)
	{
		if (may_evict(col, except))
		{
			uint64		use = pg_atomic_read_u64(&col->last_use);

			if (best == NULL || use < best_use)
			{
				best = col;
				best_use = use;
				*generation = ((volatile CfpCollection *) col)->generation;
			}
			seen++;
		}
		col = col->next_made ? col->next_made : cfp_descriptors->made;
		if (col == first || seen >= CFP_EVICTION_SAMPLE)
			break;
	}
	LWLockAcquire(&cfp_descriptors->free_lock, LW_EXCLUSIVE);
	cfp_descriptors->hand = col;
	LWLockRelease(&cfp_descriptors->free_lock);
	return best;
}

bool
cfp_evict_one(void)
{
	uint64		generation;
	CfpCollection *victim = find_victim(NULL, &generation);

	if (victim != NULL && cfp_collection_drop(victim, generation))
		cfp_counts.evictions++;
	return victim != NULL;
}

bool
cfp_make_descriptors(void)
{
	Size		bytes = DESCRIPTORS_BYTES;
	void	   *memory;
	bool		enough;

	LWLockAcquire(&cfp_descriptors->free_lock, LW_SHARED);
	enough = cfp_descriptors->nmade + bytes / sizeof(CfpCollection) >
		cfp_descriptors->max_made;
	LWLockRelease(&cfp_descriptors->free_lock);
	if (enough)
		return false;
	for (int tries = 0; (memory = cfp_area_alloc_end(bytes)) == NULL; tries++)
	{
		uint64		generation;
		CfpCollection *last = evictable(cfp_area_last(), NULL, &generation);

		if (last == NULL || tries == CFP_EVICT_LAST)
			return false;
		if (cfp_collection_drop(last, generation))
			cfp_counts.evictions++;
	}
	cfp_descriptors_add(memory, bytes);
	return true;
}

/*
 * One that lies beside a large free piece, which is larger when it is gone.  Of
 * the two on either side, the one used less recently.
 */
static CfpCollection *
find_beside(const CfpCollection *except, uint64 *generation)
{
	CfpRef		owners[2 * CFP_PIECES_SEEN];
	int			n = cfp_area_beside(owners, lengthof(owners));

	for (int i = 0; i < n; i += 2)
	{
		uint64		generations[2];
		CfpCollection *before = evictable(owners[i], except, &generations[0]);
		CfpCollection *behind = evictable(owners[i + 1], except, &generations[1]);

		if (behind != NULL &&
			(before == NULL ||
			 pg_atomic_read_u64(&behind->last_use) < pg_atomic_read_u64(&before->last_use)))
		{
			*generation = generations[1];
			return behind;
		}
		if (before != NULL)
		{
			*generation = generations[0];
			return before;
		}
	}
	return NULL;
}

bool
cfp_make_room(Size piece, Size bytes, const CfpCollection *except, uint64 *limit)
{
	uint64		evicted = 0;
	uint64		enough = bytes + 4 * (uint64) piece + cfp_area_size() / 2;

	Assert(except == NULL || !LWLockHeldByMe(unconstify(LWLock *, &except->lock)));
	for (int n = 0; n < CFP_EVICT_AT_ONCE; n++)
	{
		bool		fits = cfp_area_fits(piece);
		bool		little = cfp_area_size() - cfp_area_used() < bytes;
		CfpCollection *victim = NULL;
		uint64		generation;
		uint64		size;

		if ((fits && !little) || evicted > enough)
			return fits;
		if (!fits && !little)
			victim = find_beside(except, &generation);
		if (victim == NULL)
			victim = find_victim(except, &generation);
		if (victim == NULL)
			return fits;

		size = ((volatile CfpCollection *) victim)->bytes;
		if (limit != NULL && size > *limit)
			return fits;
		evicted += size;
		if (cfp_collection_drop(victim, generation))
		{
			cfp_counts.evictions++;
			if (limit != NULL)
				*limit -= size;
		}
	}
	return cfp_area_fits(piece);
}

bool
cfp_make_room_for(CfpCollection *col, uint64 *limit)
{
	Size		next = Max(cfp_arena_step(col), col->missing);
	bool		again;

	if (cfp_make_room(col->missing, next + Min(next + 16 * 1024, cfp_area_size() / 32),
					  col, limit))
		return true;
	LWLockAcquire(&col->lock, LW_EXCLUSIVE);
	again = !col->small_chunks;
	col->small_chunks = true;
	LWLockRelease(&col->lock);
	return again;
}

bool
cfp_could_have(uint64 bytes)
{
	uint64		could = cfp_area_size() - cfp_area_used();

	for (CfpCollection *col = cfp_descriptors_made(); col != NULL && could < bytes;
		 col = col->next_made)
	{
		if (may_evict(col, NULL))
			could += ((volatile CfpCollection *) col)->bytes;
	}
	return could >= bytes;
}
