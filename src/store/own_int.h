/*-------------------------------------------------------------------------
 *
 * own_int.h
 *		Own records, for the files of the wing that store and commit them.
 *
 * See the head of own.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_OWN_INT_H
#define CFP_OWN_INT_H

#include "cache/cache.h"
#include "record/record.h"

#include "access/xact.h"
#include "nodes/memnodes.h"

typedef struct PendingCollection
{
	CfpCollectionName name;		/* points into the texts */
	uint64		hash;
	CfpCollection *shared;		/* pinned; NULL: never was */
	bool		table_mode;		/* stores and locks go through the tables */
	bool		store_locked;	/* this transaction holds the store lock */
	bool		over_large;		/* stored over a record with memory of its own */
	int			nitems;
	struct PendingItem *items;	/* the last made first */
	struct PendingCollection *next;
	/* two texts follow, the key and the collection name */
} PendingCollection;

typedef struct PendingItem
{
	PendingCollection *collection;
	const char *name;			/* points into the text */
	int			name_len;
	uint32		hash;
	CfpItem    *shared;			/* in the pinned collection; NULL: not yet */
	struct PendingRecord *newest;	/* NULL: none yet, or none any more */
	struct PendingItem *next;
	/* the name follows as a text */
} PendingItem;

#define ITEM_TEXT(item)			((text *) ((item) + 1))
#define KEY_TEXT(collection)	((text *) ((collection) + 1))
#define COLLECTION_TEXT(collection) \
	((text *) ((char *) ((collection) + 1) + INTALIGN(VARHDRSZ + (collection)->name.key_len)))

typedef struct PendingRecord
{
	PendingItem *item;
	struct PendingRecord *older;	/* of the same item */
	CfpRecord  *record;			/* NULL: written and dropped from memory */
	CfpNode    *node;			/* the item's; NULL: a newer one has it, or
								 * table mode */
	int32		version;
	CommandId	cid;			/* of the command that stored it */
	bool		linked;			/* the node has the record */
	bool		written;		/* in storage_history */
	bool		tombstone;
} PendingRecord;

/* Where a (sub)transaction's part of the records begins. */
typedef struct Level
{
	int			nesting;
	int			start;
	int			unwritten;		/* all of its records before this one are
								 * written */
} Level;

/* Items linked, or let go of, under one hold of a collection's lock. */
#define ITEMS_AT_ONCE		64

/* The records, in order of time, lie in pieces that never move. */
#define RECORDS_A_PIECE		256

/*
 * Their bodies, in the same order, lie in a stack of blocks: those that go, by
 * a rollback or because they have been written, are always the last ones, so
 * what stays never keeps the memory of what went.  A large body has memory of
 * its own.
 */
typedef struct BodyBlock
{
	struct BodyBlock *below;
	Size		size;
	Size		used;
	/* the bodies follow */
} BodyBlock;

#define BLOCK_HEADER		MAXALIGN(sizeof(BodyBlock))

/* What the transaction of this backend has stored, or is about to. */
typedef struct CfpOwnState
{
	bool		ready;			/* the contexts and the look-up tables are
								 * there */

	/* of the transaction as a whole; writer is good once it stores */
	FullTransactionId writer;
	Oid			stored_into;	/* the storage_history it stores into */
	bool		tables_locked;
	bool		past_precommit;
	bool		must_link_again;	/* see link_again() */

	/* the records, and what they are of */
	PendingRecord **pieces;
	int			npieces;
	int			pieces_size;
	int			nrecords;
	Level	   *levels;
	int			nlevels;
	int			levels_size;
	PendingCollection *collections; /* the last made first */
	int			ncollections;

	/* their bodies */
	BodyBlock  *top_block;
	Size		body_bytes;		/* of blocks and large bodies */

	/*
	 * The first two live as long as the transaction's records.  The first
	 * piece and the first block are kept for the next transaction, outside of
	 * them.
	 */
	MemoryContext names_cxt;	/* collections and items */
	MemoryContext records_cxt;	/* pieces and bodies */
	MemoryContext tables_cxt;	/* the look-up tables */
} CfpOwnState;

extern CfpOwnState cfp_own;

static inline PendingRecord *
cfp_own_record(int n)
{
	Assert(n >= 0 && n < cfp_own.nrecords);
	return &cfp_own.pieces[n / RECORDS_A_PIECE][n % RECORDS_A_PIECE];
}

/* Before the transaction's first store: makes what is not there. */
extern void cfp_own_prepare(void);

/*
 * The transaction's entry of a collection, NULL when there is none; the same, made
 * when there is none; and that of an item, made likewise, with its collection's.
 */
extern PendingCollection *cfp_own_find_collection(const CfpCollectionName *name);
extern PendingCollection *cfp_own_collection(const CfpCollectionName *name);
extern PendingItem *cfp_own_item(const CfpItemName *name);

/* The item's full name; it points into the entries. */
static inline void
cfp_own_item_name(const PendingItem *item, CfpItemName *name)
{
	name->in = item->collection->name;
	name->item = item->name;
	name->item_len = item->name_len;
}

/*
 * Put an empty record on top of the item's; the claim fills it in.  Then make
 * the body of this, the newest record.
 */
extern PendingRecord *cfp_own_push(PendingItem *item);
extern void cfp_own_set_body(PendingRecord *rec, const CfpFields *fields);

/* The node is the record's: it knows what will be in it.  The lock is held exclusively. */
static inline void
cfp_own_mark_node(const PendingRecord *rec, CfpNode *node)
{
	if (rec->tombstone)
		node->flags |= CFP_NODE_TOMBSTONE;
	else
		node->flags &= ~CFP_NODE_TOMBSTONE;
}

/*
 * Drop the body of the newest of the records that have one.  Cannot throw,
 * allocates nothing.
 */
extern void cfp_own_drop_body(PendingRecord *rec);

/*
 * Take the newest record off again; with roll_back the item is forgotten if it
 * has no other record.  Cannot throw, allocates nothing.
 */
extern void cfp_own_pop(void);
extern void cfp_own_roll_back(void);

/*
 * The record, which may be palloc'd: one that is no longer in memory is read
 * from its node or the history.
 */
extern const CfpRecord *cfp_own_fetch(const PendingRecord *rec);

/* The transaction is over: forget all.  Cannot throw. */
extern void cfp_own_forget(void);

#endif							/* CFP_OWN_INT_H */
