/*-------------------------------------------------------------------------
 *
 * flush.c
 *		Flush: what was committed since the last one goes into storage_dirty
 *		and into the day files.
 *
 * Called by the worker only, so there is one flush at a time.
 *
 * One flush is one REPEATABLE READ transaction: all its steps, SPI included,
 * use one snapshot S.  The row 'dirty' of cfp_state holds the snapshot S0 of
 * the last flush.  New is what S sees and S0 did not (new_rows.c).  Then S is
 * saved.  A flush that finds nothing saves S only when S0 has become old.
 *
 * storage_dirty gets each item once.  The worker remembers, within bounds,
 * which items it has put there; whatever may make that untrue (a fold, an
 * error, a change by hand) makes it forget.  As long as it has known all of
 * them since storage_dirty was empty, no item that is new to it is looked for
 * there.  The items of a flush are inserted together and in order, so that one
 * goes into the index beside the one before.  A change by hand that S can see
 * has raised the database's generation or is still counted in hand_changes
 * by the time S has been taken; that is why both are read after it.
 *
 * Records committed between reading `committed` and taking S are flushed
 * uncounted; see database.c.
 *
 * Rows that a transaction of this cluster cannot have written (txid at or
 * above xmax(S), yet visible: restored from elsewhere without the triggers)
 * and a cursor of another cluster or database make the flush mark the
 * database to be reconciled (reconcile.c).
 *
 * The day files (day_files.c) have a cursor of their own, the row 'files'.
 * As a rule both cursors are the same snapshot, and one scan feeds both.  When
 * the files could not be written for a while theirs is older, and they get a
 * scan of their own, which so fills the gap.  Both cursors become S in the
 * transaction that writes storage_dirty; that of the files only if they have
 * all that S sees.
 *
 * Locks: the tables, as any reader and writer of rows.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/xid8.h"

#include "base/process.h"
#include "base/settings.h"
#include "cache/hash.h"
#include "files/day_files.h"
#include "record/record.h"
#include "shared/database.h"
#include "tables/floors.h"
#include "tables/new_rows.h"
#include "tables/scan.h"
#include "tables/state.h"
#include "tables/statement.h"
#include "tables/table_write.h"
#include "tables/tables.h"
#include "worker/flush.h"

#define KNOWN_MEMORY	(64 * 1024 * 1024)	/* for names of items in dirty */
#define CURSOR_AGE		10000	/* transactions after which S0 is old */
#define IDLE_FLUSH		200		/* ms without a commit before a flush */

/*
 * An item's three names: their lengths, then their bytes.
 */
typedef struct PackedName
{
	uint16		len[3];
	char		bytes[FLEXIBLE_ARRAY_MEMBER];
} PackedName;

static inline Size
packed_size(const PackedName *name)
{
	return offsetof(PackedName, bytes) + name->len[0] + name->len[1] + name->len[2];
}

typedef struct KnownItem
{
	const PackedName *name;
	uint32		hash;
	char		status;
} KnownItem;

static inline bool
packed_equal(const PackedName *a, const PackedName *b)
{
	Size		size = packed_size(a);

	return packed_size(b) == size && memcmp(a, b, size) == 0;
}

#define SH_PREFIX known
#define SH_ELEMENT_TYPE KnownItem
#define SH_KEY_TYPE const PackedName *
#define SH_KEY name
#define SH_HASH_KEY(tb, key) cfp_item_hash((const char *) (key), packed_size(key))
#define SH_EQUAL(tb, a, b) packed_equal(a, b)
#define SH_STORE_HASH
#define SH_GET_HASH(tb, a) (a)->hash
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

uint64		cfp_flushes = 0;

static MemoryContext known_context = NULL;
static known_hash *known = NULL;	/* NULL: nothing is known */
static bool known_are_all;		/* nothing else is in storage_dirty */
static uint64 known_generation;

/* The state of one flush. */
typedef struct Flush
{
	CfpTables	tables;
	CfpStateCursor dirty;		/* S0 */
	CfpStateCursor files;
	CfpDayFiles *day_files;
	bool		foreign_rows;
	uint64		new_xmax;		/* of S */
	int64		records;		/* new for storage_dirty */
	int32		version;		/* the highest among them */
	int64		inserted;		/* rows of storage_dirty */
	int			nbatch;			/* items to insert */
	int			max_batch;
	const PackedName **batch;	/* their names, of the known ones */
} Flush;

/*-------------------------------------------------------------------------
 * Items known to be in storage_dirty
 *-------------------------------------------------------------------------
 */

void
cfp_flush_forget(void)
{
	known = NULL;
	known_are_all = false;
	if (known_context != NULL)
		MemoryContextReset(known_context);
}

void
cfp_flush_all_folded(uint64 generation)
{
	cfp_flush_forget();
	known_generation = generation;
	known_are_all = true;
}

/* Nobody has inserted into storage_dirty since it was made or truncated. */
static bool
never_written(Oid relid)
{
	Relation	rel = table_open(relid, NoLock);
	BlockNumber blocks = RelationGetNumberOfBlocks(rel);

	table_close(rel, NoLock);
	return blocks == 0;
}

/* Make ready for a flush whose snapshot has been taken. */
static void
known_begin(CfpDatabase *db, Oid dirty)
{
	bool		changing = pg_atomic_read_u32(&db->hand_changes) > 0;
	uint64		generation;

	pg_read_barrier();
	generation = pg_atomic_read_u64(&db->generation);

	if (changing || generation != known_generation)
	{
		cfp_flush_forget();
		cfp_publish_dirty_items(-1);
	}
	known_generation = generation;

	if (known == NULL)
	{
		if (known_context == NULL)
			known_context = AllocSetContextCreate(TopMemoryContext, "cfp dirty items",
												  ALLOCSET_DEFAULT_SIZES);
		known = known_create(known_context, 1024, NULL);
		known_are_all = known_are_all || never_written(dirty);
	}
}

/* Remember the item; a copy of its name that stays, NULL when it was known. */
static const PackedName *
known_add(const PackedName *name)
{
	KnownItem  *item;
	PackedName *copy;
	bool		found;

	item = known_insert(known, name, &found);
	if (found)
		return NULL;
	copy = MemoryContextAlloc(known_context, packed_size(name));
	memcpy(copy, name, packed_size(name));
	item->name = copy;
	return copy;
}

/*-------------------------------------------------------------------------
 * One flush
 *-------------------------------------------------------------------------
 */

static bool
same_cursor(const CfpStateCursor *a, const CfpStateCursor *b)
{
	if (a->first || b->first || a->foreign || b->foreign)
		return a->first == b->first && a->foreign == b->foreign;
	return strcmp(a->snapshot, b->snapshot) == 0;
}

/* In the order of the primary key. */
static int
compare_packed(const void *a, const void *b)
{
	const PackedName *x = *(const PackedName *const *) a;
	const PackedName *y = *(const PackedName *const *) b;
	const char *from_x = x->bytes;
	const char *from_y = y->bytes;

	for (int i = 0; i < 3; i++)
	{
		int			cmp = memcmp(from_x, from_y, Min(x->len[i], y->len[i]));

		if (cmp != 0)
			return cmp;
		if (x->len[i] != y->len[i])
			return x->len[i] < y->len[i] ? -1 : 1;
		from_x += x->len[i];
		from_y += x->len[i];
	}
	return 0;
}

static void
unpack_name(Datum *names, const PackedName *name)
{
	const char *from = name->bytes;

	for (int i = 0; i < 3; i++)
	{
		names[i] = PointerGetDatum(cstring_to_text_with_len(from, name->len[i]));
		from += name->len[i];
	}
}

/*
 * Insert the batch of items into storage_dirty, but those that are there.
 * Nobody else inserts.
 */
static void
insert_batch(Flush *flush)
{
	static const bool nulls[3] = {0};
	CfpTableWriter *writer;
	TableScan	dirty;
	Snapshot	snapshot;
	MemoryContext name_context;
	MemoryContext old;

	if (flush->nbatch == 0)
		return;
	qsort(flush->batch, flush->nbatch, sizeof(PackedName *), compare_packed);
	/* S does not see what an earlier batch has inserted. */
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan_open(&dirty, flush->tables.dirty, flush->tables.dirty_pkey, snapshot, 3);
	writer = cfp_writer_begin(flush->tables.dirty, 1 << CMD_INSERT);
	name_context = AllocSetContextCreate(CurrentMemoryContext, "cfp flush name",
										 ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(name_context);
	for (int i = 0; i < flush->nbatch; i++)
	{
		Datum		names[3];

		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(name_context);
		unpack_name(names, flush->batch[i]);
		if (!known_are_all)
		{
			ScanKeyData keys[3];

			names_keys(keys, names);
			scan_start(&dirty, keys);
			if (scan_next(&dirty, ForwardScanDirection))
				continue;
		}
		cfp_writer_insert(writer, 3, names, nulls);
		flush->inserted++;
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(name_context);
	cfp_writer_end(writer);
	scan_close(&dirty);
	UnregisterSnapshot(snapshot);
	flush->nbatch = 0;
}

/* To be inserted; the name stays until the known ones are forgotten. */
static void
add_to_batch(Flush *flush, const PackedName *name)
{
	if (flush->nbatch == flush->max_batch)
	{
		flush->max_batch *= 2;
		flush->batch = repalloc_huge(flush->batch, flush->max_batch * sizeof(*flush->batch));
	}
	flush->batch[flush->nbatch++] = name;
	if (MemoryContextMemAllocated(known_context, true) > KNOWN_MEMORY)
	{
		insert_batch(flush);
		cfp_flush_forget();
		known = known_create(known_context, 1024, NULL);
	}
}

/* One new record: its item must be in storage_dirty. */
static void
note_record(Flush *flush, TupleTableSlot *slot, StringInfo name)
{
	const PackedName *added;

	flush->records++;
	slot_getsomeattrs(slot, CFP_COL_VERSION + 1);
	flush->version = Max(flush->version,
						 cfp_floor_of(DatumGetInt32(slot->tts_values[CFP_COL_VERSION])));

	resetStringInfo(name);
	enlargeStringInfo(name, offsetof(PackedName, bytes));
	name->len = offsetof(PackedName, bytes);
	for (int i = 0; i < 3; i++)
	{
		text	   *part = DatumGetTextPP(slot->tts_values[CFP_COL_KEY + i]);

		appendBinaryStringInfo(name, VARDATA_ANY(part), VARSIZE_ANY_EXHDR(part));
		((PackedName *) name->data)->len[i] = VARSIZE_ANY_EXHDR(part);
		if ((Pointer) part != DatumGetPointer(slot->tts_values[CFP_COL_KEY + i]))
			pfree(part);
	}
	added = known_add((PackedName *) name->data);
	if (added != NULL)
		add_to_batch(flush, added);
}

/* For whom a scan is. */
#define FOR_DIRTY	0x01
#define FOR_FILES	0x02

/* Note what S sees and the cursor's snapshot did not. */
static void
scan_new(Flush *flush, const CfpStateCursor *cursor, int whom)
{
	CfpNewTransactions transactions = {
		.xmax = cursor->xmax,
		.below = flush->new_xmax,
		.nxip = cursor->nxip,
		.xip = cursor->xip,
	};
	CfpNewRows *rows = cfp_new_rows_begin(flush->tables.history, flush->tables.history_txid,
										  &transactions);
	StringInfoData name;
	TupleTableSlot *slot;

	initStringInfo(&name);
	while ((slot = cfp_new_rows_next(rows)) != NULL)
	{
		if (whom & FOR_DIRTY)
			note_record(flush, slot, &name);
		if (whom & FOR_FILES)
			cfp_day_files_add(flush->day_files, slot);
	}
	pfree(name.data);
	cfp_new_rows_end(rows);
}

/*
 * Find what is new: put its items into storage_dirty, and give it to the day
 * files.  True when the files have got all that they miss.
 */
static bool
collect_new_records(Flush *flush)
{
	bool		together = same_cursor(&flush->dirty, &flush->files);
	bool		files;

	flush->day_files = cfp_day_files_begin();
	files = cfp_day_files_wanting(flush->day_files);
	flush->max_batch = 1024;
	flush->batch = palloc(flush->max_batch * sizeof(*flush->batch));

	flush->foreign_rows = cfp_sees_rows_from(flush->tables.history, flush->tables.history_txid,
											 flush->new_xmax);
	if (!flush->dirty.foreign)
		scan_new(flush, &flush->dirty, together ? FOR_DIRTY | FOR_FILES : FOR_DIRTY);
	if (!flush->files.foreign && !together && files)
		scan_new(flush, &flush->files, FOR_FILES);
	insert_batch(flush);
	return together || files;
}

/* The number of rows of storage_dirty that the active snapshot sees. */
int64
cfp_count_dirty(Oid relid)
{
	Relation	dirty = table_open(relid, AccessShareLock);
	TupleTableSlot *slot = table_slot_create(dirty, NULL);
	TableScanDesc scan = table_beginscan(dirty, GetActiveSnapshot(), 0, NULL);
	int64		rows = 0;

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		rows++;
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	table_close(dirty, NoLock);
	return rows;
}

/* Throws; has then done nothing. */
static int64
flush_once(CfpDatabase *db)
{
	Flush		flush = {0};
	int64		dirty_items;
	bool		all_files;
	bool		files_written;

	Assert(!IsTransactionState());
	cfp_worker_begin(true, false);
	/* As those of the history, its indexes stay what they are from here on. */
	LockRelationOid(cfp_tables()->dirty, AccessShareLock);
	flush.tables = *cfp_tables();
	known_begin(db, flush.tables.dirty);
	flush.new_xmax = cfp_state_read_cursor("dirty", &flush.dirty);
	(void) cfp_state_read_cursor("files", &flush.files);
	all_files = collect_new_records(&flush);
	if (flush.dirty.foreign || flush.foreign_rows)
		cfp_state_mark_reconcile();
	files_written = cfp_day_files_write(flush.day_files);

	/* Each cursor, unless it would only become younger. */
	if (flush.records > 0 || flush.dirty.first || flush.dirty.foreign ||
		flush.new_xmax - flush.dirty.xmax > CURSOR_AGE ||
		(files_written && (!same_cursor(&flush.dirty, &flush.files) ||
						   cfp_day_files_forgot(flush.day_files))))
	{
		cfp_state_save_dirty(flush.records, flush.version);
		if (files_written)
			cfp_day_files_save(flush.day_files, flush.records);
	}

	LWLockAcquire(&db->lock, LW_SHARED);
	dirty_items = db->dirty_items;
	LWLockRelease(&db->lock);
	if (dirty_items < 0)
		dirty_items = cfp_count_dirty(flush.tables.dirty);
	dirty_items += flush.inserted;
	cfp_worker_commit();

	cfp_publish_dirty_items(dirty_items);
	cfp_day_files_committed(flush.day_files, files_written, all_files, flush.records);
	return flush.records;
}

int64
cfp_flush_batch(void)
{
	CfpDatabase *db = cfp_my_database();
	uint64		oldest;
	uint64		committed;
	int64		records = 0;

	/* In this order; see the head of database.c. */
	oldest = pg_atomic_exchange_u64(&db->oldest_unflushed, 0);
	committed = pg_atomic_read_u64(&db->committed);

	PG_TRY();
	{
		records = flush_once(db);
	}
	PG_CATCH();
	{
		if (oldest != 0)
			pg_atomic_write_u64(&db->oldest_unflushed, oldest);
		cfp_flush_forget();
		cfp_day_files_failed();
		PG_RE_THROW();
	}
	PG_END_TRY();

	/* A full barrier, so that the worker looks at committed after it. */
	pg_atomic_exchange_u64(&db->flushed, committed);
	return records;
}

int64
cfp_flush_run(void)
{
	CfpDatabase *db = cfp_my_database();
	int64		records;

	cfp_publish_state(CFP_WORKER_FLUSHING);
	records = cfp_flush_batch();
	cfp_flushes++;
	LWLockAcquire(&db->lock, LW_EXCLUSIVE);
	db->last_flush = GetCurrentTimestamp();
	LWLockRelease(&db->lock);
	return records;
}

/*
 * A flush is due at the start, when cfp.batch_size records wait, when the
 * oldest has waited cfp.flush_interval, 200 ms after the last commit, and when
 * day files that could not be written are to be tried again.
 */
bool
cfp_flush_due(TimestampTz now, TimestampTz *next)
{
	static uint64 seen_committed = 0;
	static TimestampTz seen_at = 0;
	CfpDatabase *db = cfp_my_database();
	uint64		flushed = pg_atomic_read_u64(&db->flushed);
	uint64		committed = pg_atomic_read_u64(&db->committed);
	uint64		oldest = pg_atomic_read_u64(&db->oldest_unflushed);
	TimestampTz files_due = cfp_day_files_due(now);
	TimestampTz idle_due;
	TimestampTz oldest_due;

	if (files_due != 0)
	{
		if (files_due <= now)
			return true;
		*next = Min(*next, files_due);
	}
	if (cfp_flushes > 0 && committed == flushed)
		return false;
	if (cfp_flushes == 0 || committed - flushed >= (uint64) cfp_batch_size)
		return true;

	if (committed != seen_committed || seen_at > now)
	{
		seen_committed = committed;
		seen_at = now;
	}
	idle_due = TimestampTzPlusMilliseconds(seen_at, IDLE_FLUSH);
	oldest_due = oldest == 0 ? idle_due :
		TimestampTzPlusMilliseconds((TimestampTz) oldest, cfp_flush_interval);
	if (idle_due <= now || cfp_time_has_come(oldest_due, cfp_flush_interval, now))
		return true;
	*next = Min(*next, Min(idle_due, oldest_due));
	return false;
}

CfpPieceEnd
cfp_flush_piece(int64 *rows)
{
	*rows = cfp_flush_run();
	return CFP_PIECE_DONE;
}
