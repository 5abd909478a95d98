/*-------------------------------------------------------------------------
 *
 * pending.c
 *		The records a transaction has stored and not yet committed.
 *
 * Called by sql_api.c and sql_view.c to store; by collection.c to read own
 * records; by the transaction machinery through callbacks.
 *
 * A store goes like this:
 *
 *	1. The transaction gets its id and locks storage_history and cfp_gate in
 *	   ROW EXCLUSIVE mode, so that DDL and hand-made changes wait.
 *	2. The collection is pinned in the cache (loaded first), or goes into
 *	   table mode (see collection.c).
 *	3. A version is claimed: pinned, by a node without a record in the item's
 *	   chain, under the collection's lock; in table mode, from the tables,
 *	   under the lock that keeps all other writers out.
 *	4. The record is kept here, on top of the item's earlier ones.
 *
 * At pre-commit all records go into storage_history, and the newest of each
 * item into its node.  Then the transaction commits, and the callback marks
 * the nodes committed and unpins; or it aborts, and the callback removes them.
 * The callbacks allocate nothing, look nothing up and cannot throw: all they
 * need hangs on the structures below.
 *
 * Nesting: records are kept in order of time, and a stack says where each
 * (sub)transaction's part begins, so that a rollback cuts the end off.  Of
 * several records of one item in one transaction the newest owns the node; a
 * rollback gives it back to the one before.
 *
 * Spilling: when the records in memory pass SPILL_BYTES, those of the current
 * nesting level are written into the history, and into their nodes, at once,
 * and their bodies are dropped; rolling back the level takes back both.
 *
 * Locks: see collection.c; here at most one collection's LWLock is held, and
 * never over a wait or anything that can throw.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "collection.h"
#include "database.h"
#include "history.h"
#include "pending.h"
#include "settings.h"
#include "tables.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* Record bodies kept in memory before they are written early. */
#define SPILL_BYTES			(64 * 1024 * 1024)

/* Records linked under one hold of a collection's lock. */
#define LINK_AT_ONCE		64

/*
 * Room to ask for, beside what the collection grows by, when a claim or a
 * record finds no memory, and how often: what is made free need not be in one
 * piece.
 */
#define ROOM_STEP			(64 * 1024)
#define ROOM_TRIES			8

typedef struct PendingCollection
{
	CfpCollectionName name;		/* points into the texts */
	uint64		hash;
	text	   *key;
	text	   *collection;
	CfpCollection *shared;		/* pinned; NULL: never was */
	bool		table_mode;		/* stores go through the tables */
	bool		store_locked;	/* this transaction holds the store lock */
	struct PendingItem *items;
	int			nitems;
	struct PendingCollection *next;
} PendingCollection;

typedef struct PendingItem
{
	PendingCollection *collection;
	const char *name;			/* points into text */
	int			name_len;
	uint32		hash;
	text	   *text;
	CfpItem    *shared;			/* in the pinned collection; NULL: not yet */
	struct PendingRecord *newest;	/* NULL: all rolled back */
	struct PendingItem *next;
} PendingItem;

typedef struct PendingRecord
{
	PendingItem *item;
	struct PendingRecord *older;	/* of the same item */
	CfpRecord  *record;			/* NULL: written and dropped from memory */
	CfpNode    *node;			/* owned; NULL: a newer one has it, or table mode */
	int32		version;
	CommandId	cid;			/* of the command that stored it */
	bool		linked;			/* the node has the record */
	bool		written;		/* in storage_history */
} PendingRecord;

/* Where a (sub)transaction's part of the records begins. */
typedef struct Level
{
	int			nesting;
	int			start;
} Level;

bool		cfp_pending_any = false;
bool		cfp_hand_changed = false;

static MemoryContext pending_cxt = NULL;	/* lives as long as the transaction's
											 * records */
static PendingRecord **records = NULL;	/* in order of time */
static int	nrecords = 0;
static int	records_size = 0;
static Level *levels = NULL;
static int	nlevels = 0;
static int	levels_size = 0;
static Size bytes_in_memory = 0;
static PendingCollection *collections = NULL;
static int	ncollections = 0;
static FullTransactionId writer;	/* of this transaction, once it stores */
static Oid	stored_into;		/* the storage_history it stores into */
static bool tables_locked = false;
static bool past_precommit = false;

/* ---------- look-up tables ---------- */

typedef struct ItemEntry
{
	PendingItem *item;
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

/* Tables larger than this are not kept for the next transaction. */
#define KEEP_TABLE_SIZE		1024

static PendingCollection *
find_collection(const CfpCollectionName *name)
{
	PendingCollection probe;
	CollectionEntry *entry;

	/* What was stored with an extension that was dropped went with it. */
	if (ncollections == 0 || unlikely(cfp_tables()->history != stored_into))
		return NULL;
	probe.name = *name;
	probe.hash = cfp_collection_hash(name);
	entry = collection_table_lookup(collection_table, &probe);
	return entry ? entry->collection : NULL;
}

static PendingItem *
find_item_in(PendingCollection *collection, const CfpItemName *name)
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
find_item(const CfpItemName *name)
{
	return find_item_in(find_collection(&name->in), name);
}

static PendingCollection *
make_collection(const CfpCollectionName *name)
{
	PendingCollection *col = MemoryContextAllocZero(pending_cxt, sizeof(PendingCollection));
	MemoryContext old = MemoryContextSwitchTo(pending_cxt);
	bool		found;

	col->key = cstring_to_text_with_len(name->key, name->key_len);
	col->collection = cstring_to_text_with_len(name->collection, name->collection_len);
	MemoryContextSwitchTo(old);
	col->name.key = VARDATA(col->key);
	col->name.key_len = name->key_len;
	col->name.collection = VARDATA(col->collection);
	col->name.collection_len = name->collection_len;
	col->hash = cfp_collection_hash(name);
	collection_table_insert(collection_table, col, &found)->collection = col;
	col->next = collections;
	collections = col;
	ncollections++;
	return col;
}

static PendingItem *
make_item(PendingCollection *collection, const CfpItemName *name)
{
	PendingItem *item = MemoryContextAllocZero(pending_cxt, sizeof(PendingItem));
	MemoryContext old = MemoryContextSwitchTo(pending_cxt);
	bool		found;

	item->collection = collection;
	item->text = cstring_to_text_with_len(name->item, name->item_len);
	MemoryContextSwitchTo(old);
	item->name = VARDATA(item->text);
	item->name_len = name->item_len;
	item->hash = cfp_item_hash(name->item, name->item_len);
	item_table_insert(item_table, item, &found)->item = item;
	item->next = collection->items;
	collection->items = item;
	collection->nitems++;
	return item;
}

static void
item_name(const PendingItem *item, CfpItemName *name)
{
	name->in = item->collection->name;
	name->item = item->name;
	name->item_len = item->name_len;
}

/* ---------- the beginning of a transaction's stores ---------- */

/*
 * Lock history and gate for the whole transaction: a rolled-back
 * subtransaction takes neither its pins nor these locks along, so that what
 * is pinned stays true.
 */
static void
lock_tables(void)
{
	ResourceOwner owner = CurrentResourceOwner;

	CurrentResourceOwner = TopTransactionResourceOwner;
	for (;;)
	{
		Oid			history = cfp_tables()->history;
		Oid			gate = cfp_tables()->gate;
		const CfpTables *now;

		LockRelationOid(history, RowExclusiveLock);
		LockRelationOid(gate, RowExclusiveLock);
		now = cfp_tables();
		if (now->history == history && now->gate == gate)
		{
			if (collections == NULL)
				stored_into = history;
			break;
		}

		/* The extension was dropped and made anew while we waited. */
		UnlockRelationOid(gate, RowExclusiveLock);
		UnlockRelationOid(history, RowExclusiveLock);
	}
	CurrentResourceOwner = owner;
	tables_locked = true;
}

static void
begin_storing(void)
{
	if (pending_cxt == NULL)
		pending_cxt = GenerationContextCreate(TopMemoryContext, "cfp pending records",
											  ALLOCSET_DEFAULT_SIZES);
	if (item_table == NULL)
		item_table = item_table_create(TopMemoryContext, 32, NULL);
	if (collection_table == NULL)
		collection_table = collection_table_create(TopMemoryContext, 32, NULL);
	cfp_cache_attach();
	writer = GetTopFullTransactionId();

	if (!tables_locked)
		lock_tables();
	if (unlikely(cfp_tables()->history != stored_into))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this transaction has stored with the extension that it dropped"),
				 errhint("Store in a new transaction.")));
}

/* Put an empty record on top of the item's; the claim fills it in. */
static PendingRecord *
push_record(PendingItem *item)
{
	int			nesting = GetCurrentTransactionNestLevel();
	PendingRecord *rec;

	if (nrecords == records_size)
	{
		int			size = Max(64, records_size * 2);

		records = records ?
			repalloc_huge(records, size * sizeof(PendingRecord *)) :
			MemoryContextAlloc(TopMemoryContext, size * sizeof(PendingRecord *));
		records_size = size;
	}
	if (nlevels == levels_size)
	{
		int			size = Max(16, levels_size * 2);

		levels = levels ? repalloc(levels, size * sizeof(Level)) :
			MemoryContextAlloc(TopMemoryContext, size * sizeof(Level));
		levels_size = size;
	}
	rec = MemoryContextAllocZero(pending_cxt, sizeof(PendingRecord));
	rec->item = item;
	rec->cid = GetCurrentCommandId(true);
	rec->older = item->newest;
	item->newest = rec;
	if (nlevels == 0 || levels[nlevels - 1].nesting < nesting)
	{
		levels[nlevels].nesting = nesting;
		levels[nlevels].start = nrecords;
		nlevels++;
	}
	records[nrecords++] = rec;
	cfp_pending_any = true;
	return rec;
}

/*
 * Take the newest record off again.  Runs in the abort callbacks: cannot
 * throw, allocates nothing.
 */
static void
pop_record(void)
{
	PendingRecord *rec = records[--nrecords];
	PendingItem *item = rec->item;
	PendingRecord *older = rec->older;
	CfpCollection *col = item->collection->shared;

	Assert(item->newest == rec);
	if (rec->node != NULL)
	{
		LWLockAcquire(&col->lock, LW_EXCLUSIVE);
		if (older != NULL && older->node == NULL)
		{
			cfp_node_strip(col, rec->node);
			cfp_node_move(item->shared, rec->node, older->version);
			older->node = rec->node;
		}
		else
			cfp_node_remove(col, item->shared, rec->node);
		LWLockRelease(&col->lock);
	}
	item->newest = older;
	if (rec->record != NULL)
	{
		bytes_in_memory -= rec->record->size;
		pfree(rec->record);
	}
	pfree(rec);
	while (nlevels > 0 && levels[nlevels - 1].start >= nrecords)
		nlevels--;
	cfp_pending_any = nrecords > 0;
}

/* ---------- reading own records ---------- */

/* A record that is no longer in memory, from its node or the history. */
static const CfpRecord *
fetch_record(const PendingRecord *rec)
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
		record = palloc(CFP_RECORD_BYTES(shared));
		memcpy(record, shared, CFP_RECORD_BYTES(shared));
		LWLockRelease(&col->lock);
		return record;
	}
	item_name(rec->item, &name);
	/* Its row is our own; a new MVCC snapshot cannot be taken in parallel mode. */
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
	PendingItem *item = find_item(name);
	PendingRecord *rec = item ? newest_before(item, before) : NULL;

	return rec ? fetch_record(rec) : NULL;
}

bool
cfp_pending_table_mode(const CfpCollectionName *name)
{
	PendingCollection *col = find_collection(name);

	return col != NULL && col->table_mode;
}

bool
cfp_pending_in(const CfpCollectionName *name)
{
	PendingCollection *col = find_collection(name);
	PendingItem *item = col ? col->items : NULL;

	while (item != NULL && item->newest == NULL)
		item = item->next;
	return item != NULL;
}

static void
fill_row(CfpPendingRow *row, const PendingRecord *rec)
{
	item_name(rec->item, &row->name);
	row->version = rec->version;
	row->source = rec;
}

const CfpRecord *
cfp_pending_record(const CfpPendingRow *row)
{
	return fetch_record(row->source);
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
add_rows(const PendingCollection *col, CommandId before, CfpPendingRow *rows, int n)
{
	for (PendingItem *item = col->items; item != NULL; item = item->next)
	{
		PendingRecord *rec = newest_before(item, before);

		if (rec != NULL)
			fill_row(&rows[n++], rec);
	}
	return n;
}

CfpPendingRow *
cfp_pending_collection(const CfpCollectionName *name, int *nrows)
{
	PendingCollection *col = find_collection(name);
	CfpPendingRow *rows;

	*nrows = 0;
	if (col == NULL)
		return NULL;
	rows = MemoryContextAllocHuge(CurrentMemoryContext, col->nitems * sizeof(CfpPendingRow));
	*nrows = add_rows(col, CFP_UP_TO_NOW, rows, 0);
	qsort(rows, *nrows, sizeof(CfpPendingRow), compare_rows);
	return rows;
}

CfpPendingRow *
cfp_pending_all(const char *key, int key_len, CommandId before, int *nrows)
{
	CfpPendingRow *rows;
	Size		n = 0;

	*nrows = 0;
	if (cfp_tables()->history != stored_into)
		return NULL;
	for (PendingCollection *col = collections; col != NULL; col = col->next)
		n += col->nitems;
	rows = MemoryContextAllocHuge(CurrentMemoryContext, (n + 1) * sizeof(CfpPendingRow));
	for (PendingCollection *col = collections; col != NULL; col = col->next)
	{
		if (key == NULL ||
			(col->name.key_len == key_len && memcmp(col->name.key, key, key_len) == 0))
			*nrows = add_rows(col, before, rows, *nrows);
	}
	return rows;
}

CfpPendingRow *
cfp_pending_versions(const CfpItemName *name, int *nrows)
{
	PendingItem *item = find_item(name);
	CfpPendingRow *rows;
	int			n = 0;

	*nrows = 0;
	if (item == NULL)
		return NULL;
	for (PendingRecord *rec = item->newest; rec != NULL; rec = rec->older)
		n++;
	rows = palloc((n + 1) * sizeof(CfpPendingRow));
	for (PendingRecord *rec = item->newest; rec != NULL; rec = rec->older)
		fill_row(&rows[(*nrows)++], rec);
	return rows;
}

/* ---------- claiming a version ---------- */

bool
cfp_expect_version(const CfpRecord *current, void *arg)
{
	int32		expected = *(int32 *) arg;

	if (current == NULL)
		return expected == 0;
	return current->version == expected ||
		(expected == 0 && CFP_RECORD_IS_TOMBSTONE(current));
}

bool
cfp_expect_present(const CfpRecord *current, void *arg)
{
	return current != NULL && !CFP_RECORD_IS_TOMBSTONE(current);
}

/* Who may not read the item is not told what it is like. */
static void
raise_conflict(const CfpRecord *current)
{
	CfpFields	fields;

	if (!cfp_may_read())
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("the item is not at the expected version"),
				 errhint("Read the item again and retry.")));
	if (current == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("the item is not at the expected version"),
				 errdetail("The item does not exist."),
				 errhint("Read the item again and retry.")));
	cfp_record_fields(current, &fields);
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("the item is not at the expected version"),
			 fields.username ?
			 errdetail("Its current version is %d%s, stored by \"%.*s\".",
					   current->version,
					   CFP_RECORD_IS_TOMBSTONE(current) ? " (deleted)" : "",
					   fields.username_len, fields.username) :
			 errdetail("Its current version is %d%s.", current->version,
					   CFP_RECORD_IS_TOMBSTONE(current) ? " (deleted)" : ""),
			 errhint("Read the item again and retry.")));
}

static void
raise_concurrent_update(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not serialize access due to concurrent update"),
			 errhint("Retry the transaction.")));
}

static void
raise_out_of_versions(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("the item has reached the highest version, %d", PG_INT32_MAX),
			 errhint("Store it under another name.")));
}

/* A copy made under a collection's lock, to be looked at after its release. */
static CfpRecord *
copy_record(const CfpRecord *record)
{
	CfpRecord  *copy = palloc(CFP_RECORD_BYTES(record));

	memcpy(copy, record, CFP_RECORD_BYTES(record));
	return copy;
}

/* The version that the active snapshot sees of the item; 0 none. */
static int32
seen_version(const CfpItemName *name)
{
	CfpRecord  *record = cfp_table_read_item(GetActiveSnapshot(), name, NULL);

	return record ? record->version : 0;
}

/* What is committed of the item, and what this transaction has written of it. */
static CfpRecord *
committed_record(const CfpItemName *name)
{
	CfpRecord  *record;

	PushActiveSnapshot(GetLatestSnapshot());
	record = cfp_table_read_item(GetActiveSnapshot(), name, NULL);
	PopActiveSnapshot();
	return record;
}

/* What came of looking at a chain. */
typedef enum ClaimResult
{
	CLAIMED,
	CLAIM_WAIT,					/* for the transaction in *wait_for */
	CLAIM_ASK_SEEN,				/* which version does our snapshot see? */
	CLAIM_ASK_CURRENT,			/* what is committed?  It is not in memory */
	CLAIM_CONFLICT,				/* a committed version we cannot see */
	CLAIM_REFUSED,				/* by the predicate; *current is set */
	CLAIM_NO_MEMORY,
	CLAIM_NO_VERSION
} ClaimResult;

typedef struct Claim
{
	PendingRecord *rec;
	CfpStorePredicate predicate;
	void	   *arg;
	bool		careful;		/* REPEATABLE READ or above */
	bool		have_view;
	CfpView		view;			/* of the transaction's snapshot, if careful */
	int32		seen;			/* version the snapshot sees; -1 not known */
	const CfpRecord *committed; /* from the tables, when asked for */
	TransactionId wait_for;
	const CfpRecord *current;	/* CLAIM_REFUSED: a copy, or NULL */
} Claim;

/*
 * Try to claim the next version in the shared item.  The caller holds the
 * collection's lock exclusively; nothing here throws but palloc.
 */
static ClaimResult
claim_locked(Claim *claim)
{
	PendingRecord *rec = claim->rec;
	PendingRecord *older = rec->older;
	PendingItem *item = rec->item;
	CfpCollection *col = item->collection->shared;
	const CfpNode *committed = NULL;

	if (item->shared == NULL)
	{
		item->shared = cfp_item_find(col, item->hash, item->name, item->name_len);
		if (item->shared == NULL)
			item->shared = cfp_item_add(col, item->hash, item->name, item->name_len);
		if (item->shared == NULL)
			return CLAIM_NO_MEMORY;
	}

	for (CfpRef ref = item->shared->newest; ref != 0;)
	{
		CfpNode    *node = cfp_ptr(ref);

		ref = node->next;
		if (FullTransactionIdEquals(node->writer, writer) &&
			(node->flags & CFP_NODE_LOADED) == 0)
			continue;
		if ((node->flags & CFP_NODE_COMMITTED) == 0)
		{
			if (claim->careful || claim->predicate)
			{
				claim->wait_for = XidFromFullTransactionId(node->writer);
				return CLAIM_WAIT;
			}
			continue;
		}
		if (committed == NULL)
			committed = node;
		if (!claim->careful)
		{
			if (!claim->predicate)
				break;
			continue;
		}
		if (claim->have_view && cfp_view_may_use(&claim->view, col))
		{
			if (!cfp_node_visible(node, &claim->view))
				return CLAIM_CONFLICT;
		}
		else if (claim->seen < 0)
			return CLAIM_ASK_SEEN;
		else if (node->version > claim->seen)
			return CLAIM_CONFLICT;
	}

	/* A tombstone that our snapshot sees may have been pruned (prune.c). */
	if (claim->careful && committed == NULL && older == NULL &&
		!(claim->have_view && cfp_view_may_use(&claim->view, col)))
	{
		if (claim->seen < 0)
			return CLAIM_ASK_SEEN;
		if (claim->seen > 0)
			return CLAIM_CONFLICT;
	}

	if (claim->predicate)
	{
		const CfpRecord *current = NULL;

		if (committed != NULL && committed->record != 0)
			current = cfp_ptr(committed->record);
		else if (committed != NULL)
		{
			if (claim->committed == NULL || claim->committed->version < committed->version)
				return CLAIM_ASK_CURRENT;
			current = claim->committed;
		}
		if (older != NULL && (current == NULL || older->version > current->version))
			current = older->record ? older->record : cfp_ptr(older->node->record);
		if (!claim->predicate(current, claim->arg))
		{
			claim->current = current ? copy_record(current) : NULL;
			return CLAIM_REFUSED;
		}
	}
	if (item->shared->last_version == PG_INT32_MAX)
		return CLAIM_NO_VERSION;

	/* First what no one needs goes: the new node finds its memory at hand. */
	cfp_chain_prune(col, item->shared);

	/* The node of an earlier record goes along, unless it is taken already. */
	if (older != NULL && older->node != NULL && !older->linked)
	{
		cfp_node_move(item->shared, older->node, item->shared->last_version + 1);
		rec->node = older->node;
		older->node = NULL;
	}
	else
	{
		rec->node = cfp_node_push(col, item->shared, item->shared->last_version + 1,
								  writer, false);
		if (rec->node == NULL)
			return CLAIM_NO_MEMORY;
	}
	rec->version = ++item->shared->last_version;
	return CLAIMED;
}

/*
 * Claim a version in the pinned collection: waits and asks the tables as
 * claim_locked() wants it.  CLAIM_NO_MEMORY sends the store to the tables.
 */
static ClaimResult
claim_cached(Claim *claim)
{
	CfpCollection *col = claim->rec->item->collection->shared;
	CfpItemName name;
	int			tries = 0;

	item_name(claim->rec->item, &name);
	for (;;)
	{
		ClaimResult result;

		LWLockAcquire(&col->lock, LW_EXCLUSIVE);
		result = claim_locked(claim);
		LWLockRelease(&col->lock);

		switch (result)
		{
			case CLAIM_WAIT:
				XactLockTableWait(claim->wait_for, NULL, NULL, XLTW_None);
				break;
			case CLAIM_ASK_SEEN:
				claim->seen = seen_version(&name);
				break;
			case CLAIM_ASK_CURRENT:
				claim->committed = committed_record(&name);
				break;
			case CLAIM_NO_MEMORY:
				if (tries++ == ROOM_TRIES || !cfp_make_room(cfp_growth(col) + ROOM_STEP, col))
					return CLAIM_NO_MEMORY;
				break;
			default:
				return result;
		}
	}
}

/*
 * Claim a version in table mode: what is committed is in the tables, and no
 * one else is at it.
 */
static ClaimResult
claim_from_tables(Claim *claim)
{
	PendingRecord *rec = claim->rec;
	PendingRecord *older = rec->older;
	PendingCollection *collection = rec->item->collection;
	const CfpRecord *current;
	int32		last;
	CfpItemName name;

	item_name(rec->item, &name);
	if (!collection->store_locked)
	{
		cfp_collection_table_mode(&collection->name, collection->hash, writer);
		collection->store_locked = true;
	}

	current = committed_record(&name);
	last = current ? current->version : 0;
	if (claim->careful && last != seen_version(&name) &&
		!(older != NULL && last <= older->version))
		return CLAIM_CONFLICT;
	if (older != NULL && older->version >= last)
	{
		current = fetch_record(older);
		last = older->version;
	}
	if (claim->predicate && !claim->predicate(current, claim->arg))
	{
		claim->current = current;
		return CLAIM_REFUSED;
	}

	/* Versions given out while the collection was still cached. */
	if (collection->shared != NULL)
	{
		CfpItem    *shared;

		LWLockAcquire(&collection->shared->lock, LW_SHARED);
		shared = cfp_item_find(collection->shared, rec->item->hash,
							   rec->item->name, rec->item->name_len);
		if (shared != NULL)
			last = Max(last, shared->last_version);
		LWLockRelease(&collection->shared->lock);
	}
	if (last == PG_INT32_MAX)
		return CLAIM_NO_VERSION;
	rec->version = last + 1;
	return CLAIMED;
}

static void write_level(int start);

int32
cfp_pending_store(const CfpItemName *name, CfpFields *fields,
				  CfpStorePredicate predicate, void *arg, bool missing_ok)
{
	PendingCollection *collection;
	PendingItem *item;
	PendingRecord *rec;
	Claim		claim = {.predicate = predicate, .arg = arg, .seen = -1};
	ClaimResult result;
	MemoryContext old;

	const char *caller = fields->data == NULL ? "cfp_delete()" : "cfp_store()";

	PreventCommandIfReadOnly(caller);
	PreventCommandIfParallelMode(caller);
	if (past_precommit)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot store while the transaction is being committed"),
				 errhint("Store before the COMMIT.")));
	if (cfp_history_inserting)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot store in a trigger of storage_history"),
				 errhint("It fires when the records of a transaction are written. Store where they are stored.")));
	cfp_check_json_size(fields);
	begin_storing();

	claim.careful = IsolationUsesXactSnapshot();
	if (claim.careful)
	{
		claim.have_view = cfp_view_make(&claim.view, GetActiveSnapshot());

		/* A condition is a read, which must be known to others as one. */
		if (predicate && IsolationIsSerializable())
			claim.seen = seen_version(name);
	}

	collection = find_collection(&name->in);
	if (collection == NULL)
		collection = make_collection(&name->in);
	item = find_item_in(collection, name);
	if (item == NULL)
		item = make_item(collection, name);
	if (cfp_hand_changed)
		collection->table_mode = true;
	if (collection->shared == NULL && !collection->table_mode)
	{
		collection->shared = cfp_collection_pin(&collection->name, collection->hash, writer);
		collection->table_mode = (collection->shared == NULL);
	}

	rec = push_record(item);
	claim.rec = rec;
	result = CLAIM_NO_MEMORY;
	if (!collection->table_mode)
		result = claim_cached(&claim);
	if (result == CLAIM_NO_MEMORY)
	{
		collection->table_mode = true;
		result = claim_from_tables(&claim);
	}
	switch (result)
	{
		case CLAIMED:
			break;
		case CLAIM_REFUSED:
			pop_record();
			if (missing_ok)
				return 0;
			raise_conflict(claim.current);
			break;
		case CLAIM_NO_VERSION:
			pop_record();
			raise_out_of_versions();
			break;
		default:
			pop_record();
			raise_concurrent_update();
	}

	fields->version = rec->version;
	fields->updated_at = GetCurrentTimestamp();
	old = MemoryContextSwitchTo(pending_cxt);
	rec->record = cfp_record_make(fields);
	MemoryContextSwitchTo(old);
	bytes_in_memory += rec->record->size;
	cfp_counts.stores++;

	if (bytes_in_memory > SPILL_BYTES)
		write_level(levels[nlevels - 1].start);
	return rec->version;
}

/* ---------- writing ---------- */

/* The order of the history's primary key. */
static int
compare_records(const void *a, const void *b)
{
	const PendingRecord *x = *(PendingRecord *const *) a;
	const PendingRecord *y = *(PendingRecord *const *) b;
	int			cmp = 0;

	if (x->item != y->item)
	{
		if (x->item->collection != y->item->collection)
		{
			const CfpCollectionName *in_x = &x->item->collection->name;
			const CfpCollectionName *in_y = &y->item->collection->name;

			cmp = cfp_compare_names(in_x->key, in_x->key_len, in_y->key, in_y->key_len);
			if (cmp == 0)
				cmp = cfp_compare_names(in_x->collection, in_x->collection_len,
										in_y->collection, in_y->collection_len);
		}
		if (cmp == 0)
			cmp = cfp_compare_names(x->item->name, x->item->name_len,
									y->item->name, y->item->name_len);
	}
	if (cmp == 0)
		cmp = x->version > y->version ? 1 : -1;
	return cmp;
}

/*
 * Put records into their nodes, which stay invisible until the commit.  Where
 * memory is short even after evicting others, readers of the collection are
 * sent to the tables.  Everything here may fail only before the commit.
 */
static void
link_records(PendingRecord **sorted, int n)
{
	int			i = 0;

	while (i < n)
	{
		PendingCollection *collection = sorted[i]->item->collection;
		CfpCollection *col = collection->shared;
		int			tries = 0;

		if (col == NULL)
		{
			while (i < n && sorted[i]->item->collection == collection)
				i++;
			continue;
		}
		while (i < n && sorted[i]->item->collection == collection)
		{
			Size		missing = 0;

			LWLockAcquire(&col->lock, LW_EXCLUSIVE);
			for (int held = 0; held < LINK_AT_ONCE && i < n &&
				 sorted[i]->item->collection == collection; held++)
			{
				PendingRecord *rec = sorted[i];

				if (rec->node != NULL && !rec->linked)
				{
					if (!cfp_node_fill(col, rec->node, rec->record, false))
					{
						missing = CFP_RECORD_BYTES(rec->record);
						break;
					}
					rec->linked = true;
					tries = 0;
				}
				i++;
			}
			LWLockRelease(&col->lock);
			if (missing == 0)
				continue;
			if (tries++ == ROOM_TRIES || !cfp_make_room(missing + cfp_growth(col) + ROOM_STEP, col))
			{
				cfp_collection_bypass(col);
				collection->table_mode = true;
				while (i < n && sorted[i]->item->collection == collection)
					i++;
			}
		}
	}
}

/* Write the records from `start` on that are not written yet, and link them. */
static void
write_records(int start)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "cfp write",
											  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	PendingRecord **sorted = MemoryContextAllocHuge(cxt, (nrecords - start) *
													sizeof(PendingRecord *));
	CfpHistoryRow *rows;
	int			n = 0;

	for (int i = start; i < nrecords; i++)
	{
		if (!records[i]->written)
			sorted[n++] = records[i];
	}
	if (n > 1)
		qsort(sorted, n, sizeof(PendingRecord *), compare_records);
	rows = MemoryContextAllocHuge(cxt, n * sizeof(CfpHistoryRow));
	for (int i = 0; i < n; i++)
	{
		rows[i].key = sorted[i]->item->collection->key;
		rows[i].collection = sorted[i]->item->collection->collection;
		rows[i].item = sorted[i]->item->text;
		rows[i].record = sorted[i]->record;
	}
	if (n > 0)
		cfp_history_insert(rows, n);
	link_records(sorted, n);
	for (int i = 0; i < n; i++)
		sorted[i]->written = true;
	MemoryContextSwitchTo(old);
	MemoryContextDelete(cxt);
}

/* Write a level's records early and drop their bodies from memory. */
static void
write_level(int start)
{
	write_records(start);
	for (int i = start; i < nrecords; i++)
	{
		PendingRecord *rec = records[i];

		if (rec->record == NULL)
			continue;
		bytes_in_memory -= rec->record->size;
		pfree(rec->record);
		rec->record = NULL;
	}
	/* So that this transaction sees its rows in the table from here on. */
	CommandCounterIncrement();
}

/* ---------- hand-made changes ---------- */

void
cfp_pending_note_hand_change(void)
{
	if (cfp_hand_changed || !cfp_preloaded)
		return;
	pg_atomic_fetch_add_u32(&cfp_my_database()->hand_changes, 1);
	cfp_hand_changed = true;
}

/* ---------- the end of a transaction ---------- */

static void
pre_commit(void)
{
	if (nrecords > 0)
	{
		const CfpTables *tables = cfp_tables_if_installed();

		/* What it stored goes with the table that it dropped. */
		if (tables == NULL || tables->history != stored_into)
		{
			while (nrecords > 0)
				pop_record();
		}
	}
	if (nrecords > 0)
	{
		cfp_waitpoint("precommit", true);
		write_records(0);
		cfp_waitpoint("linked", true);
		past_precommit = true;
		/* Those that writing the records has queued. */
		AfterTriggerFireDeferred();
	}
	past_precommit = true;
}

static void
pre_prepare(void)
{
	if (nrecords > 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot PREPARE a transaction that has stored with cfp"),
				 errhint("Use COMMIT, or store in a transaction of its own.")));
	if (cfp_hand_changed)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot PREPARE a transaction that has changed the storage tables of cfp"),
				 errhint("Use COMMIT.")));
}

/*
 * Let go of a collection.  After a commit its new nodes are visible to those
 * whose snapshots say so: set the hints.
 */
static void
leave(PendingCollection *collection, bool committed)
{
	CfpCollection *col = collection->shared;
	uint64		generation;
	bool		drop;

	LWLockAcquire(&col->lock, LW_EXCLUSIVE);
	for (PendingItem *item = collection->items; committed && item != NULL; item = item->next)
	{
		Assert(item->newest == NULL || item->newest->linked ||
			   col->state == CFP_COLLECTION_BYPASSED);
		for (PendingRecord *rec = item->newest; rec != NULL; rec = rec->older)
		{
			if (rec->node == NULL)
				continue;

			/*
			 * Also when memory was too short for the record: other writers
			 * who have the collection pinned must find the version.
			 */
			rec->node->flags |= CFP_NODE_COMMITTED;
		}
	}
	drop = cfp_collection_unpin(col, writer);
	generation = col->generation;
	LWLockRelease(&col->lock);
	if (drop)
		(void) cfp_collection_drop(col, generation);
}

/* Forget everything; also of a transaction that never stored. */
static void
end_transaction(bool committed)
{
	if (collections != NULL)
	{
		if (committed)
		{
			cfp_waitpoint("commit", false);
			if (nrecords > 0)
				cfp_database_note_commit(cfp_my_database(), nrecords);
		}
		else
		{
			cfp_waitpoint("abort", false);
			while (nrecords > 0)
				pop_record();
		}
		for (PendingCollection *col = collections; col != NULL; col = col->next)
		{
			if (col->shared != NULL)
				leave(col, committed);
		}

		collections = NULL;
		ncollections = 0;
		nrecords = 0;
		nlevels = 0;
		bytes_in_memory = 0;
		MemoryContextReset(pending_cxt);
		if (item_table->size > KEEP_TABLE_SIZE)
		{
			item_table_destroy(item_table);
			item_table = NULL;
		}
		else
			item_table_reset(item_table);
		if (collection_table->size > KEEP_TABLE_SIZE)
		{
			collection_table_destroy(collection_table);
			collection_table = NULL;
		}
		else
			collection_table_reset(collection_table);
		if (records_size > 64 * KEEP_TABLE_SIZE)
		{
			pfree(records);
			records = NULL;
			records_size = 0;
		}
	}
	if (cfp_hand_changed)
	{
		CfpDatabase *db = cfp_my_database();

		/* In this order: who finds no change running finds the generation raised. */
		pg_atomic_fetch_add_u64(&db->generation, 1);
		pg_atomic_fetch_sub_u32(&db->hand_changes, 1);
		cfp_hand_changed = false;
		cfp_wake_worker(db);	/* it will have to reconcile */
	}
	cfp_pending_any = false;
	tables_locked = false;
	past_precommit = false;
	cfp_hits_flush();
	cfp_counts_flush();
}

static void
xact_callback(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			pre_commit();
			break;
		case XACT_EVENT_PRE_PREPARE:
			pre_prepare();
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PREPARE:
			end_transaction(true);
			break;
		case XACT_EVENT_ABORT:
			end_transaction(false);
			break;
		default:
			break;
	}
}

static void
subxact_callback(SubXactEvent event, SubTransactionId mySubid,
				 SubTransactionId parentSubid, void *arg)
{
	int			nesting = GetCurrentTransactionNestLevel();

	if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		if (nlevels > 0 && levels[nlevels - 1].nesting == nesting)
		{
			if (nlevels > 1 && levels[nlevels - 2].nesting == nesting - 1)
				nlevels--;
			else
				levels[nlevels - 1].nesting = nesting - 1;
		}
	}
	else if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		if (nlevels > 0 && levels[nlevels - 1].nesting >= nesting)
		{
			int			start = levels[nlevels - 1].start;

			while (nrecords > start)
				pop_record();
		}
	}
}

void
cfp_pending_init(void)
{
	RegisterXactCallback(xact_callback, NULL);
	RegisterSubXactCallback(subxact_callback, NULL);
}
