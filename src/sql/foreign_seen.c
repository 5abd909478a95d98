/*-------------------------------------------------------------------------
 *
 * foreign_seen.c
 *		Which items the rows are that a statement has read.
 *
 * The server names a row to be changed or locked by its tid, whatever joins and
 * sorts it has been through.  Items have none: so the rows that a scan gives out
 * are numbered, and their names and versions kept to the end of the statement.
 *
 * Called by scans of tables whose rows the statement changes or locks, and where it
 * does.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "lib/ilist.h"
#include "lib/stringinfo.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/names.h"
#include "read/item.h"
#include "sql/foreign_seen.h"

/* Rows of a block; a power of two. */
#define ROWS_A_BLOCK	128

typedef struct SeenRow
{
	uint32		collection;		/* its number */
	int32		version;
	uint32		at;				/* of the name, in the block's bytes */
	int			len;
} SeenRow;

typedef struct SeenBlock
{
	StringInfoData names;
	SeenRow		rows[ROWS_A_BLOCK];
} SeenBlock;

struct CfpSeen
{
	dlist_node	node;			/* of `all_seen` */
	EState	   *estate;
	Index		rti;
	CfpRowMap  *map;
	MemoryContext context;		/* of the statement */
	MemoryContext row_context;	/* NULL: not made yet */
	uint64		nrows;
	SeenBlock **blocks;
	int			nblocks;
	int			blocks_size;
	CfpCollectionName *collections;
	uint32		ncollections;
	uint32		collections_size;
};

/* Of all statements that run. */
static dlist_head all_seen = DLIST_STATIC_INIT(all_seen);

static CfpSeen *
find(EState *estate, Index rti)
{
	dlist_iter	iter;

	dlist_foreach(iter, &all_seen)
	{
		CfpSeen    *seen = dlist_container(CfpSeen, node, iter.cur);

		if (seen->estate == estate && seen->rti == rti)
			return seen;
	}
	return NULL;
}

static void
forget(void *arg)
{
	dlist_delete(&((CfpSeen *) arg)->node);
}

CfpSeen *
cfp_seen_begin(EState *estate, Index rti, CfpRowMap *map)
{
	CfpSeen    *seen = find(estate, rti);
	MemoryContextCallback *callback;

	if (seen != NULL)
		return seen;
	seen = MemoryContextAllocZero(estate->es_query_cxt, sizeof(CfpSeen));
	callback = MemoryContextAllocZero(estate->es_query_cxt, sizeof(MemoryContextCallback));
	seen->estate = estate;
	seen->rti = rti;
	seen->map = map;
	seen->context = estate->es_query_cxt;
	callback->func = forget;
	callback->arg = seen;
	dlist_push_head(&all_seen, &seen->node);
	MemoryContextRegisterResetCallback(estate->es_query_cxt, callback);
	return seen;
}

CfpSeen *
cfp_seen_of(EState *estate, Index rti)
{
	CfpSeen    *seen = find(estate, rti);

	if (seen == NULL)
		elog(ERROR, "rows of range table entry %u have not been read", rti);
	return seen;
}

CfpRowMap *
cfp_seen_map(CfpSeen *seen)
{
	return seen->map;
}

MemoryContext
cfp_seen_row_context(CfpSeen *seen)
{
	if (seen->row_context == NULL)
		seen->row_context = AllocSetContextCreate(seen->context, "cfp row of a foreign table",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContextReset(seen->row_context);
	return seen->row_context;
}

static char *
keep_bytes(CfpSeen *seen, const char *bytes, int len)
{
	char	   *copy = MemoryContextAlloc(seen->context, len + 1);

	memcpy(copy, bytes, len);
	copy[len] = '\0';
	return copy;
}

/* The number of the collection; rows of one come one after the other. */
static uint32
number_of(CfpSeen *seen, const CfpCollectionName *name)
{
	CfpCollectionName *last = seen->ncollections == 0 ? NULL :
	&seen->collections[seen->ncollections - 1];

	if (last != NULL && last->key_len == name->key_len &&
		last->collection_len == name->collection_len &&
		memcmp(last->key, name->key, name->key_len) == 0 &&
		memcmp(last->collection, name->collection, name->collection_len) == 0)
		return seen->ncollections - 1;

	if (seen->ncollections == seen->collections_size)
	{
		uint32		size = Max(8, seen->collections_size * 2);

		seen->collections = seen->collections == NULL ?
			MemoryContextAlloc(seen->context, size * sizeof(CfpCollectionName)) :
			repalloc_huge(seen->collections, size * sizeof(CfpCollectionName));
		seen->collections_size = size;
	}
	last = &seen->collections[seen->ncollections];
	last->key = keep_bytes(seen, name->key, name->key_len);
	last->key_len = name->key_len;
	last->collection = keep_bytes(seen, name->collection, name->collection_len);
	last->collection_len = name->collection_len;
	return seen->ncollections++;
}

static SeenBlock *
add_block(CfpSeen *seen)
{
	SeenBlock  *block = MemoryContextAlloc(seen->context, sizeof(SeenBlock));
	MemoryContext old = MemoryContextSwitchTo(seen->context);

	if (seen->nblocks == seen->blocks_size)
	{
		int			size = Max(8, seen->blocks_size * 2);

		seen->blocks = seen->blocks == NULL ? palloc(size * sizeof(SeenBlock *)) :
			repalloc_huge(seen->blocks, size * sizeof(SeenBlock *));
		seen->blocks_size = size;
	}
	initStringInfo(&block->names);
	MemoryContextSwitchTo(old);
	seen->blocks[seen->nblocks++] = block;
	return block;
}

void
cfp_seen_add(CfpSeen *seen, const CfpItemName *name, int32 version, ItemPointer tid)
{
	SeenBlock  *block = seen->nrows % ROWS_A_BLOCK == 0 ? add_block(seen) :
	seen->blocks[seen->nblocks - 1];
	SeenRow    *row = &block->rows[seen->nrows % ROWS_A_BLOCK];

	row->collection = number_of(seen, &name->in);
	row->version = version;
	row->at = block->names.len;
	row->len = name->item_len;
	appendBinaryStringInfo(&block->names, name->item, name->item_len);

	/* An offset of 0 would not be valid. */
	ItemPointerSet(tid, (BlockNumber) (seen->nrows / ROWS_A_BLOCK),
				   (OffsetNumber) (seen->nrows % ROWS_A_BLOCK) + 1);
	seen->nrows++;
}

int32
cfp_seen_item(CfpSeen *seen, ItemPointer tid, CfpItemName *name)
{
	SeenBlock  *block;
	SeenRow    *row;

	Assert(ItemPointerIsValid(tid));
	Assert(ItemPointerGetBlockNumber(tid) < seen->nblocks);
	block = seen->blocks[ItemPointerGetBlockNumber(tid)];
	row = &block->rows[ItemPointerGetOffsetNumber(tid) - 1];
	name->in = seen->collections[row->collection];
	name->item = block->names.data + row->at;
	name->item_len = row->len;
	return row->version;
}

CfpRecord *
cfp_item_now(const CfpItemName *name, const EState *estate, uint64 *txid)
{
	CfpRecord  *record;

	PushActiveSnapshot(IsolationUsesXactSnapshot() ? estate->es_snapshot : GetLatestSnapshot());
	record = cfp_read_item_before(name, estate->es_snapshot->curcid, txid);
	PopActiveSnapshot();
	return record == NULL || CFP_RECORD_IS_TOMBSTONE(record) ? NULL : record;
}
