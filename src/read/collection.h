/*-------------------------------------------------------------------------
 *
 * collection.h
 *		Reading the rows of a collection as the caller's snapshot sees them.
 *
 * See the head of collection.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_COLLECTION_H
#define CFP_COLLECTION_H

#include "base/names.h"
#include "read/row.h"

#include "nodes/pg_list.h"

typedef bool (*CfpRowCallback) (const CfpRow *row, void *arg);

/*
 * All rows of a collection, in byte order of item name.  What a row points to
 * lives until the callback returns, which returns false to stop.  The
 * callback may throw, and no lock is held; it runs in the caller's memory
 * context, so what it allocates is its own to keep or to free.
 *
 * Backward it reads what the cache has; false, maybe in the midst of it, when the
 * tables must be read, which have but one direction.
 */
extern bool cfp_read_collection(const CfpCollectionName *name,
								const CfpReadOptions *options,
								CfpRowCallback callback, void *arg);

/* How many rows that is. */
extern int64 cfp_count_collection(const CfpCollectionName *name, const CfpReadOptions *options);

/* Names of the key's collections, own pending ones included: List of text*. */
extern List *cfp_read_collections(const char *key, int key_len);

/*
 * cfp_warm: load now, also when it is known not to have fitted; returns the
 * number of items, -1 when it cannot be cached.
 */
extern int64 cfp_collection_warm(const CfpCollectionName *name);

/* How many items the cache has of the collection; -1: it is not there.  Counts as no read. */
extern int64 cfp_collection_cached_items(const CfpCollectionName *name);

#endif							/* CFP_COLLECTION_H */
