/*-------------------------------------------------------------------------
 *
 * collection.h
 *		Reading items and collections as the caller's snapshot sees them.
 *
 * The one door for every reading function: decides between the cache and
 * the tables (DESIGN.md section 3), loads and evicts collections, and puts
 * the transaction's own pending records on top.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_COLLECTION_H
#define CFP_COLLECTION_H

#include "cache.h"
#include "cfp.h"
#include "history.h"
#include "record.h"

/*
 * The item's image (what cfp_get returns), a palloc'd copy; NULL when absent
 * or deleted.  Uses the active snapshot.  The caller has checked privileges.
 */
extern Jsonb *cfp_read_image(const CfpItemName *name);

/*
 * The item's record, a palloc'd copy, tombstones included; NULL when there
 * is none.  *txid (when asked for): of its writer; own pending records have
 * this transaction's.
 */
extern CfpRecord *cfp_read_item(const CfpItemName *name, uint64 *txid);

/* One row given to a collection reader's callback. */
typedef struct CfpRow
{
	const char *item;
	int			item_len;
	const CfpRecord *record;
	uint64		txid;
	bool		own;			/* pending in this transaction */
} CfpRow;

typedef bool (*CfpRowCallback) (const CfpRow *row, void *arg);

typedef struct CfpReadOptions
{
	CfpItemRange range;			/* all zero: everything */
	int64		max_items;		/* 0: no limit; counts rows given out */
	bool		include_deleted;
} CfpReadOptions;

/* A collection's items as JSON text: `"item": {...}, "item": {...}`. */
typedef struct CfpItemsText
{
	StringInfo	buf;			/* appended to; NULL: only the etag is wanted */
	uint64		etag;			/* the sum of the items' */
	int64		nitems;
} CfpItemsText;

/*
 * All rows of a collection, in byte order of item name.  What a row points to
 * lives until the callback returns, which returns false to stop.  The
 * callback may throw, and no lock is held; it runs in the caller's memory
 * context, so what it allocates is its own to keep or to free.
 */
extern void cfp_read_collection(const CfpCollectionName *name,
								const CfpReadOptions *options,
								CfpRowCallback callback, void *arg);

/* Add a collection's items, not the deleted ones, to a text. */
extern void cfp_read_collection_text(const CfpCollectionName *name, CfpItemsText *text);

/* Names of the key's collections, own pending ones included: List of text*. */
extern List *cfp_read_collections(const char *key, int key_len);

/* cfp_warm: load now; returns the number of items, -1 when it cannot be cached. */
extern int64 cfp_collection_warm(const CfpCollectionName *name);

/* cfp_evict: drop from memory; false when not cached or pinned by a store. */
extern bool cfp_collection_evict(const CfpCollectionName *name);

/*
 * For storing (pending.c).  All wait at most for a load, unless said so.
 *
 * Pin the collection for the writer, loading it first; NULL when the store
 * must go through the tables.  Pinned, the collection stays in memory and its
 * items' last_version is true until cfp_collection_unpin.  May throw.
 */
extern CfpCollection *cfp_collection_pin(const CfpCollectionName *name, uint64 hash,
										 FullTransactionId writer);

/*
 * Holding its lock exclusively; cannot throw, allocates nothing.  True when the
 * collection, bypassed or mostly empty, is to be dropped by cfp_collection_drop.
 */
extern bool cfp_collection_unpin(CfpCollection *col, FullTransactionId writer);

/* From now on readers take the tables, and no new pin is admitted. */
extern void cfp_collection_bypass(CfpCollection *col);

/*
 * Begin table mode: returns when no pin but the writer's own remains, with a
 * lock held to the end of the transaction that keeps out loads and other
 * writers in table mode.  Waits for transactions; throws 40P01.
 */
extern void cfp_collection_table_mode(const CfpCollectionName *name, uint64 hash,
									  FullTransactionId writer);

#endif							/* CFP_COLLECTION_H */
