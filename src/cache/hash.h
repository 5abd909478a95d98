/*-------------------------------------------------------------------------
 *
 * hash.h
 *		Hashes of names.
 *
 * See the head of hash.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_HASH_H
#define CFP_HASH_H

#include "base/names.h"

/* The secret words of one hash function. */
typedef struct CfpHashKey
{
	uint64		start;
	uint64		word;
	uint64		end;
	uint64		len;
} CfpHashKey;

typedef struct CfpHashKeys
{
	CfpHashKey	collection;
	CfpHashKey	item;
} CfpHashKeys;

/* Draw keys anew, when shared memory is made. */
extern void cfp_hash_make_keys(CfpHashKeys *keys);

/* Before the first hash of a process, or of the postmaster that it is forked from. */
extern void cfp_hash_use_keys(const CfpHashKeys *keys);

/*
 * Hashes, under keys that are drawn anew at each server start: nobody can
 * choose names that collide.
 */
extern uint64 cfp_collection_hash(const CfpCollectionName *name);
extern uint32 cfp_item_hash(const char *name, int len);

#endif							/* CFP_HASH_H */
