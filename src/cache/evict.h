/*-------------------------------------------------------------------------
 *
 * evict.h
 *		Making room in the cache.
 *
 * See the head of evict.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_EVICT_H
#define CFP_EVICT_H

#include "cache/cache.h"

/* Fits a collection of that size beside others? */
extern bool cfp_size_fits(uint64 bytes);

/* Is so much free, or would be if all that can be evicted were? */
extern bool cfp_could_have(uint64 bytes);

/*
 * Evict others until a piece of `piece` bytes is free, and about `bytes` in
 * all; the least recently used first, then what lies beside a large free
 * piece.  With `limit` no more than so many bytes, which it is lowered by.
 * False when there is no such piece then.  Another may take it before the
 * caller does, who therefore counts his tries.  Takes a bounded number of
 * steps.  Caller holds no lock of the cache.  Cannot throw.
 */
extern bool cfp_make_room(Size piece, Size bytes, const CfpCollection *except,
						  uint64 *limit);

/*
 * For the collection itself, when an allocation has failed: a piece as large
 * as that wanted, and about as much as it will take next beside.
 */
extern bool cfp_make_room_for(CfpCollection *col, uint64 *limit);

/* Evict the least recently used collection; false when there is none. */
extern bool cfp_evict_one(void);

/*
 * Make descriptors; false when there are enough, or they find no place at the
 * end of the area, also when what can be evicted there is.  Caller holds no
 * lock of the cache.
 */
extern bool cfp_make_descriptors(void);

#endif							/* CFP_EVICT_H */
