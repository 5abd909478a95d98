/*-------------------------------------------------------------------------
 *
 * descriptor.h
 *		Descriptors of collections: whom they stand for, how they go.
 *
 * See the head of descriptor.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_DESCRIPTOR_H
#define CFP_DESCRIPTOR_H

#include "cache/cache.h"

#include "nodes/pg_list.h"

/* Does the locked descriptor still stand for this collection? */
static inline bool
cfp_collection_is(const CfpCollection *col, uint64 generation,
				  const CfpCollectionName *name)
{
	return col->generation == generation &&
		col->key_len == name->key_len &&
		col->collection_len == name->collection_len &&
		memcmp(col->names, name->key, name->key_len) == 0 &&
		memcmp(col->names + name->key_len, name->collection,
			   name->collection_len) == 0;
}

/*
 * Give back everything an unpinned collection holds but its names; the state
 * becomes EMPTY and the generation rises.  Caller holds its lock exclusively.
 */
extern void cfp_collection_clear(CfpCollection *col);

/*
 * Drop a collection from memory and free its descriptor, unless it is pinned,
 * being loaded, or no longer of that generation.  Caller holds no lock of the
 * cache.  Cannot throw, allocates nothing.
 */
extern bool cfp_collection_drop(CfpCollection *col, uint64 generation);

/* Drop all collections of a database that is no more. */
extern void cfp_cache_forget_database(Oid dboid);

/* For cfp_stat and cfp_stat_collections. */
typedef struct CfpCacheUse
{
	uint64		size;			/* cfp.cache_size in bytes */
	uint64		used;			/* by all databases */
	uint64		largest_free;	/* in one piece */
	uint64		collections;	/* cached, of one database */
	uint64		bytes;			/* of one database */
} CfpCacheUse;

typedef struct CfpCollectionUse
{
	char	   *key;			/* palloc'd, NUL-terminated */
	char	   *collection;
	const char *state;
	int64		items;
	int64		bytes;
	int64		hits;
	TimestampTz last_use;
} CfpCollectionUse;

extern void cfp_cache_use(Oid dboid, CfpCacheUse *use);

/* All cached collections of a database: List of CfpCollectionUse *. */
extern List *cfp_cache_list(Oid dboid);

extern Size cfp_cache_shmem_size(void);
extern void cfp_cache_shmem_init(void);

#endif							/* CFP_DESCRIPTOR_H */
