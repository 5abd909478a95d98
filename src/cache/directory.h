/*-------------------------------------------------------------------------
 *
 * directory.h
 *		Finding the descriptor of a collection.
 *
 * See the head of directory.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_DIRECTORY_H
#define CFP_DIRECTORY_H

#include "cache/cache.h"
#include "cache/hash.h"

/*
 * The descriptor of a collection, remembered per backend.  With create one is
 * made (EMPTY) when there is none; NULL when there is none, or no memory even
 * after evicting.  No lock is held on return: the caller locks the descriptor
 * and compares the generation.  The caller may hold no lock of the cache.
 */
extern CfpCollection *cfp_directory_find(const CfpCollectionName *name, uint64 hash,
										 Oid history, bool create,
										 uint64 *generation);

/*
 * The descriptor of a collection as cfp_directory_find() finds or makes it, locked
 * in the given mode, and standing for this collection.  NULL also when others
 * have evicted it each time that it was found.  The caller may hold no lock of
 * the cache.
 */
extern CfpCollection *cfp_directory_lock(const CfpCollectionName *name, uint64 hash,
										 Oid history, bool create, LWLockMode mode);

/*
 * Count a hit of the collection that was found last for the hash.  An atomic
 * addition for each would cost as much as the look-up, so the descriptors hear of
 * them at the end of the transaction.  Cannot throw.
 */
extern void cfp_count_hit(uint64 hash);
extern void cfp_hits_flush(void);

/* Forget a backend's remembered address of the collection. */
extern void cfp_directory_forget(uint64 hash);

#endif							/* CFP_DIRECTORY_H */
