/*-------------------------------------------------------------------------
 *
 * collection.c
 *		Reading items and collections; loading, pinning and evicting them.
 *
 * Every reading function comes through here.  A read is answered by the cache
 * when the caller's snapshot may use it, else by the tables; the
 * transaction's own pending records go on top of either, the higher version
 * winning.  Why a read took the tables is counted (cfp_stat).
 *
 * Loading.  The load lock, a heavyweight lock visible to the deadlock
 * detector, makes one backend load and the others wait.  It is released on
 * publishing, so that two readers loading A then B and B then A cannot
 * deadlock.  The snapshot of the load is taken under it, when no writer has
 * the collection pinned: what commits later goes through the cache.  A load
 * that fails leaves the descriptor EMPTY, and the next waiter takes over.
 * A load is published only if no hand-made change of the tables ran meanwhile
 * (hand_changes and generation of the database).
 *
 * Table mode.  A writer whose collection cannot be cached takes the store
 * lock to the end of its transaction, waits until no load runs and no other
 * writer has the collection pinned, and finds versions in the tables.  Loaders
 * ask for the store lock without waiting, and leave it at that when a writer
 * has it; so there is never a load beside a writer in table mode.
 *
 * Order of locks: store lock, load lock (heavyweight), then the cache's own
 * (see cache.c), of which at most one collection's is held, and never over
 * a wait, I/O, or a callback of the caller's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "collection.h"
#include "pending.h"
#include "settings.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* A collection that did not fit is not tried again for so long (in us). */
#define UNCACHEABLE_FOR		(10 * INT64CONST(1000000))

/* How often to begin anew when others evict what was just loaded. */
#define MAX_TRIES			3

/* What is copied at most while the collection's lock is held. */
#define BATCH_ROWS			256
#define BATCH_BYTES			(256 * 1024)
#define BATCH_ITEMS			4096	/* looked at, seen or not */

/* Room to ask for when a load runs out of memory. */
#define LOAD_STEP			(16 * 1024)
#define LOAD_MAX_STEPS		1000

/* ---------- heavyweight locks ---------- */

#define LOAD_LOCK			1
#define STORE_LOCK			2

/*
 * Store locks last until the end of the transaction, and one transaction may
 * store into any number of collections; so they are shared, lest the lock
 * table runs out.  Whoever is given another's waits as for his own.
 */
#define STORE_LOCKS			1024

static inline void
set_lock_tag(LOCKTAG *tag, Oid history, uint64 hash, uint16 kind)
{
	uint32		object = kind == STORE_LOCK ? hash % STORE_LOCKS : hash;

	SET_LOCKTAG_OBJECT(*tag, MyDatabaseId, history, object, kind);
}

/* ---------- loading ---------- */

typedef struct Load
{
	CfpCollection *col;
	bool		full;			/* memory ran out */
	int			steps;
} Load;

/* Before throwing or exiting: the contents are no good. */
static void
load_failed(int code, Datum arg)
{
	CfpCollection *col = (CfpCollection *) DatumGetPointer(arg);

	LWLockAcquire(&col->lock, LW_EXCLUSIVE);
	cfp_collection_clear(col);
	LWLockRelease(&col->lock);
}

/*
 * Room for `size` bytes, and for as much as the collection grows by: so the
 * steps are few, however much has to be evicted.
 */
static bool
load_room(Load *load, Size size)
{
	if (++load->steps > LOAD_MAX_STEPS ||
		!cfp_size_fits(load->col->bytes + size) ||
		!cfp_make_room(Max(size, cfp_growth(load->col)) + LOAD_STEP, load->col))
		load->full = true;
	return !load->full;
}

static bool
load_row(const char *name, int len, const CfpRecord *record, uint64 txid, void *arg)
{
	Load	   *load = arg;
	CfpCollection *col = load->col;
	FullTransactionId writer = FullTransactionIdFromU64(txid);
	CfpItem    *item;
	CfpNode    *node;

	while ((item = cfp_item_add(col, cfp_item_hash(name, len), name, len)) == NULL)
	{
		if (!load_room(load, len))
			return false;
	}
	while ((node = cfp_node_push(col, item, record->version, writer, true)) == NULL)
	{
		if (!load_room(load, sizeof(CfpNode)))
			return false;
	}
	while (!cfp_node_fill(col, node, record, true))
	{
		if (!load_room(load, CFP_RECORD_BYTES(record)))
			return false;
	}
	node->flags = CFP_NODE_COMMITTED | CFP_NODE_LOADED;
	item->last_version = record->version;
	if (!cfp_size_fits(col->bytes))
		load->full = true;
	return !load->full;
}

/*
 * Fill a LOADING collection from the tables.  Returns with the snapshot's
 * bounds set in it, or load->full.
 */
static void
load_contents(Load *load, const CfpCollectionName *name)
{
	CfpCollection *col = load->col;
	TransactionId own = GetTopTransactionIdIfAny();
	Snapshot	snapshot;
	CfpView		view;
	uint32		nxip;

	PushActiveSnapshot(GetLatestSnapshot());
	snapshot = GetActiveSnapshot();
	(void) cfp_view_make(&view, snapshot);
	nxip = snapshot->xcnt;
	while ((col->load_xip = cfp_arena_alloc(col, (nxip + 1) * sizeof(TransactionId),
											true)) == NULL)
	{
		if (!load_room(load, (nxip + 1) * sizeof(TransactionId)))
			break;
	}
	if (!load->full)
	{
		/*
		 * A snapshot does not list its own transaction.  This one has stored
		 * nothing here, so for others it is as good as left out.
		 */
		if (nxip > 0)
			memcpy(col->load_xip, snapshot->xip, nxip * sizeof(TransactionId));
		if (TransactionIdIsValid(own))
			col->load_xip[nxip++] = own;
		col->load_nxip = nxip;
		col->load_xmax = view.xmax;
		cfp_table_read_collection(snapshot, name, NULL, load_row, load);
	}
	PopActiveSnapshot();
	cfp_waitpoint("load", true);
}

/* May this transaction load at all?  (The caller still may read the cache.) */
static bool
may_load(const CfpCollectionName *name)
{
	return !IsInParallelMode() && !cfp_hand_changed && !cfp_pending_table_mode(name);
}

/*
 * Make the collection LOADED; false when it cannot be, or not now.  True does
 * not say that it still is.  The caller holds no lock of the cache.
 */
static bool
load_collection(const CfpCollectionName *name, uint64 hash)
{
	CfpDatabase *db = cfp_my_database();
	Oid			history = cfp_tables()->history;
	LOCKTAG		load_tag;
	LOCKTAG		store_tag;
	CfpCollection *col;
	uint64		generation;
	uint64		db_generation;
	bool		ok = false;
	bool		begun = false;

	if (!may_load(name))
		return false;
	set_lock_tag(&load_tag, history, hash, LOAD_LOCK);
	set_lock_tag(&store_tag, history, hash, STORE_LOCK);
	(void) LockAcquire(&load_tag, ExclusiveLock, false, false);
	if (LockAcquire(&store_tag, ShareLock, false, true) == LOCKACQUIRE_NOT_AVAIL)
	{
		LockRelease(&load_tag, ExclusiveLock, false);
		return false;
	}

	db_generation = pg_atomic_read_u64(&db->generation);
	col = cfp_directory_find(name, hash, history, true, &generation);
	if (col != NULL)
	{
		LWLockAcquire(&col->lock, LW_EXCLUSIVE);
		if (!cfp_collection_is(col, generation, name))
		{
			cfp_directory_forget(hash);
			ok = true;			/* evicted meanwhile; the caller looks again */
		}
		else if (col->state == CFP_COLLECTION_LOADED &&
				 col->db_generation == db_generation)
			ok = true;			/* by the one we waited for */
		else if (col->pins == 0 && col->state != CFP_COLLECTION_BYPASSED &&
				 pg_atomic_read_u32(&db->hand_changes) == 0)
		{
			if (col->state == CFP_COLLECTION_LOADED)
				cfp_collection_clear(col);
			col->state = CFP_COLLECTION_LOADING;
			begun = true;
		}
		LWLockRelease(&col->lock);
	}

	if (begun)
	{
		Load		load = {.col = col};

		PG_ENSURE_ERROR_CLEANUP(load_failed, PointerGetDatum(col));
		{
			load_contents(&load, name);
			ok = !load.full && cfp_tables()->cacheable;
		}
		PG_END_ENSURE_ERROR_CLEANUP(load_failed, PointerGetDatum(col));

		LWLockAcquire(&col->lock, LW_EXCLUSIVE);
		if (ok &&
			pg_atomic_read_u32(&db->hand_changes) == 0 &&
			pg_atomic_read_u64(&db->generation) == db_generation)
		{
			col->db_generation = db_generation;
			col->state = CFP_COLLECTION_LOADED;
			pg_atomic_write_u64(&col->last_use, GetCurrentStatementStartTimestamp());
			cfp_counts.loads++;
		}
		else
		{
			ok = false;
			cfp_collection_clear(col);
			if (load.full)
				col->uncacheable_until = GetCurrentTimestamp() + UNCACHEABLE_FOR;
		}
		LWLockRelease(&col->lock);
	}
	LockRelease(&store_tag, ShareLock, false);
	LockRelease(&load_tag, ExclusiveLock, false);
	return ok;
}

/* ---------- opening for a read ---------- */

/* What a read is done with. */
typedef struct Reader
{
	CfpDatabase *db;
	Oid			history;
	Snapshot	snapshot;
	CfpView		view;
	bool		cached;			/* the cache may be asked at all */
	bool		counted;		/* as a hit or a miss */
} Reader;

static inline void
reader_init(Reader *reader)
{
	const CfpTables *tables = cfp_tables();

	reader->db = cfp_my_database();
	reader->history = tables->history;
	reader->snapshot = GetActiveSnapshot();
	reader->cached = false;
	reader->counted = false;
	cfp_counts.gets++;

	if (unlikely(IsolationIsSerializable()))
		cfp_counts.table_reads[CFP_READ_SERIALIZABLE]++;
	else if (unlikely(RecoveryInProgress()))
		cfp_counts.table_reads[CFP_READ_RECOVERY]++;
	else if (unlikely(!tables->cacheable || cfp_hand_changed ||
					  pg_atomic_read_u32(&reader->db->hand_changes) != 0))
		cfp_counts.table_reads[CFP_READ_HAND_CHANGE]++;
	else if (unlikely(!cfp_view_make(&reader->view, reader->snapshot)))
		cfp_counts.table_reads[CFP_READ_OTHER]++;
	else
		reader->cached = true;
}

/*
 * The collection, loaded and locked in the given mode, if the reader's
 * snapshot may use it; else NULL (the tables must be read).  Counts a hit or
 * a miss, and the reason for NULL.
 */
static CfpCollection *
open_for_read(Reader *reader, const CfpCollectionName *name, uint64 hash, LWLockMode mode)
{
	CfpTableRead reason = CFP_READ_BYPASSED;
	bool		loaded = false;

	for (int tries = 0; tries < MAX_TRIES; tries++)
	{
		CfpCollection *col;
		uint64		generation;
		TimestampTz uncacheable_until;
		CfpCollectionState state;

		col = cfp_directory_find(name, hash, reader->history, true, &generation);
		if (unlikely(col == NULL))
			break;
		LWLockAcquire(&col->lock, mode);
		if (unlikely(!cfp_collection_is(col, generation, name)))
		{
			LWLockRelease(&col->lock);
			cfp_directory_forget(hash);
			continue;
		}
		if (likely(col->state == CFP_COLLECTION_LOADED &&
				   col->db_generation == pg_atomic_read_u64(&reader->db->generation)))
		{
			if (likely(cfp_view_may_use(&reader->view, col)))
			{
				TimestampTz now = GetCurrentStatementStartTimestamp();

				/* The later batches of a collection count no more. */
				if (loaded)
					cfp_counts.misses++;
				else if (!reader->counted)
				{
					cfp_counts.hits++;
					cfp_count_hit(hash);
				}
				reader->counted = true;
				if (pg_atomic_read_u64(&col->last_use) + 10000 < (uint64) now)
					pg_atomic_write_u64(&col->last_use, (uint64) now);
				return col;
			}
			LWLockRelease(&col->lock);
			reason = CFP_READ_OLD_SNAPSHOT;
			break;
		}
		state = col->state;
		uncacheable_until = col->uncacheable_until;
		LWLockRelease(&col->lock);

		if (state == CFP_COLLECTION_BYPASSED ||
			uncacheable_until > GetCurrentStatementStartTimestamp() ||
			!load_collection(name, hash))
			break;
		loaded = true;
	}
	cfp_counts.misses++;
	cfp_counts.table_reads[reason]++;
	reader->cached = false;
	return NULL;
}

/* ---------- one item ---------- */

/*
 * A get spends most of its time waiting for memory: ask for the first lines
 * of the record at once, rather than for each when the copy comes to it.
 */
static inline void
prefetch_record(const CfpRecord *record)
{
	for (int i = 0; i < 7; i++)
		__builtin_prefetch((const char *) record + i * 64);
}

/*
 * What the snapshot sees of an item, own pending records not looked at: a
 * palloc'd record, or only its image.  NULL when there is none (with
 * image_only also when it is a tombstone).
 */
static inline void *
read_committed(const CfpItemName *name, bool image_only, uint64 *txid)
{
	Reader		reader;
	CfpRecord  *record;

	reader_init(&reader);
	if (likely(reader.cached))
	{
		uint64		hash = cfp_collection_hash(&name->in);
		uint32		item_hash = cfp_item_hash(name->item, name->item_len);
		CfpCollection *col = open_for_read(&reader, &name->in, hash, LW_SHARED);

		if (likely(col != NULL))
		{
			CfpItem    *item = cfp_item_find(col, item_hash, name->item, name->item_len);
			CfpNode    *node = item ? cfp_chain_visible(item, &reader.view) : NULL;

			if (likely(node != NULL))
			{
				void	   *copy = NULL;

				record = cfp_ptr(node->record);
				prefetch_record(record);
				if (!image_only)
				{
					copy = palloc(CFP_RECORD_BYTES(record));
					memcpy(copy, record, CFP_RECORD_BYTES(record));
					if (txid)
						*txid = U64FromFullTransactionId(node->writer);
				}
				else if (!CFP_RECORD_IS_TOMBSTONE(record))
				{
					Size		len = VARSIZE(CFP_RECORD_IMAGE(record));

					copy = palloc(len);
					memcpy(copy, CFP_RECORD_IMAGE(record), len);
				}
				LWLockRelease(&col->lock);
				return copy;
			}
			if (item == NULL || (item->flags & CFP_ITEM_PRUNED) == 0)
			{
				LWLockRelease(&col->lock);
				return NULL;
			}
			LWLockRelease(&col->lock);
			cfp_counts.table_reads[CFP_READ_PRUNED]++;
		}
	}

	record = cfp_table_read_item(reader.snapshot, name, txid);
	if (record == NULL || !image_only)
		return record;
	return CFP_RECORD_IS_TOMBSTONE(record) ? NULL : CFP_RECORD_IMAGE(record);
}

CfpRecord *
cfp_read_item(const CfpItemName *name, uint64 *txid)
{
	CfpRecord  *record = read_committed(name, false, txid);

	if (cfp_pending_any)
	{
		const CfpRecord *own = cfp_pending_find(name, CFP_UP_TO_NOW);

		if (own != NULL && (record == NULL || own->version > record->version))
		{
			record = palloc(CFP_RECORD_BYTES(own));
			memcpy(record, own, CFP_RECORD_BYTES(own));
			if (txid)
				*txid = U64FromFullTransactionId(GetTopFullTransactionId());
		}
	}
	return record;
}

Jsonb *
cfp_read_image(const CfpItemName *name)
{
	CfpRecord  *record;

	if (likely(!cfp_pending_any))
		return read_committed(name, true, NULL);
	record = cfp_read_item(name, NULL);
	return record == NULL || CFP_RECORD_IS_TOMBSTONE(record) ? NULL :
		CFP_RECORD_IMAGE(record);
}

/* ---------- a collection ---------- */

/*
 * What is read goes through here in order of item name: puts the own pending
 * records in and gives the rows to the caller.
 */
typedef struct Merge
{
	const CfpReadOptions *options;
	CfpRowCallback callback;	/* NULL: the rows go into the text */
	void	   *arg;
	CfpItemsText *text;
	MemoryContext caller_cxt;
	CfpPendingRow *own;
	int			nown;
	int			next_own;
	uint64		own_txid;
	int64		given;
	bool		stopped;		/* the caller has enough */
	StringInfoData json;		/* of one row that had none */
} Merge;

/* Add an item to the text; its JSON is not looked at when only the etag is wanted. */
static inline void
add_item(CfpItemsText *text, uint64 etag, const char *json, int len)
{
	StringInfo	buf = text->buf;

	if (buf != NULL)
	{
		enlargeStringInfo(buf, len + 2);
		if (text->nitems > 0)
		{
			memcpy(buf->data + buf->len, ", ", 2);
			buf->len += 2;
		}
		memcpy(buf->data + buf->len, json, len);
		buf->len += len;
		buf->data[buf->len] = '\0';
	}
	text->nitems++;
	text->etag += etag;
}

/* The row's JSON text; data NULL: not at hand. */
typedef struct RowText
{
	const char *data;
	int			len;
} RowText;

static const RowText no_text = {0};

static bool
give(Merge *merge, const CfpRow *row, RowText json)
{
	const CfpReadOptions *options = merge->options;
	MemoryContext old;

	if (CFP_RECORD_IS_TOMBSTONE(row->record) && !options->include_deleted)
		return true;
	if (merge->text != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		if (json.data == NULL && merge->text->buf != NULL)
		{
			resetStringInfo(&merge->json);
			cfp_record_append_json(&merge->json, row->item, row->item_len, row->record);
			json.data = merge->json.data;
			json.len = merge->json.len;
		}
		add_item(merge->text, cfp_record_etag(row->item, row->item_len, row->record),
				 json.data, json.len);
		return true;
	}
	merge->given++;
	old = MemoryContextSwitchTo(merge->caller_cxt);
	merge->stopped = !merge->callback(row, merge->arg) ||
		(options->max_items > 0 && merge->given >= options->max_items);
	MemoryContextSwitchTo(old);
	return !merge->stopped;
}

static bool
give_own(Merge *merge)
{
	CfpPendingRow *own = &merge->own[merge->next_own++];
	CfpRow		row = {
		.item = own->name.item,
		.item_len = own->name.item_len,
		.record = cfp_pending_record(own),
		.txid = merge->own_txid,
		.own = true
	};

	return give(merge, &row, no_text);
}

static bool
merge_row(Merge *merge, const CfpRow *row, RowText json)
{
	while (merge->next_own < merge->nown)
	{
		CfpPendingRow *own = &merge->own[merge->next_own];
		int			cmp = cfp_compare_names(own->name.item, own->name.item_len,
										row->item, row->item_len);

		if (cmp > 0)
			break;
		if (cmp == 0)
		{
			if (own->version > row->record->version)
				return give_own(merge);
			merge->next_own++;
			break;
		}
		if (!give_own(merge))
			return false;
	}
	return give(merge, row, json);
}

static bool
merge_table_row(const char *item, int item_len, const CfpRecord *record,
				uint64 txid, void *arg)
{
	CfpRow		row = {
		.item = item, .item_len = item_len, .record = record, .txid = txid
	};

	return merge_row(arg, &row, no_text);
}

/* A row copied out of the cache. */
typedef struct BatchRow
{
	CfpRow		row;			/* with a text at hand only the record's header */
	RowText		json;
	bool		pruned;			/* look in the tables */
	bool		make_json;		/* to be kept in the cache when made */
} BatchRow;

/*
 * Add items from the place `start` of the order array on whose texts the cache
 * has, until there is one without, or the batch or the buffer is full; returns
 * the place of the next, in *full whether that was why, and in *room what the
 * buffer must have free to go on: it does not grow under the lock.  Locking as
 * in copy_batch; cannot throw.
 */
static uint32
copy_texts(const Reader *reader, const CfpCollection *col, uint32 start,
		   CfpItemsText *text, bool *full, int *room)
{
	Size		bytes = 0;
	uint32		i;

	*full = false;
	*room = 0;
	for (i = start; i < col->nitems && !*full; i++)
	{
		const CfpItem *item = cfp_ptr(col->order[i]);
		const CfpNode *node = cfp_chain_visible(item, &reader->view);

		if (node == NULL && (item->flags & CFP_ITEM_PRUNED) == 0)
			continue;
		if (node == NULL)
			break;
		if (node->json != 0)
		{
			const CfpText *json = cfp_ptr(node->json);

			if (text->buf != NULL && text->buf->maxlen - text->buf->len < (int) json->len + 3)
			{
				*full = true;
				*room = json->len + 2;
				break;
			}
			add_item(text, json->etag, json->data, json->len);
			bytes += json->len;
		}
		else if (!CFP_RECORD_IS_TOMBSTONE((CfpRecord *) cfp_ptr(node->record)))
			break;
		*full = bytes > BATCH_BYTES || i - start == BATCH_ITEMS;
	}
	return i;
}

/* Note the item to go on with. */
static void
resume_at(StringInfo resume, const CfpItem *item)
{
	resetStringInfo(resume);
	appendBinaryStringInfo(resume, item->name, item->name_len);
}

/*
 * Copy rows from the place `start` of the order array on, until the batch is
 * full or the range ends; returns how many, and in *end whether that was all,
 * else in resume the name to go on with.  With texts, those at hand are copied
 * instead of records.  The caller holds the collection's lock; the order is
 * sorted.
 */
static int
copy_batch(const Reader *reader, const CfpCollection *col, uint32 start,
		   const CfpReadOptions *options, bool texts, BatchRow *rows, bool *end,
		   StringInfo resume)
{
	Size		bytes = 0;
	int			n = 0;

	*end = true;
	for (uint32 i = start; i < col->nitems; i++)
	{
		CfpItem    *item = cfp_ptr(col->order[i]);
		CfpNode    *node;
		CfpRecord  *record;
		CfpText    *json;
		BatchRow   *row;
		char	   *copy;
		Size		record_size;
		Size		json_size;

		if (options->range.to != NULL &&
			cfp_item_compare(item, options->range.to, options->range.to_len) > 0)
			break;
		if (n == BATCH_ROWS || bytes > BATCH_BYTES || i - start == BATCH_ITEMS)
		{
			resume_at(resume, item);
			*end = false;
			break;
		}
		node = cfp_chain_visible(item, &reader->view);
		if (node == NULL && (item->flags & CFP_ITEM_PRUNED) == 0)
			continue;

		/* One piece of memory a row: record, JSON text, name. */
		record = node ? cfp_ptr(node->record) : NULL;
		json = node && texts && node->json ? cfp_ptr(node->json) : NULL;
		record_size = record == NULL ? 0 : json ? CFP_RECORD_HEADER : CFP_RECORD_BYTES(record);
		json_size = json ? json->len : 0;
		copy = palloc(record_size + json_size + item->name_len);
		bytes += record_size + json_size;

		row = &rows[n++];
		memset(row, 0, sizeof(BatchRow));
		row->row.item = memcpy(copy + record_size + json_size, item->name, item->name_len);
		row->row.item_len = item->name_len;
		if (record == NULL)
		{
			row->pruned = true;
			continue;
		}
		row->row.record = memcpy(copy, record, record_size);
		row->row.txid = U64FromFullTransactionId(node->writer);
		if (json)
		{
			row->json.data = memcpy(copy + record_size, json->data, json_size);
			row->json.len = json_size;
		}
		else
			row->make_json = texts && !CFP_RECORD_IS_TOMBSTONE(record);
	}
	return n;
}

/* Make the JSON text of rows that have none, and keep it in the cache. */
static void
make_json(const CfpCollectionName *name, CfpCollection *col, uint64 generation,
		  BatchRow *rows, int n)
{
	bool		any = false;

	for (int i = 0; i < n; i++)
	{
		const CfpRow *row = &rows[i].row;
		StringInfoData buf;

		if (!rows[i].make_json)
			continue;
		initStringInfo(&buf);
		cfp_record_append_json(&buf, row->item, row->item_len, row->record);
		rows[i].json.data = buf.data;
		rows[i].json.len = buf.len;
		any = true;
	}
	if (!any)
		return;

	LWLockAcquire(&col->lock, LW_EXCLUSIVE);
	for (int i = 0; i < n && cfp_collection_is(col, generation, name); i++)
	{
		const CfpRow *row = &rows[i].row;
		const RowText *json = &rows[i].json;
		CfpItem    *item;
		CfpNode    *node = NULL;
		CfpText    *text;
		Size		size = offsetof(CfpText, data) + json->len;

		if (!rows[i].make_json)
			continue;
		item = cfp_item_find(col, cfp_item_hash(row->item, row->item_len),
							 row->item, row->item_len);
		for (CfpRef ref = item ? item->newest : 0; ref != 0; ref = node->next)
		{
			node = cfp_ptr(ref);
			if (node->version == row->record->version &&
				U64FromFullTransactionId(node->writer) == row->txid)
				break;
			if (node->next == 0)
			{
				node = NULL;
				break;
			}
		}
		if (node == NULL || node->json != 0)
			continue;
		text = cfp_arena_alloc(col, size, true);
		if (text == NULL)
			break;
		text->size = size;
		text->len = json->len;
		text->etag = cfp_record_etag(row->item, row->item_len, row->record);
		memcpy(text->data, json->data, json->len);
		node->json = cfp_ref(text);
	}
	LWLockRelease(&col->lock);
}

/*
 * Read through the cache, batch by batch; false when the rest must come from
 * the tables, with resume then set to where.
 */
static bool
read_batches(Reader *reader, const CfpCollectionName *name, Merge *merge,
			 StringInfo resume, MemoryContext batch_cxt)
{
	const CfpReadOptions *options = merge->options;
	uint64		hash = cfp_collection_hash(name);
	BatchRow   *rows = palloc(BATCH_ROWS * sizeof(BatchRow));
	bool		end = false;
	int			room = 0;

	while (!end)
	{
		CfpCollection *col;
		uint64		generation;
		uint32		start;
		bool		full = false;
		int			n = 0;
		MemoryContext old;

		CHECK_FOR_INTERRUPTS();
		if (room > 0)
			enlargeStringInfo(merge->text->buf, room);
		col = open_for_read(reader, name, hash, LW_SHARED);
		if (col != NULL && col->order_sorted < col->nitems)
		{
			LWLockRelease(&col->lock);
			col = open_for_read(reader, name, hash, LW_EXCLUSIVE);
			if (col != NULL)
				cfp_items_sort(col);
		}
		if (col == NULL)
			return false;
		generation = col->generation;

		old = MemoryContextSwitchTo(batch_cxt);
		start = resume->len == 0 && options->range.from == NULL ? 0 :
			cfp_items_before(col,
							 resume->len > 0 ? resume->data : options->range.from,
							 resume->len > 0 ? resume->len : options->range.from_len);
		if (merge->text != NULL && merge->nown == 0)
			start = copy_texts(reader, col, start, merge->text, &full, &room);
		end = start == col->nitems;
		if (full && !end)
			resume_at(resume, cfp_ptr(col->order[start]));
		else if (!end)
			n = copy_batch(reader, col, start, options, merge->text != NULL, rows,
						   &end, resume);
		LWLockRelease(&col->lock);
		if (merge->text != NULL)
			make_json(name, col, generation, rows, n);

		for (int i = 0; i < n; i++)
		{
			CfpRow	   *row = &rows[i].row;

			if (rows[i].pruned)
			{
				CfpItemName item = {
					.in = *name, .item = row->item, .item_len = row->item_len
				};

				cfp_counts.table_reads[CFP_READ_PRUNED]++;
				row->record = cfp_table_read_item(reader->snapshot, &item, &row->txid);
				if (row->record == NULL)
					continue;
			}
			if (!merge_row(merge, row, rows[i].json))
			{
				end = true;
				break;
			}
		}
		MemoryContextSwitchTo(old);
		MemoryContextReset(batch_cxt);
	}
	return true;
}

static bool
own_in_range(const CfpPendingRow *own, const CfpItemRange *range)
{
	return (range->from == NULL ||
			cfp_compare_names(own->name.item, own->name.item_len,
						  range->from, range->from_len) >= 0) &&
		(range->to == NULL ||
		 cfp_compare_names(own->name.item, own->name.item_len,
					   range->to, range->to_len) <= 0);
}

static void
read_collection(const CfpCollectionName *name, const CfpReadOptions *options,
				CfpRowCallback callback, void *arg, CfpItemsText *text)
{
	Reader		reader;
	Merge		merge = {
		.options = options, .callback = callback, .arg = arg, .text = text,
		.caller_cxt = CurrentMemoryContext
	};
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "cfp collection",
											  ALLOCSET_DEFAULT_SIZES);
	MemoryContext batch_cxt = AllocSetContextCreate(cxt, "cfp batch",
													ALLOCSET_DEFAULT_SIZES);
	StringInfoData resume;

	MemoryContextSwitchTo(cxt);
	initStringInfo(&resume);
	initStringInfo(&merge.json);
	if (cfp_pending_any)
	{
		int			n;

		merge.own = cfp_pending_collection(name, &n);
		for (int i = 0; i < n; i++)
		{
			if (own_in_range(&merge.own[i], &options->range))
				merge.own[merge.nown++] = merge.own[i];
		}
		merge.own_txid = U64FromFullTransactionId(GetTopFullTransactionId());
	}

	reader_init(&reader);
	if (!reader.cached || !read_batches(&reader, name, &merge, &resume, batch_cxt))
	{
		CfpItemRange range = options->range;

		if (resume.len > 0)
		{
			range.from = resume.data;
			range.from_len = resume.len;
		}
		cfp_table_read_collection(reader.snapshot, name, &range, merge_table_row, &merge);
	}
	while (!merge.stopped && merge.next_own < merge.nown)
		(void) give_own(&merge);
	MemoryContextSwitchTo(merge.caller_cxt);
	MemoryContextDelete(cxt);
}

void
cfp_read_collection(const CfpCollectionName *name, const CfpReadOptions *options,
					CfpRowCallback callback, void *arg)
{
	read_collection(name, options, callback, arg, NULL);
}

void
cfp_read_collection_text(const CfpCollectionName *name, CfpItemsText *text)
{
	const CfpReadOptions everything = {0};

	read_collection(name, &everything, NULL, NULL, text);
}

/* ---------- the collections of a key ---------- */

List *
cfp_read_collections(const char *key, int key_len)
{
	List	   *stored = cfp_table_collections(GetActiveSnapshot(), key, key_len);
	List	   *names = NIL;
	CfpPendingRow *own;
	int			nown = 0;
	int			nstored = list_length(stored);
	text	  **all;
	int			n = 0;
	ListCell   *lc;

	if (!cfp_pending_any)
		return stored;
	own = cfp_pending_all(key, key_len, CFP_UP_TO_NOW, &nown);
	all = palloc((nstored + nown) * sizeof(text *));
	foreach(lc, stored)
		all[n++] = lfirst(lc);
	for (int i = 0; i < nown; i++)
		all[n++] = cstring_to_text_with_len(own[i].name.in.collection,
											own[i].name.in.collection_len);
	qsort(all, n, sizeof(text *), cfp_compare_texts);
	for (int i = 0; i < n; i++)
	{
		if (i == 0 || cfp_compare_texts(&all[i - 1], &all[i]) != 0)
			names = lappend(names, all[i]);
	}
	return names;
}

/* ---------- warming and evicting ---------- */

int64
cfp_collection_warm(const CfpCollectionName *name)
{
	uint64		hash = cfp_collection_hash(name);
	Reader		reader;
	int64		nitems = -1;

	reader_init(&reader);
	if (!reader.cached)
		return -1;
	for (int tries = 0; tries < MAX_TRIES && nitems < 0; tries++)
	{
		uint64		generation;
		CfpCollection *col = cfp_directory_find(name, hash, reader.history, true,
												&generation);

		if (col == NULL)
			break;
		LWLockAcquire(&col->lock, LW_SHARED);
		if (!cfp_collection_is(col, generation, name))
			cfp_directory_forget(hash);
		else if (col->state == CFP_COLLECTION_LOADED &&
				 col->db_generation == pg_atomic_read_u64(&reader.db->generation))
			nitems = col->nitems - col->nempty;
		LWLockRelease(&col->lock);
		if (nitems < 0 && !load_collection(name, hash))
			break;
	}
	return nitems;
}

bool
cfp_collection_evict(const CfpCollectionName *name)
{
	uint64		hash = cfp_collection_hash(name);
	uint64		generation;
	CfpCollection *col;
	bool		was_cached;

	cfp_directory_forget(hash);
	col = cfp_directory_find(name, hash, cfp_tables()->history, false, &generation);
	if (col == NULL)
		return false;
	was_cached = col->state == CFP_COLLECTION_LOADED;
	return cfp_collection_drop(col, generation) && was_cached;
}

/* ---------- for storing ---------- */

CfpCollection *
cfp_collection_pin(const CfpCollectionName *name, uint64 hash, FullTransactionId writer)
{
	CfpDatabase *db = cfp_my_database();

	for (int tries = 0; tries < MAX_TRIES; tries++)
	{
		const CfpTables *tables = cfp_tables();
		CfpCollection *col;
		CfpPin	   *pin;
		uint64		generation;
		bool		load;

		if (!tables->cacheable || cfp_hand_changed ||
			pg_atomic_read_u32(&db->hand_changes) != 0)
			return NULL;
		col = cfp_directory_find(name, hash, tables->history, true, &generation);
		if (col == NULL)
			return NULL;
		LWLockAcquire(&col->lock, LW_EXCLUSIVE);
		if (!cfp_collection_is(col, generation, name))
		{
			LWLockRelease(&col->lock);
			cfp_directory_forget(hash);
			continue;
		}
		if (col->state == CFP_COLLECTION_LOADED &&
			col->db_generation == pg_atomic_read_u64(&db->generation))
		{
			pin = cfp_arena_alloc(col, sizeof(CfpPin), false);
			if (pin != NULL)
			{
				pin->writer = writer;
				pin->next = col->pins;
				col->pins = cfp_ref(pin);
				pg_atomic_write_u64(&col->last_use, GetCurrentStatementStartTimestamp());
				LWLockRelease(&col->lock);
				return col;
			}
			LWLockRelease(&col->lock);
			if (!cfp_make_room(LOAD_STEP, col))
				return NULL;
			continue;
		}
		load = col->state != CFP_COLLECTION_BYPASSED &&
			col->uncacheable_until <= GetCurrentStatementStartTimestamp();
		LWLockRelease(&col->lock);
		if (!load || !load_collection(name, hash))
			return NULL;
	}
	return NULL;
}

bool
cfp_collection_unpin(CfpCollection *col, FullTransactionId writer)
{
	CfpRef	   *link;

	Assert(LWLockHeldByMeInMode(&col->lock, LW_EXCLUSIVE));
	for (link = &col->pins; *link != 0;)
	{
		CfpPin	   *pin = cfp_ptr(*link);

		if (FullTransactionIdEquals(pin->writer, writer))
		{
			*link = pin->next;
			cfp_arena_free(col, pin, sizeof(CfpPin));
			break;
		}
		link = &pin->next;
	}
	/* Items that only rolled-back stores made are not worth keeping. */
	return col->pins == 0 &&
		(col->state == CFP_COLLECTION_BYPASSED ||
		 (col->nempty > 64 && col->nempty > col->nitems / 2));
}

void
cfp_collection_bypass(CfpCollection *col)
{
	LWLockAcquire(&col->lock, LW_EXCLUSIVE);
	Assert(col->pins != 0);
	if (col->state == CFP_COLLECTION_LOADED)
		col->state = CFP_COLLECTION_BYPASSED;
	LWLockRelease(&col->lock);
}

/* Another writer's transaction that has the collection pinned, or invalid. */
static TransactionId
other_pin(const CfpCollectionName *name, uint64 hash, Oid history, FullTransactionId writer)
{
	TransactionId xid = InvalidTransactionId;
	uint64		generation;
	CfpCollection *col;
	bool		drop = false;

	cfp_directory_forget(hash);
	col = cfp_directory_find(name, hash, history, false, &generation);
	if (col == NULL)
		return InvalidTransactionId;
	LWLockAcquire(&col->lock, LW_EXCLUSIVE);
	if (cfp_collection_is(col, generation, name) &&
		(col->state == CFP_COLLECTION_LOADED || col->state == CFP_COLLECTION_BYPASSED))
	{
		for (CfpRef ref = col->pins; ref != 0 && !TransactionIdIsValid(xid);)
		{
			CfpPin	   *pin = cfp_ptr(ref);

			if (!FullTransactionIdEquals(pin->writer, writer))
				xid = XidFromFullTransactionId(pin->writer);
			ref = pin->next;
		}
		if (col->pins != 0)
			col->state = CFP_COLLECTION_BYPASSED;
		else
			drop = true;
	}
	LWLockRelease(&col->lock);
	if (drop)
		(void) cfp_collection_drop(col, generation);
	return xid;
}

void
cfp_collection_table_mode(const CfpCollectionName *name, uint64 hash,
						  FullTransactionId writer)
{
	Oid			history = cfp_tables()->history;
	LOCKTAG		tag;
	TransactionId xid;
	ResourceOwner owner = CurrentResourceOwner;

	/* A rolled-back subtransaction shall not take it along. */
	CurrentResourceOwner = TopTransactionResourceOwner;
	set_lock_tag(&tag, history, hash, STORE_LOCK);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
	CurrentResourceOwner = owner;

	/* A load that began before us ends; none begins after. */
	set_lock_tag(&tag, history, hash, LOAD_LOCK);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
	LockRelease(&tag, ExclusiveLock, false);

	while (TransactionIdIsValid(xid = other_pin(name, hash, history, writer)))
		XactLockTableWait(xid, NULL, NULL, XLTW_None);
}
