/*-------------------------------------------------------------------------
 *
 * cache.h
 *		The shared-memory cache of collections: what is in it.
 *
 * Purpose of the wing: keep whole collections in shared memory, each item with a
 * short chain of versions, so that a reader finds the version its snapshot
 * sees by one hash look-up and a few comparisons.
 *
 * The wing's files, lowest first: area.c has the memory, cfp.cache_size bytes
 * of main shared memory, so that no further segment is ever made or mapped, and
 * plain addresses are good in every process.  arena.c cuts it up for a
 * collection, items.c and chain.c keep its items and their versions there.
 * hash.c hashes names.  descriptor.c has the descriptors, evict.c makes room,
 * locks.c has the locks on items.  directory.c finds a collection, load.c brings
 * it in, pins it and takes it out.
 *
 * Everything of a collection but its descriptor lives in pieces of the area that
 * it owns, and goes with it: its names, its arrays, and the chunks that its
 * arena cuts items, nodes, records, texts, pins and locks from.
 *
 * Lifecycle of a descriptor:
 *
 *		FREE -> EMPTY (in the directory) -> LOADING -> LOADED -> FREE
 *											LOADED -> BYPASSED -> FREE
 *
 * Only the holder of the heavyweight load lock (load.c) makes LOADING
 * of EMPTY; while LOADING the contents are its own and need no lock.
 * BYPASSED means pinned, with claims of versions and locks that matter, but not
 * to be read; the last pin to go drops it.
 *
 * Locks, in the order they are taken:
 *		partition of the directory (an LWLock by hash of the names)
 *		the collection's LWLock
 *		the lock of the free list of descriptors
 *		the area's lock
 * No lock is held over I/O that is foreseen, a wait for a transaction or
 * anything that looks for interrupts.  A piece of memory is freed only under
 * the exclusive lock of the collection that owns it; readers copy under the
 * shared one.
 *
 * Failure: a backend that dies takes all of shared memory with it (the
 * postmaster reinitialises it); one that ends with FATAL runs the abort
 * callback.  Running out of memory is an answer (NULL), not an error.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_CACHE_H
#define CFP_CACHE_H

#include "base/names.h"
#include "cache/area.h"
#include "record/record.h"

#include "access/transam.h"
#include "utils/timestamp.h"

/* One version of one item in a chain, newest (highest version) first. */
typedef struct CfpNode
{
	CfpRef		next;
	CfpRef		record;			/* CfpRecord; 0 while only claimed */
	FullTransactionId writer;
	int32		version;
	CfpRef		json;			/* its JSON text, made lazily; 0 none */
	uint16		record_size;	/* in units of 8 bytes; 0: look into it */
	uint8		flags;
} CfpNode;

#define CFP_NODE_COMMITTED	0x01	/* hint: the writer is known committed */
#define CFP_NODE_LOADED		0x02	/* came with the load */
#define CFP_NODE_TOMBSTONE	0x04	/* its record is one, or will be */

typedef struct CfpItem
{
	CfpRef		newest;			/* chain of CfpNode */
	int32		last_version;	/* highest version ever given out */
	uint16		name_len;
	uint8		flags;
	char		name[FLEXIBLE_ARRAY_MEMBER];
} CfpItem;

#define CFP_ITEM_PRUNED		0x01	/* a version was cut that someone may want */
#define CFP_ITEM_LOCKED		0x02	/* has locks (locks.c) */

/* What a transaction has of an item that it locks; the weakest first. */
typedef enum CfpLockStrength
{
	CFP_LOCK_WANTED,			/* nothing yet: it waits */
	CFP_LOCK_SHARED,			/* others may have that, too; no one stores */
	CFP_LOCK_EXCLUSIVE
} CfpLockStrength;

/* A lock of one transaction on one item; the transaction has a pin as well. */
typedef struct CfpLock
{
	CfpRef		next;			/* in its bucket */
	CfpRef		item;
	FullTransactionId writer;
	TransactionId waits_for;	/* as long as it is WANTED */
	uint8		strength;		/* CfpLockStrength */
} CfpLock;

/* A transaction that has stored into the collection, or locked items of it. */
typedef struct CfpPin
{
	CfpRef		next;
	FullTransactionId writer;
} CfpPin;

typedef struct CfpSlot
{
	uint32		hash;
	CfpRef		item;			/* 0: empty */
} CfpSlot;

typedef enum CfpCollectionState
{
	CFP_COLLECTION_FREE,		/* on the free list */
	CFP_COLLECTION_EMPTY,		/* in the directory, nothing loaded */
	CFP_COLLECTION_LOADING,
	CFP_COLLECTION_LOADED,
	CFP_COLLECTION_BYPASSED		/* pinned, but readers take the tables */
} CfpCollectionState;

/*
 * Free lists of a collection's arena: sizes up to 128 bytes in steps of 8,
 * above that eight a doubling, up to CFP_LARGE.  What is larger gets a chunk
 * of its own.
 */
#define CFP_FREE_CLASSES	64
#define CFP_LARGE			8192

/* A piece of the area owned by one collection; the header of the piece. */
typedef struct CfpChunk
{
	CfpRef		next;
	CfpRef		prev;
} CfpChunk;

/* JSON text of a record that is no tombstone: `"item": {...}` */
typedef struct CfpText
{
	uint32		size;			/* allocated */
	uint32		len;
	uint64		etag;			/* the item's part of the collection's */
	char		data[FLEXIBLE_ARRAY_MEMBER];
} CfpText;

/*
 * A descriptor.  Its lines of memory are what a get and a store wait for: the
 * first has what each of them writes, the second what it only reads.
 */
typedef struct CfpCollection
{
	LWLock		lock;
	uint64		generation;		/* raised when the contents are dropped or the
								 * descriptor changes hands; never reset */
	pg_atomic_uint64 hits;
	pg_atomic_uint64 last_use;	/* TimestampTz */
	CfpCollectionState state;
	CfpRef		pins;			/* CfpPin */
	uint64		db_generation;	/* CfpDatabase.generation at the load */
	FullTransactionId load_xmax;	/* of the snapshot it was loaded with */

	char	   *names;			/* key bytes, then collection bytes */
	uint16		key_len;
	uint16		collection_len;
	uint32		nslots;
	CfpSlot    *slots;
	uint32		nitems;
	uint32		nempty;			/* items without any node */
	uint64		hash;			/* of the names */
	Oid			dboid;
	Oid			history;		/* oid of storage_history */
	struct CfpCollection *next; /* in the bucket or the free list; protected
								 * by the partition's or the free list's lock */
	struct CfpCollection *next_made;	/* all descriptors ever made; constant */

	CfpRef	   *order;			/* items by name: a sorted part, then a tail */
	uint32		order_size;
	uint32		order_sorted;	/* how many of nitems are sorted */
	TransactionId *load_xip;	/* of the load's snapshot; in the arena */
	uint32		load_nxip;
	int32		floor;			/* new items begin above it (floors.c) */

	/* arena */
	CfpRef		chunks;
	CfpRef		few_locks;		/* CfpLock; as long as there are no buckets */
	uint64		bytes;			/* of all that is its own, descriptor included */
	uint64		unused;			/* of them given back to the free lists */
	uint64		left;			/* of them left over at the ends of chunks */
	Size		missing;		/* the piece that could not be had last */
	bool		small_chunks;	/* others cannot make room for larger ones */
	char	   *bump;
	char	   *bump_end;
	CfpRef		free[CFP_FREE_CLASSES];

	/* EMPTY because it did not fit (of the generation db_generation) */
	uint64		needs;			/* bytes; 0: is not known not to fit */
	TimestampTz not_before;		/* when to look again whether it fits */

	/* locks on items, by item */
	CfpRef	   *lock_buckets;
	uint32		nlock_buckets;
	uint32		nlocks;
}			pg_attribute_aligned(64) CfpCollection;

StaticAssertDecl(sizeof(CfpCollection) % 64 == 0, "descriptors begin with a line of memory");
StaticAssertDecl(offsetof(CfpCollection, last_use) + sizeof(pg_atomic_uint64) <= 64,
				 "what a get and a store write is in the first line");

/*
 * May the caller change what the collection holds?  Its lock is held
 * exclusively, or it is LOADING, by whoever asks.
 */
static inline bool
cfp_collection_is_mine(const CfpCollection *col)
{
	return col->state == CFP_COLLECTION_LOADING ||
		LWLockHeldByMeInMode(unconstify(LWLock *, &col->lock), LW_EXCLUSIVE);
}

/* May the caller look at what the collection holds? */
static inline bool
cfp_collection_is_steady(const CfpCollection *col)
{
	return col->state == CFP_COLLECTION_LOADING ||
		LWLockHeldByMe(unconstify(LWLock *, &col->lock));
}

#endif							/* CFP_CACHE_H */
