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
 * error, a change by hand) makes it forget.  A change by hand that S can see
 * has raised the database's generation or is still counted in hand_changes
 * by the time S has been taken; that is why both are read after it.
 *
 * Records committed between reading `committed` and taking S are flushed
 * uncounted; see database.c.
 *
 * Rows that a transaction of this cluster cannot have written (txid at or
 * above xmax(S), yet visible: restored from elsewhere without the triggers)
 * and a cursor of another cluster or database make the flush mark the
 * database to be reconciled.  Reconciling gives such rows the frozen txid,
 * puts every item into storage_dirty whose newest record in the history is
 * ahead of that in storage_latest, or differs from it at the same version,
 * and clears the mark unless somebody raised it meanwhile: then the DELETE of
 * the mark fails, and all of it is done again later.
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
#include "cfp.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/xid8.h"

#include "backup.h"
#include "compat.h"
#include "day_files.h"
#include "latest.h"
#include "new_rows.h"
#include "record.h"
#include "settings.h"
#include "tables.h"
#include "worker.h"

#define KNOWN_MEMORY	(64 * 1024 * 1024)	/* for names of items in dirty */
#define INSERT_BATCH	10000	/* items in one INSERT */
#define CURSOR_AGE		10000	/* transactions after which S0 is old */

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
#define SH_HASH_KEY(tb, key) hash_bytes((const unsigned char *) (key), packed_size(key))
#define SH_EQUAL(tb, a, b) packed_equal(a, b)
#define SH_STORE_HASH
#define SH_GET_HASH(tb, a) (a)->hash
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

static MemoryContext known_context = NULL;
static known_hash *known = NULL;	/* NULL: nothing is known */
static uint64 known_generation;

/* A row of cfp_state that says what has been seen: S0. */
typedef struct Cursor
{
	bool		first;			/* there is none */
	bool		foreign;		/* it is of another cluster or database */
	char	   *snapshot;		/* as text */
	uint64		xmax;
	int			nxip;			/* those that ran at S0 and have ended by S */
	Datum	   *xip;
} Cursor;

/* The state of one flush. */
typedef struct Flush
{
	CfpTables	tables;
	Cursor		dirty;
	Cursor		files;
	bool		foreign_rows;
	uint64		new_xmax;		/* of S */
	int64		records;		/* new for storage_dirty */
	int64		inserted;		/* rows of storage_dirty */
	MemoryContext batch_context;
	int			nbatch;
	Datum	   *batch[3];		/* the items' names */
} Flush;

static CfpStatement cursor_read = {
	.sql = "SELECT c.name IS NOT NULL, c.system_identifier, c.database_oid, c.snapshot::text,"
	" pg_snapshot_xmax(c.snapshot), pg_snapshot_xmax(s.now),"
	" ARRAY(SELECT x FROM pg_snapshot_xip(c.snapshot) x WHERE pg_visible_in_snapshot(x, s.now))"
	" FROM (SELECT pg_current_snapshot() AS now) s"
	" LEFT JOIN @schema@.cfp_state c ON c.name = $1",
	.nargs = 1,
	.argtypes = {TEXTOID},
};

static CfpStatement cursor_save = {
	.sql = "INSERT INTO @schema@.cfp_state AS c"
	" (name, system_identifier, database_oid, snapshot, counter, at)"
	" VALUES ('dirty', $1, $2, pg_current_snapshot(), $3, now())"
	" ON CONFLICT (name) DO UPDATE SET system_identifier = excluded.system_identifier,"
	" database_oid = excluded.database_oid, snapshot = excluded.snapshot,"
	" counter = coalesce(c.counter, 0) + excluded.counter, at = excluded.at",
	.nargs = 3,
	.argtypes = {INT8OID, OIDOID, INT8OID},
};

static CfpStatement dirty_insert = {
	.sql = "INSERT INTO @schema@.storage_dirty (key, collection_name, item_name)"
	" SELECT k, c, i FROM unnest($1, $2, $3) AS u(k, c, i) ON CONFLICT DO NOTHING",
	.nargs = 3,
	.argtypes = {TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID},
};

static CfpStatement dirty_count = {
	.sql = "SELECT count(*) FROM @schema@.storage_dirty",
};

static CfpStatement mark_set = {
	.sql = "INSERT INTO @schema@.cfp_state (name, counter, at) VALUES ('reconcile', 1, now())"
	" ON CONFLICT (name) DO NOTHING",
};

static CfpStatement mark_read = {
	.sql = "SELECT counter FROM @schema@.cfp_state WHERE name = 'reconcile'",
};

static CfpStatement mark_clear = {
	.sql = "DELETE FROM @schema@.cfp_state WHERE name = 'reconcile'",
};

static CfpStatement history_freeze = {
	.sql = "UPDATE @schema@.storage_history SET txid = '2'"
	" WHERE txid >= pg_snapshot_xmax(pg_current_snapshot())",
};

static CfpStatement latest_freeze = {
	.sql = "UPDATE @schema@.storage_latest SET txid = '2'"
	" WHERE txid >= pg_snapshot_xmax(pg_current_snapshot())",
};

/*
 * Both sides in the order of their primary keys: an index scan each and a
 * merge, whatever their sizes.  At the same version the history is right.
 * Nobody else writes storage_dirty, so what the snapshot does not see there is
 * not there: a plain insert, several times as fast as ON CONFLICT.
 */
static CfpStatement dirty_complete = {
	.sql = "INSERT INTO @schema@.storage_dirty (key, collection_name, item_name)"
	" SELECT h.key, h.collection_name, h.item_name"
	" FROM (SELECT DISTINCT ON (key, collection_name, item_name) *"
	"  FROM @schema@.storage_history"
	"  ORDER BY key, collection_name, item_name, version DESC) h"
	" LEFT JOIN @schema@.storage_latest l"
	"  ON l.key = h.key AND l.collection_name = h.collection_name AND l.item_name = h.item_name"
	" LEFT JOIN @schema@.storage_dirty d"
	"  ON d.key = h.key AND d.collection_name = h.collection_name AND d.item_name = h.item_name"
	" WHERE d.key IS NULL AND " CFP_LATEST_BEHIND("l", "h"),
};

/*-------------------------------------------------------------------------
 * Items known to be in storage_dirty
 *-------------------------------------------------------------------------
 */

void
cfp_flush_forget(void)
{
	known = NULL;
	if (known_context != NULL)
		MemoryContextReset(known_context);
}

/* Make ready for a flush whose snapshot has been taken. */
static void
known_begin(CfpDatabase *db)
{
	bool		changing = pg_atomic_read_u32(&db->hand_changes) > 0;
	uint64		generation;

	pg_read_barrier();
	generation = pg_atomic_read_u64(&db->generation);

	if (changing || generation != known_generation)
	{
		cfp_flush_forget();
		cfp_worker_dirty_items(-1);
	}
	known_generation = generation;

	if (known == NULL)
	{
		if (known_context == NULL)
			known_context = AllocSetContextCreate(TopMemoryContext, "cfp dirty items",
												  ALLOCSET_DEFAULT_SIZES);
		known = known_create(known_context, 1024, NULL);
	}
}

/* Remember the item; true when it was not known. */
static bool
known_add(const PackedName *name)
{
	KnownItem  *item;
	PackedName *copy;
	bool		found;

	item = known_insert(known, name, &found);
	if (found)
		return false;
	copy = MemoryContextAlloc(known_context, packed_size(name));
	memcpy(copy, name, packed_size(name));
	item->name = copy;
	return true;
}

/*-------------------------------------------------------------------------
 * One flush
 *-------------------------------------------------------------------------
 */

/* Fill in what a cursor says; returns xmax(S). */
static uint64
read_cursor(const char *name, Cursor *cursor)
{
	Datum		argument = CStringGetTextDatum(name);
	Datum		value;
	bool		isnull;
	int64		system_identifier;
	Oid			database_oid;
	uint64		new_xmax;

	cfp_statement_run(&cursor_read, &argument, NULL);
	cursor->first = !DatumGetBool(cfp_statement_value(1, &isnull));
	new_xmax = DatumGetUInt64(cfp_statement_value(6, &isnull));
	cursor->xmax = FirstNormalTransactionId;
	if (cursor->first)
		return new_xmax;

	system_identifier = DatumGetInt64(cfp_statement_value(2, &isnull));
	database_oid = DatumGetObjectId(cfp_statement_value(3, &isnull));
	value = cfp_statement_value(5, &isnull);
	if (isnull || (uint64) system_identifier != GetSystemIdentifier() ||
		database_oid != MyDatabaseId)
	{
		cursor->foreign = true;
		return new_xmax;
	}
	cursor->xmax = DatumGetUInt64(value);
	cursor->snapshot = TextDatumGetCString(cfp_statement_value(4, &isnull));
	deconstruct_array(DatumGetArrayTypeP(cfp_statement_value(7, &isnull)),
					  XID8OID, sizeof(uint64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE,
					  &cursor->xip, NULL, &cursor->nxip);
	return new_xmax;
}

static bool
same_cursor(const Cursor *a, const Cursor *b)
{
	if (a->first || b->first || a->foreign || b->foreign)
		return a->first == b->first && a->foreign == b->foreign;
	return strcmp(a->snapshot, b->snapshot) == 0;
}

/* Insert the batch of items into storage_dirty. */
static void
insert_batch(Flush *flush)
{
	Datum		values[3];

	if (flush->nbatch == 0)
		return;
	for (int i = 0; i < 3; i++)
		values[i] = PointerGetDatum(construct_array(flush->batch[i], flush->nbatch,
													TEXTOID, -1, false, TYPALIGN_INT));
	flush->inserted += cfp_statement_run(&dirty_insert, values, NULL);
	SPI_freetuptable(SPI_tuptable);
	for (int i = 0; i < 3; i++)
		pfree(DatumGetPointer(values[i]));

	flush->nbatch = 0;
	MemoryContextReset(flush->batch_context);
	if (MemoryContextMemAllocated(known_context, true) > KNOWN_MEMORY)
	{
		cfp_flush_forget();
		known = known_create(known_context, 1024, NULL);
	}
}

/* One new record: its item must be in storage_dirty. */
static void
note_record(Flush *flush, TupleTableSlot *slot, StringInfo name)
{
	PackedName *packed;
	const char *from;
	MemoryContext old;

	flush->records++;
	slot_getsomeattrs(slot, CFP_COL_ITEM + 1);

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
	packed = (PackedName *) name->data;
	if (!known_add(packed))
		return;

	old = MemoryContextSwitchTo(flush->batch_context);
	from = packed->bytes;
	for (int i = 0; i < 3; i++)
	{
		flush->batch[i][flush->nbatch] =
			PointerGetDatum(cstring_to_text_with_len(from, packed->len[i]));
		from += packed->len[i];
	}
	MemoryContextSwitchTo(old);
	if (++flush->nbatch == INSERT_BATCH)
		insert_batch(flush);
}

/* For whom a scan is. */
#define FOR_DIRTY	0x01
#define FOR_FILES	0x02

/* Note what S sees and the cursor's snapshot did not. */
static void
scan_new(Flush *flush, const Cursor *cursor, int whom)
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
			cfp_day_files_add(slot);
	}
	pfree(name.data);
	cfp_new_rows_end(rows);
}

/* Does S see a row with a txid that it can't have seen end? */
static bool
sees_foreign_rows(const Flush *flush)
{
	Relation	history = table_open(flush->tables.history, AccessShareLock);
	Relation	index = index_open(flush->tables.history_txid, AccessShareLock);
	TupleTableSlot *slot = table_slot_create(history, NULL);
	IndexScanDesc scan = cfp_index_beginscan(history, index, GetActiveSnapshot(), 1);
	ScanKeyData key;
	bool		found;

	ScanKeyInit(&key, 1, BTGreaterEqualStrategyNumber, F_XID8GE,
				UInt64GetDatum(flush->new_xmax));
	index_rescan(scan, &key, 1, NULL, 0);
	found = index_getnext_slot(scan, ForwardScanDirection, slot);
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, NoLock);
	table_close(history, NoLock);
	return found;
}

/*
 * Find what is new: put its items into storage_dirty, and give it to the day
 * files.  True when the files have got all that they miss.
 */
static bool
collect(Flush *flush)
{
	bool		together = same_cursor(&flush->dirty, &flush->files);
	bool		files = cfp_day_files_begin() || !cfp_day_files_counted();

	flush->batch_context = AllocSetContextCreate(CurrentMemoryContext, "cfp flush batch",
												 ALLOCSET_DEFAULT_SIZES);
	for (int i = 0; i < 3; i++)
		flush->batch[i] = palloc(sizeof(Datum) * INSERT_BATCH);

	LockRelationOid(flush->tables.history, AccessShareLock);
	flush->foreign_rows = sees_foreign_rows(flush);
	if (!flush->dirty.foreign)
		scan_new(flush, &flush->dirty, together ? FOR_DIRTY | FOR_FILES : FOR_DIRTY);
	if (!flush->files.foreign && !together && files)
		scan_new(flush, &flush->files, FOR_FILES);
	insert_batch(flush);
	return together || files;
}

/* The number of rows of storage_dirty. */
static int64
count_dirty(void)
{
	bool		isnull;

	cfp_statement_run(&dirty_count, NULL, NULL);
	return DatumGetInt64(cfp_statement_value(1, &isnull));
}

static void
save_cursor(const Flush *flush)
{
	Datum		values[3];

	values[0] = Int64GetDatum((int64) GetSystemIdentifier());
	values[1] = ObjectIdGetDatum(MyDatabaseId);
	values[2] = Int64GetDatum(flush->records);
	cfp_statement_run(&cursor_save, values, NULL);
}

/* Throws; has then done nothing. */
static int64
flush_once(CfpDatabase *db)
{
	Flush		flush = {0};
	int64		dirty_items;
	bool		all_files;
	bool		files_written;

	cfp_worker_begin(true, false);
	flush.tables = *cfp_tables();
	known_begin(db);
	flush.new_xmax = read_cursor("dirty", &flush.dirty);
	(void) read_cursor("files", &flush.files);
	all_files = collect(&flush);
	if (flush.dirty.foreign || flush.foreign_rows)
		cfp_statement_run(&mark_set, NULL, NULL);
	files_written = cfp_day_files_write();

	/* Each cursor, unless it would only become younger. */
	if (flush.records > 0 || flush.dirty.first || flush.dirty.foreign ||
		flush.new_xmax - flush.dirty.xmax > CURSOR_AGE ||
		(files_written && !same_cursor(&flush.dirty, &flush.files)))
	{
		save_cursor(&flush);
		if (files_written)
			cfp_day_files_save();
	}

	LWLockAcquire(&db->lock, LW_SHARED);
	dirty_items = db->dirty_items;
	LWLockRelease(&db->lock);
	if (dirty_items < 0)
		dirty_items = count_dirty();
	else
		dirty_items += flush.inserted;
	cfp_worker_commit();

	cfp_worker_dirty_items(dirty_items);
	cfp_day_files_committed(files_written, all_files, flush.records);
	return flush.records;
}

int64
cfp_flush_run(void)
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
		cfp_day_files_forget();
		PG_RE_THROW();
	}
	PG_END_TRY();

	/* A full barrier, so that the worker looks at committed after it. */
	pg_atomic_exchange_u64(&db->flushed, committed);
	return records;
}

/*-------------------------------------------------------------------------
 * Reconciling
 *-------------------------------------------------------------------------
 */

bool
cfp_reconcile_needed(int64 *counter)
{
	bool		found;
	bool		isnull;

	*counter = 0;
	cfp_worker_begin(false, false);
	found = cfp_statement_run(&mark_read, NULL, NULL) > 0;
	if (found)
		*counter = DatumGetInt64(cfp_statement_value(1, &isnull));
	cfp_worker_commit();
	return found;
}

void
cfp_reconcile_mark(void)
{
	cfp_worker_begin(false, false);
	cfp_statement_run(&mark_set, NULL, NULL);
	cfp_worker_commit();
}

void
cfp_reconcile_run(void)
{
	int64		dirty_items;

	cfp_flush_forget();
	cfp_worker_dirty_items(-1);

	cfp_worker_begin(true, true);
	/* First: a backup that ends meanwhile waits, and does not make this fail. */
	cfp_backup_break_chain();
	cfp_set_local("enable_mergejoin", "on");
	cfp_set_local("enable_nestloop", "off");
	cfp_statement_run(&history_freeze, NULL, NULL);
	cfp_statement_run(&latest_freeze, NULL, NULL);
	cfp_statement_run(&dirty_complete, NULL, NULL);
	cfp_statement_run(&mark_clear, NULL, NULL);
	dirty_items = count_dirty();
	cfp_worker_commit();
	cfp_worker_dirty_items(dirty_items);
}
