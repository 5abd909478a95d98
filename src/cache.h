/*-------------------------------------------------------------------------
 *
 * cache.h
 *		The shared-memory cache: memory, descriptors, chains of versions.
 *
 * See the head of cache.c for lifecycle, lock order and invariants.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_CACHE_H
#define CFP_CACHE_H

#include "cfp.h"
#include "database.h"
#include "record.h"

#include "access/transam.h"
#include "nodes/pg_list.h"
#include "utils/snapshot.h"

/*
 * Everything in the cache lives in one fixed area of main shared memory, so
 * an address is the same in every process.  A reference is the offset from
 * the area's start in units of 8 bytes; 0 is none.
 */
typedef uint32 CfpRef;

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

typedef struct CfpItem
{
	CfpRef		newest;			/* chain of CfpNode */
	int32		last_version;	/* highest version ever given out */
	uint16		name_len;
	uint8		flags;
	char		name[FLEXIBLE_ARRAY_MEMBER];
} CfpItem;

#define CFP_ITEM_PRUNED		0x01	/* a version was cut that someone may want */

/* A transaction that stored into the collection. */
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

/* A piece of memory owned by one collection; the header of the piece. */
typedef struct CfpChunk
{
	CfpRef		next;
	CfpRef		prev;
	uint64		size;			/* header included */
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

	/* arena */
	CfpRef		chunks;
	TimestampTz uncacheable_until;	/* it did not fit; do not try before */
	uint64		bytes;			/* of all that is its own, descriptor included */
	char	   *bump;
	char	   *bump_end;
	CfpRef		free[CFP_FREE_CLASSES];
}			pg_attribute_aligned(64) CfpCollection;

/* A snapshot with its bounds widened, for the tests of visibility. */
typedef struct CfpView
{
	Snapshot	snapshot;
	FullTransactionId xmin;
	FullTransactionId xmax;
} CfpView;

/* Fits a collection of that size beside others? */
extern bool cfp_size_fits(uint64 bytes);

/* For cfp_stat and cfp_stat_collections. */
typedef struct CfpCacheUse
{
	uint64		size;			/* cfp.cache_size in bytes */
	uint64		used;			/* by all databases */
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

/* Addresses and references. */
extern char *cfp_area_base;

static inline void *
cfp_ptr(CfpRef ref)
{
	return cfp_area_base + ((Size) ref << 3);
}

static inline CfpRef
cfp_ref(const void *p)
{
	return (CfpRef) (((const char *) p - cfp_area_base) >> 3);
}

/* Attach to the area; must come before anything below.  May throw (memory). */
extern void cfp_cache_attach(void);

/* Hashes; seeded anew at each server start. */
extern uint64 cfp_collection_hash(const CfpCollectionName *name);
extern uint32 cfp_item_hash(const char *name, int len);

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
 * Count a hit of the collection that cfp_directory_find returned last for the
 * hash.  An atomic addition for each would cost as much as the look-up, so the
 * descriptors hear of them at the end of the transaction.  Cannot throw.
 */
extern void cfp_count_hit(uint64 hash);
extern void cfp_hits_flush(void);

/* Forget a backend's remembered address of the collection. */
extern void cfp_directory_forget(uint64 hash);

/* Does the locked descriptor still stand for this collection? */
extern bool cfp_collection_is(const CfpCollection *col, uint64 generation,
							  const CfpCollectionName *name);

/*
 * Drop a collection from memory and free its descriptor, unless it is pinned,
 * being loaded, or no longer of that generation.  Caller holds no lock of the
 * cache.  Cannot throw, allocates nothing.
 */
extern bool cfp_collection_drop(CfpCollection *col, uint64 generation);

/*
 * Evict the least recently used collections until about `bytes` are free;
 * false when nothing could be evicted.  Caller holds no lock of the cache.
 * Cannot throw.
 */
extern bool cfp_make_room(Size bytes, const CfpCollection *except);
/* Drop all collections of a database that is no more.  May throw out of memory. */
extern void cfp_cache_forget_database(Oid dboid);
/*
 * What the collection takes at most when it grows: a chunk, or its arrays, new
 * beside old.  Without its lock it may be that of a moment ago.
 */
extern Size cfp_growth(const CfpCollection *col);

/*
 * Give back everything an unpinned collection holds but its names; the state
 * becomes EMPTY and the generation rises.  Caller holds its lock exclusively.
 */
extern void cfp_collection_clear(CfpCollection *col);

/*
 * Memory of a collection; the caller holds its lock exclusively, or it is
 * LOADING by the caller.  NULL when the area is full (no error, no eviction).
 * `exact` for what will hardly ever be freed alone.
 */
extern void *cfp_arena_alloc(CfpCollection *col, Size size, bool exact);
extern void cfp_arena_free(CfpCollection *col, void *p, Size size);

/*
 * Items.  Finding needs the lock in any mode, adding exclusively (or LOADING);
 * adding returns NULL when memory is short.
 */
extern CfpItem *cfp_item_find(const CfpCollection *col, uint32 hash,
							  const char *name, int len);
extern CfpItem *cfp_item_add(CfpCollection *col, uint32 hash,
							 const char *name, int len);
/* Sort the tail of the order array into the sorted part (lock exclusive). */
extern void cfp_items_sort(CfpCollection *col);
/* The place in the order array (sorted) of the first item not before the name. */
extern uint32 cfp_items_before(const CfpCollection *col, const char *name, int len);
extern int	cfp_item_compare(const CfpItem *item, const char *name, int len);

#define CFP_RECORD_BYTES(r)	(CFP_RECORD_HEADER + VARSIZE(CFP_RECORD_IMAGE(r)))

/* Nodes (lock exclusive, or LOADING).  NULL when memory is short. */
extern CfpNode *cfp_node_push(CfpCollection *col, CfpItem *item, int32 version,
							  FullTransactionId writer, bool exact);
/*
 * Copy the record into the arena, for a node that has none; its size field
 * becomes what was allocated.  False when memory is short.
 */
extern bool cfp_node_fill(CfpCollection *col, CfpNode *node,
						  const CfpRecord *record, bool exact);
/* Give the node a new version and move it to its place in the chain. */
extern void cfp_node_move(CfpItem *item, CfpNode *node, int32 version);
/* Make a node a mere claim again.  Cannot throw. */
extern void cfp_node_strip(CfpCollection *col, CfpNode *node);
/* Unlink and free.  Cannot throw. */
extern void cfp_node_remove(CfpCollection *col, CfpItem *item, CfpNode *node);
/* Cut what no one needs, and above the cap what an old snapshot may need. */
extern void cfp_chain_prune(CfpCollection *col, CfpItem *item);

/*
 * The view of a snapshot.  False when the cache may not serve it (not MVCC,
 * taken during recovery).
 */
extern bool cfp_view_make(CfpView *view, Snapshot snapshot);

/* Rule 4: may this snapshot use a collection loaded with its snapshot? */
extern bool cfp_view_may_use_slow(const CfpView *view, const CfpCollection *col);

static inline bool
cfp_view_may_use(const CfpView *view, const CfpCollection *col)
{
	return likely(FullTransactionIdFollowsOrEquals(view->xmin, col->load_xmax)) ||
		cfp_view_may_use_slow(view, col);
}

/* Does the view see what this node's writer did? (lock in any mode) */
extern bool cfp_node_visible(const CfpNode *node, const CfpView *view);

/* The newest node the view sees, or NULL (lock in any mode). */
extern CfpNode *cfp_chain_visible(const CfpItem *item, const CfpView *view);

extern void cfp_cache_use(Oid dboid, CfpCacheUse *use);
/* All cached collections of a database: List of CfpCollectionUse *. */
extern List *cfp_cache_list(Oid dboid);

extern Size cfp_cache_shmem_size(void);
extern void cfp_cache_shmem_init(void);

#endif							/* CFP_CACHE_H */
