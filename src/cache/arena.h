/*-------------------------------------------------------------------------
 *
 * arena.h
 *		The memory of one collection.
 *
 * See the head of arena.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_ARENA_H
#define CFP_ARENA_H

#include "cache/cache.h"

/*
 * Memory of a collection; the caller holds its lock exclusively, or it is
 * LOADING by the caller.  NULL when the area is full (no error, no eviction).
 * `exact` for what will hardly ever be freed alone; what is not may be freed
 * with the size that cfp_arena_size() says.
 */
extern void *cfp_arena_alloc(CfpCollection *col, Size size, bool exact);
extern void cfp_arena_free(CfpCollection *col, void *p, Size size);
extern Size cfp_arena_size(Size size);

/* Has the arena more on its free lists than it is worth keeping? */
extern bool cfp_arena_wasteful(const CfpCollection *col);

/* Give all chunks back; who may allocate may do that. */
extern void cfp_arena_clear(CfpCollection *col);

/* Arenas grow by about an eighth, so that little is left unused at the end. */
extern Size cfp_arena_step(const CfpCollection *col);

/*
 * A piece of the area for one of the collection's arrays; NULL when there is
 * none.  The lock is held as for cfp_arena_alloc().
 */
extern void *cfp_piece_alloc(CfpCollection *col, Size size);
extern void cfp_piece_free(CfpCollection *col, void *p);

#endif							/* CFP_ARENA_H */
