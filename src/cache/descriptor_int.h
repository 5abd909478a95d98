/*-------------------------------------------------------------------------
 *
 * descriptor_int.h
 *		The directory and the lists of descriptors, for the files of the cache.
 *
 * See the head of descriptor.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_DESCRIPTOR_INT_H
#define CFP_DESCRIPTOR_INT_H

#include "cache/cache.h"
#include "cache/hash.h"

#define CFP_PARTITIONS		32

/* Descriptors are made in pieces of so many bytes. */
#define DESCRIPTORS_BYTES	Max(8192, TYPEALIGN(64, cfp_area_size() / 1024))

typedef struct CfpDescriptors
{
	LWLockPadded partitions[CFP_PARTITIONS];
	LWLock		free_lock;		/* the five that follow */
	CfpCollection *free;
	CfpCollection *made;		/* newest first */
	uint32		nmade;
	uint32		max_made;		/* descriptors take an eighth at most */
	CfpCollection *hand;		/* where the last eviction stopped looking */
	int			tranche;
	CfpHashKeys keys;
	uint32		nbuckets;		/* a multiple of CFP_PARTITIONS */
	CfpCollection *buckets[FLEXIBLE_ARRAY_MEMBER];
} CfpDescriptors;

extern CfpDescriptors *cfp_descriptors;

static inline LWLock *
cfp_partition_lock(uint64 hash)
{
	return &cfp_descriptors->partitions[hash % CFP_PARTITIONS].lock;
}

/*
 * The bucket of a hash lies in the hash's partition.  The partition's lock is
 * held, exclusively by who changes the bucket.
 */
static inline CfpCollection **
cfp_bucket_of(uint64 hash)
{
	Assert(LWLockHeldByMe(cfp_partition_lock(hash)));
	return &cfp_descriptors->buckets[hash % cfp_descriptors->nbuckets];
}

/* What a collection takes before it holds anything. */
static inline Size
cfp_collection_own_bytes(const CfpCollection *col)
{
	return sizeof(CfpCollection) + cfp_area_bytes(col->names);
}

/* Make descriptors of memory that is never given back; they are free ones then. */
extern void cfp_descriptors_add(void *memory, Size bytes);

/* The newest of all descriptors ever made; the others by next_made. */
extern CfpCollection *cfp_descriptors_made(void);

/* Take a free descriptor, NULL when there is none, or give it back. */
extern CfpCollection *cfp_descriptor_pop(void);
extern void cfp_descriptor_push(CfpCollection *col);

#endif							/* CFP_DESCRIPTOR_INT_H */
