/*-------------------------------------------------------------------------
 *
 * own.c
 *		The records a transaction has stored and not yet committed.
 *
 * Purpose: keep a transaction's own records, so that it reads what it has stored,
 * that a rollback takes off what its subtransactions have stored, and that a commit
 * writes them.
 *
 * Called by claim.c, which puts records on top, by commit.c, which writes them and
 * ends the transaction, and by readers for the transaction's own records.  In a
 * transaction cfp_own_prepare() comes first, cfp_own_forget() last.
 *
 * Nesting: records are kept in order of time, and a stack says where each
 * (sub)transaction's part begins, so that a rollback cuts the end off.  Of
 * several records of one item in one transaction the newest owns the node; a
 * rollback gives it back to the one before.  An item's entry goes with the last
 * of its records; that of a collection stays, and its pin, to the end.
 *
 * Bodies: they lie in the same order in a stack of blocks; commit.c drops those
 * that it has written early.  A record's entry here stays, for rollbacks and for
 * what commands with an older snapshot see.
 *
 * Locks: a collection's LWLock is held where nodes are changed or copied.  What
 * runs in the abort callbacks allocates nothing, looks nothing up and cannot throw.
 *
 * Invariants:
 * 	- The levels are sorted by nesting and by where they begin; none is empty.
 * 	- Records before `unwritten` of their level are written, and have no body.
 * 	- An item is in the look-up table exactly as long as it is in the list of
 * 	  its collection.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "cache/arena.h"
#include "cache/chain.h"
#include "cache/hash.h"
#include "store/own.h"
#include "store/own_int.h"
#include "tables/read_item.h"
#include "tables/tables.h"

#include "common/hashfn.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#define FEW_PIECES			64
#define FIRST_BLOCK_SIZE	(8 * 1024)
#define MAX_BLOCK_SIZE		(1024 * 1024)
#define LARGE_BODY			(8 * 1024)

/* Look-up tables larger than this are not kept for the next transaction. */
#define KEEP_TABLE_SIZE		1024

bool		cfp_pending_any = false;

static PendingRecord *few_pieces[FEW_PIECES];

CfpOwnState cfp_own = {.pieces = few_pieces,.pieces_size = FEW_PIECES};

/* ---------- look-up tables ---------- */

typedef struct ItemEntry
{
	PendingItem *item;
	uint32		hash;
	char		status;
} ItemEntry;

static inline bool
same_item(const PendingItem *a, const PendingItem *b)
{
	return a->collection == b->collection && a->hash == b->hash &&
		a->name_len == b->name_len && memcmp(a->name, b->name, a->name_len) == 0;
}

#define SH_PREFIX item_table
#define SH_ELEMENT_TYPE ItemEntry
#define SH_KEY_TYPE PendingItem *
#define SH_KEY item
#define SH_HASH_KEY(tb, key) \
	((key)->hash ^ murmurhash32((uint32) (key)->collection->hash))
#define SH_EQUAL(tb, a, b) same_item(a, b)
#define SH_STORE_HASH
#define SH_GET_HASH(tb, a) (a)->hash
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

typedef struct CollectionEntry
{
	PendingCollection *collection;
	char		status;
} CollectionEntry;

static inline bool
same_collection(const PendingCollection *a, const PendingCollection *b)
{
	return a->hash == b->hash &&
		a->name.key_len == b->name.key_len &&
		a->name.collection_len == b->name.collection_len &&
		memcmp(a->name.key, b->name.key, a->name.key_len) == 0 &&
		memcmp(a->name.collection, b->name.collection, a->name.collection_len) == 0;
}

#define SH_PREFIX collection_table
#define SH_ELEMENT_TYPE CollectionEntry
#define SH_KEY_TYPE PendingCollection *
#define SH_KEY collection
#define SH_HASH_KEY(tb, key) ((uint32) ((key)->hash >> 32))
#define SH_EQUAL(tb, a, b) same_collection(a, b)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

static item_table_hash *item_table = NULL;
static collection_table_hash *collection_table = NULL;

static inline PendingCollection *
own_find_collection(const CfpCollectionName *name)
{
	PendingCollection probe;
	CollectionEntry *entry;

	/* What was stored with an extension that was dropped went with it. */
	if (cfp_own.ncollections == 0 || unlikely(cfp_tables()->history != cfp_own.stored_into))
		return NULL;
	probe.name = *name;
	probe.hash = cfp_collection_hash(name);
	entry = collection_table_lookup(collection_table, &probe);
	return entry ? entry->collection : NULL;
}

PendingCollection *
cfp_own_find_collection(const CfpCollectionName *name)
{
	return own_find_collection(name);
}

static inline PendingItem *
own_find_item_in(PendingCollection *collection, const CfpItemName *name)
{
	PendingItem probe;
	ItemEntry  *entry;

	if (collection == NULL)
		return NULL;
	probe.collection = collection;
	probe.name = name->item;
	probe.name_len = name->item_len;
	probe.hash = cfp_item_hash(name->item, name->item_len);
	entry = item_table_lookup(item_table, &probe);
	return entry ? entry->item : NULL;
}

static PendingItem *
own_find_item(const CfpItemName *name)
{
	return own_find_item_in(own_find_collection(&name->in), name);
}

static void
put_text(text *t, const char *str, int len)
{
	SET_VARSIZE(t, VARHDRSZ + len);
	memcpy(VARDATA(t), str, len);
}

static PendingCollection *
own_add_collection(const CfpCollectionName *name)
{
	PendingCollection *col =
	MemoryContextAlloc(cfp_own.names_cxt, sizeof(PendingCollection) +
					   INTALIGN(VARHDRSZ + name->key_len) +
					   VARHDRSZ + name->collection_len);
	bool		found;

	memset(col, 0, sizeof(PendingCollection));
	col->name = *name;
	put_text(KEY_TEXT(col), name->key, name->key_len);
	put_text(COLLECTION_TEXT(col), name->collection, name->collection_len);
	col->name.key = VARDATA(KEY_TEXT(col));
	col->name.collection = VARDATA(COLLECTION_TEXT(col));
	col->hash = cfp_collection_hash(name);
	collection_table_insert(collection_table, col, &found)->collection = col;
	col->next = cfp_own.collections;
	cfp_own.collections = col;
	cfp_own.ncollections++;
	return col;
}

static PendingItem *
own_add_item(PendingCollection *collection, const CfpItemName *name)
{
	PendingItem *item = MemoryContextAlloc(cfp_own.names_cxt, sizeof(PendingItem) +
										   VARHDRSZ + name->item_len);
	bool		found;

	item->collection = collection;
	put_text(ITEM_TEXT(item), name->item, name->item_len);
	item->name = VARDATA(ITEM_TEXT(item));
	item->name_len = name->item_len;
	item->hash = cfp_item_hash(name->item, name->item_len);
	item->shared = NULL;
	item->newest = NULL;
	item_table_insert(item_table, item, &found)->item = item;
	item->next = collection->items;
	collection->items = item;
	collection->nitems++;
	return item;
}

/*
 * Forget the items of a collection that have no record any more: as records
 * go in the order opposite to that in which they came, they are the last ones
 * made.  Runs in the abort callbacks: cannot throw, allocates nothing.
 */
static void
own_forget_items(PendingCollection *collection)
{
	PendingItem *item;

	while ((item = collection->items) != NULL && item->newest == NULL)
	{
		collection->items = item->next;
		collection->nitems--;
		item_table_delete(item_table, item);
		pfree(item);
	}
}

static inline PendingCollection *
own_collection(const CfpCollectionName *name)
{
	PendingCollection *collection = own_find_collection(name);

	return collection ? collection : own_add_collection(name);
}

PendingCollection *
cfp_own_collection(const CfpCollectionName *name)
{
	return own_collection(name);
}

PendingItem *
cfp_own_item(const CfpItemName *name)
{
	PendingCollection *collection = own_collection(&name->in);
	PendingItem *item = own_find_item_in(collection, name);

	return item ? item : own_add_item(collection, name);
}

/* ---------- the beginning and the end of a transaction ---------- */

/* Once a session. */
static void
own_make_contexts(void)
{
	cfp_own.names_cxt = GenerationContextCreate(TopMemoryContext, "cfp pending names",
												ALLOCSET_DEFAULT_MINSIZE,
												ALLOCSET_DEFAULT_INITSIZE,
												MAX_BLOCK_SIZE);
	cfp_own.records_cxt = AllocSetContextCreate(TopMemoryContext, "cfp pending records",
												ALLOCSET_DEFAULT_SIZES);
	cfp_own.tables_cxt = AllocSetContextCreate(TopMemoryContext, "cfp pending tables",
											   ALLOCSET_DEFAULT_SIZES);
	few_pieces[0] = MemoryContextAlloc(TopMemoryContext,
									   RECORDS_A_PIECE * sizeof(PendingRecord));
	cfp_own.npieces = 1;
	cfp_own.top_block = MemoryContextAlloc(TopMemoryContext, FIRST_BLOCK_SIZE);
	cfp_own.top_block->below = NULL;
	cfp_own.top_block->size = FIRST_BLOCK_SIZE - BLOCK_HEADER;
	cfp_own.top_block->used = 0;
}

void
cfp_own_prepare(void)
{
	if (cfp_own.top_block == NULL)
		own_make_contexts();
	if (item_table == NULL)
		item_table = item_table_create(cfp_own.tables_cxt, 32, NULL);
	if (collection_table == NULL)
		collection_table = collection_table_create(cfp_own.tables_cxt, 32, NULL);
	cfp_own.ready = true;
}

void
cfp_own_forget(void)
{
	if (cfp_own.collections != NULL)
	{
		cfp_own.collections = NULL;
		cfp_own.ncollections = 0;
		cfp_own.nrecords = 0;
		cfp_own.nlevels = 0;
		cfp_own.must_link_again = false;
		cfp_own.pieces = few_pieces;
		cfp_own.npieces = 1;
		cfp_own.pieces_size = FEW_PIECES;
		while (cfp_own.top_block->below != NULL)
			cfp_own.top_block = cfp_own.top_block->below;
		cfp_own.top_block->used = 0;
		cfp_own.body_bytes = 0;
		MemoryContextReset(cfp_own.records_cxt);
		MemoryContextReset(cfp_own.names_cxt);
		if (item_table->size > KEEP_TABLE_SIZE)
		{
			item_table_destroy(item_table);
			item_table = NULL;
			cfp_own.ready = false;
		}
		else
			item_table_reset(item_table);
		if (collection_table->size > KEEP_TABLE_SIZE)
		{
			collection_table_destroy(collection_table);
			collection_table = NULL;
			cfp_own.ready = false;
		}
		else
			collection_table_reset(collection_table);
	}
	cfp_pending_any = false;
	cfp_own.tables_locked = false;
	cfp_own.past_precommit = false;
}

/* ---------- the stack of records ---------- */

static void
own_add_piece(void)
{
	if (cfp_own.npieces == cfp_own.pieces_size)
	{
		PendingRecord **more =
		MemoryContextAllocHuge(cfp_own.records_cxt,
							   2 * cfp_own.pieces_size * sizeof(PendingRecord *));

		memcpy(more, cfp_own.pieces, cfp_own.npieces * sizeof(PendingRecord *));
		if (cfp_own.pieces != few_pieces)
			pfree(cfp_own.pieces);
		cfp_own.pieces = more;
		cfp_own.pieces_size *= 2;
	}
	cfp_own.pieces[cfp_own.npieces] =
		MemoryContextAlloc(cfp_own.records_cxt, RECORDS_A_PIECE * sizeof(PendingRecord));
	cfp_own.npieces++;
}

PendingRecord *
cfp_own_push(PendingItem *item)
{
	int			nesting = GetCurrentTransactionNestLevel();
	PendingRecord *rec;

	Assert(cfp_own.ready);
	Assert(cfp_own.nlevels == 0 || cfp_own.levels[cfp_own.nlevels - 1].nesting <= nesting);
	if (unlikely(cfp_own.nrecords == cfp_own.npieces * RECORDS_A_PIECE))
		own_add_piece();
	if (cfp_own.nlevels == cfp_own.levels_size)
	{
		int			size = Max(16, cfp_own.levels_size * 2);

		cfp_own.levels = cfp_own.levels ? repalloc(cfp_own.levels, size * sizeof(Level)) :
			MemoryContextAlloc(TopMemoryContext, size * sizeof(Level));
		cfp_own.levels_size = size;
	}
	rec = &cfp_own.pieces[cfp_own.nrecords / RECORDS_A_PIECE][cfp_own.nrecords % RECORDS_A_PIECE];
	rec->item = item;
	rec->older = item->newest;
	rec->record = NULL;
	rec->node = NULL;
	rec->version = 0;
	rec->cid = GetCurrentCommandId(true);
	rec->linked = false;
	rec->written = false;
	rec->tombstone = false;
	item->newest = rec;
	if (cfp_own.nlevels == 0 || cfp_own.levels[cfp_own.nlevels - 1].nesting < nesting)
	{
		cfp_own.levels[cfp_own.nlevels].nesting = nesting;
		cfp_own.levels[cfp_own.nlevels].start = cfp_own.nrecords;
		cfp_own.levels[cfp_own.nlevels].unwritten = cfp_own.nrecords;
		cfp_own.nlevels++;
	}
	cfp_own.nrecords++;
	cfp_pending_any = true;
	return rec;
}

/* Room for a body of at most so many bytes on top of the others. */
static CfpRecord *
own_reserve_body(Size room)
{
	if (room > LARGE_BODY)
		return MemoryContextAlloc(cfp_own.records_cxt, room);
	if (cfp_own.top_block->size - cfp_own.top_block->used < room)
	{
		Size		size = Min(2 * (cfp_own.top_block->size + BLOCK_HEADER), MAX_BLOCK_SIZE);
		BodyBlock  *block = MemoryContextAlloc(cfp_own.records_cxt, size);

		block->below = cfp_own.top_block;
		block->size = size - BLOCK_HEADER;
		block->used = 0;
		cfp_own.top_block = block;
		cfp_own.body_bytes += block->size;
	}
	return (CfpRecord *) ((char *) cfp_own.top_block + BLOCK_HEADER + cfp_own.top_block->used);
}

static inline bool
in_top_block(const CfpRecord *body)
{
	return (const char *) body >= (char *) cfp_own.top_block &&
		(const char *) body < (char *) cfp_own.top_block + BLOCK_HEADER + cfp_own.top_block->size;
}

void
cfp_own_set_body(PendingRecord *rec, const CfpFields *fields)
{
	CfpRecord  *body = own_reserve_body(cfp_record_room(fields));

	Assert(rec == cfp_own_record(cfp_own.nrecords - 1) && rec->record == NULL);
	cfp_record_fill(body, fields);
	if (in_top_block(body))
		cfp_own.top_block->used += body->size;
	else
		cfp_own.body_bytes += body->size;
	rec->record = body;
}

/* One is empty also when an error came between its making and a body's. */
static void
pop_empty_blocks(void)
{
	while (cfp_own.top_block->used == 0 && cfp_own.top_block->below != NULL)
	{
		BodyBlock  *block = cfp_own.top_block;

		cfp_own.top_block = block->below;
		cfp_own.body_bytes -= block->size;
		pfree(block);
	}
}

void
cfp_own_drop_body(PendingRecord *rec)
{
	CfpRecord  *body = rec->record;

	Assert(body != NULL);
	rec->record = NULL;
	pop_empty_blocks();
	if (in_top_block(body))
	{
		cfp_own.top_block->used = (char *) body - ((char *) cfp_own.top_block + BLOCK_HEADER);
		pop_empty_blocks();
	}
	else
	{
		cfp_own.body_bytes -= body->size;
		pfree(body);
	}
}

void
cfp_own_pop(void)
{
	PendingRecord *rec = cfp_own_record(cfp_own.nrecords - 1);
	PendingItem *item = rec->item;
	PendingRecord *older = rec->older;
	CfpCollection *col = item->collection->shared;

	Assert(item->newest == rec);
	if (rec->node != NULL)
	{
		LWLockAcquire(&col->lock, LW_EXCLUSIVE);
		if (older != NULL)
		{
			cfp_node_strip(col, rec->node);
			cfp_node_move(item->shared, rec->node, older->version);
			cfp_own_mark_node(older, rec->node);
			older->node = rec->node;
			cfp_own.must_link_again |= older->written;
		}
		else
			cfp_node_remove(col, item->shared, rec->node);
		LWLockRelease(&col->lock);
	}
	item->newest = older;
	if (rec->record != NULL)
		cfp_own_drop_body(rec);
	cfp_own.nrecords--;
	while (cfp_own.nlevels > 0 && cfp_own.levels[cfp_own.nlevels - 1].start >= cfp_own.nrecords)
		cfp_own.nlevels--;
	if (cfp_own.nlevels > 0)
	{
		Level	   *level = &cfp_own.levels[cfp_own.nlevels - 1];

		level->unwritten = Min(level->unwritten, cfp_own.nrecords);
	}
	cfp_pending_any = cfp_own.nrecords > 0;
}

void
cfp_own_roll_back(void)
{
	PendingItem *item = cfp_own_record(cfp_own.nrecords - 1)->item;

	cfp_own_pop();
	if (item->newest == NULL)
		own_forget_items(item->collection);
}

/* ---------- reading own records ---------- */

const CfpRecord *
cfp_own_fetch(const PendingRecord *rec)
{
	CfpItemName name;
	CfpRecord  *record;

	if (rec->record != NULL)
		return rec->record;
	if (rec->linked)
	{
		CfpCollection *col = rec->item->collection->shared;
		CfpRecord  *shared;

		LWLockAcquire(&col->lock, LW_SHARED);
		shared = cfp_ptr(rec->node->record);
		record = cfp_record_copy(shared);
		LWLockRelease(&col->lock);
		return record;
	}
	cfp_own_item_name(rec->item, &name);

	/*
	 * Its row is our own; a new MVCC snapshot cannot be taken in parallel
	 * mode.
	 */
	record = cfp_table_read_version(SnapshotSelf, &name, rec->version);
	if (record == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a record stored earlier in this transaction is no longer in storage_history"),
				 errhint("Do not delete from storage_history in a transaction that stores.")));
	return record;
}

/* The item's newest record that a command before the given one stored. */
static inline PendingRecord *
newest_before(const PendingItem *item, CommandId before)
{
	PendingRecord *rec = item->newest;

	while (rec != NULL && rec->cid >= before)
		rec = rec->older;
	return rec;
}

const CfpRecord *
cfp_pending_find(const CfpItemName *name, CommandId before)
{
	PendingItem *item = own_find_item(name);
	PendingRecord *rec = item ? newest_before(item, before) : NULL;

	return rec ? cfp_own_fetch(rec) : NULL;
}

bool
cfp_pending_in(const CfpCollectionName *name)
{
	PendingCollection *col = cfp_own_find_collection(name);
	PendingItem *item = col ? col->items : NULL;

	while (item != NULL && item->newest == NULL)
		item = item->next;
	return item != NULL;
}

static void
own_fill_row(CfpPendingRow *row, const PendingRecord *rec)
{
	cfp_own_item_name(rec->item, &row->name);
	row->version = rec->version;
	row->source = rec;
}

const CfpRecord *
cfp_pending_record(const CfpPendingRow *row)
{
	return cfp_own_fetch(row->source);
}

static int
compare_rows(const void *a, const void *b)
{
	const CfpItemName *x = &((const CfpPendingRow *) a)->name;
	const CfpItemName *y = &((const CfpPendingRow *) b)->name;

	return cfp_compare_names(x->item, x->item_len, y->item, y->item_len);
}

/* Add the newest records of a collection's items to rows. */
static int
own_add_rows(const PendingCollection *col, CommandId before, CfpPendingRow *rows, int n)
{
	for (PendingItem *item = col->items; item != NULL; item = item->next)
	{
		PendingRecord *rec = newest_before(item, before);

		if (rec != NULL)
			own_fill_row(&rows[n++], rec);
	}
	return n;
}

static bool
in_range(const CfpPendingRow *row, const CfpItemRange *range)
{
	return (range->from == NULL ||
			cfp_compare_names(row->name.item, row->name.item_len,
							  range->from, range->from_len) >= 0) &&
		(range->to == NULL ||
		 cfp_compare_names(row->name.item, row->name.item_len,
						   range->to, range->to_len) <= 0);
}

CfpPendingRow *
cfp_pending_collection(const CfpCollectionName *name, const CfpItemRange *range,
					   CommandId before, int *nrows)
{
	PendingCollection *col = cfp_own_find_collection(name);
	CfpPendingRow *rows;
	int			n;

	*nrows = 0;
	if (col == NULL)
		return NULL;
	rows = MemoryContextAllocHuge(CurrentMemoryContext, col->nitems * sizeof(CfpPendingRow));
	n = own_add_rows(col, before, rows, 0);
	for (int i = 0; i < n; i++)
	{
		if (in_range(&rows[i], range))
			rows[(*nrows)++] = rows[i];
	}
	qsort(rows, *nrows, sizeof(CfpPendingRow), compare_rows);
	return rows;
}

CfpPendingRow *
cfp_pending_all(const char *key, int key_len, CommandId before, int *nrows)
{
	CfpPendingRow *rows;
	Size		n = 0;

	*nrows = 0;
	if (cfp_tables()->history != cfp_own.stored_into)
		return NULL;
	for (PendingCollection *col = cfp_own.collections; col != NULL; col = col->next)
		n += col->nitems;
	rows = MemoryContextAllocHuge(CurrentMemoryContext, (n + 1) * sizeof(CfpPendingRow));
	for (PendingCollection *col = cfp_own.collections; col != NULL; col = col->next)
	{
		if (key == NULL ||
			(col->name.key_len == key_len && memcmp(col->name.key, key, key_len) == 0))
			*nrows = own_add_rows(col, before, rows, *nrows);
	}
	return rows;
}

CfpPendingRow *
cfp_pending_versions(const CfpItemName *name, int *nrows)
{
	PendingItem *item = own_find_item(name);
	CfpPendingRow *rows;
	int			n = 0;

	*nrows = 0;
	if (item == NULL)
		return NULL;
	for (PendingRecord *rec = item->newest; rec != NULL; rec = rec->older)
		n++;
	rows = MemoryContextAllocHuge(CurrentMemoryContext, (n + 1) * sizeof(CfpPendingRow));
	for (PendingRecord *rec = item->newest; rec != NULL; rec = rec->older)
		own_fill_row(&rows[(*nrows)++], rec);
	return rows;
}
