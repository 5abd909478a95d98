/*-------------------------------------------------------------------------
 *
 * given_up.c
 *		What changes by hand take from the storage tables.
 *
 * Called by the tables' triggers (gate.c), row by row and for a TRUNCATE, and
 * by a restore.  What goes is noted in two places:
 *
 *	- Its version stays taken (floors.c), if the item's newest record goes: of
 *	  a row of the history when that has no newer one, of a row of latest when
 *	  the history does not have its version, or a newer one.
 *	- The day files are told that it is not wanted back (forget.c).
 *
 * What comes by hand may be of an item that was pruned whole, and goes on above
 * what was pruned of the collection (cfp_floors_level()).
 *
 * Rows are gathered in memory, neighbours together, and written by the
 * (sub)transaction that gave them up, before it commits or when there are
 * many; so that is undone with it.
 *
 * A TRUNCATE shows no rows.  The highest version the last flush or
 * reconciliation has seen is in cfp_state; above it can be what was stored
 * since, which the index on txid finds, and what has been changed by hand
 * since: then the table is looked through.
 *
 * The tables may be in any state: a change by hand may be their repair.
 *
 * Locks: those of floors.c and forget.c.  For a row of latest ACCESS SHARE on
 * the history, if it can be had at once.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_collation_d.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/attempt.h"
#include "base/compat.h"
#include "base/process.h"
#include "record/record.h"
#include "tables/forget.h"
#include "tables/given_up.h"
#include "tables/new_rows.h"
#include "tables/state.h"
#include "tables/tables.h"

/* So many notes are gathered before they are written. */
#define MIN_NOTES			1024

/*
 * A collection's floor; the lowest version that came to it; or, with an item,
 * versions that are not wanted back.
 */
typedef struct Note
{
	text	   *names[3];		/* key NULL: of all; item NULL: of a
								 * collection */
	int32		from_version;	/* of an item, or what came */
	int32		version;		/* of an item, or a floor */
	int			nesting;		/* of the (sub)transaction that noted it */
} Note;

/*
 * In order of time.  A subtransaction's notes have gone when it ends: so the
 * nesting never falls, and the current one's are at the end.
 */
typedef struct Notes
{
	Note	   *notes;
	int			n;
	int			size;
} Notes;

static Notes floors;
static Notes items;
static Notes arrivals;
static MemoryContext notes_cxt = NULL;	/* of the names */

/* See cfp_given_up_unseen(); to the end of the transaction. */
static bool unseen = false;

/*-------------------------------------------------------------------------
 * Notes
 *-------------------------------------------------------------------------
 */

static int
compare_notes(const void *a, const void *b)
{
	const Note *x = a;
	const Note *y = b;
	int			cmp = 0;

	for (int i = 0; i < 3 && cmp == 0; i++)
	{
		if (x->names[i] == NULL || y->names[i] == NULL)
			return (y->names[i] == NULL) - (x->names[i] == NULL);
		cmp = cfp_compare_texts(&x->names[i], &y->names[i]);
	}
	return cmp;
}

/* Forget the notes from the nesting level on.  Allocates nothing, cannot throw. */
static void
forget_notes(Notes *list, int nesting)
{
	while (list->n > 0 && list->notes[list->n - 1].nesting >= nesting)
	{
		Note	   *note = &list->notes[--list->n];

		for (int i = 0; i < 3; i++)
		{
			if (note->names[i] != NULL)
				pfree(note->names[i]);
		}
	}
}

/* The first of the current (sub)transaction's notes. */
static int
first_note(const Notes *list)
{
	int			nesting = GetCurrentTransactionNestLevel();
	int			first = list->n;

	Assert(list->n == 0 || list->notes[list->n - 1].nesting <= nesting);

	while (first > 0 && list->notes[first - 1].nesting == nesting)
		first--;
	return first;
}

static void
save_floors(void)
{
	int			first = first_note(&floors);

	if (first == floors.n)
		return;
	qsort(floors.notes + first, floors.n - first, sizeof(Note), compare_notes);
	for (int i = first; i < floors.n; i++)
	{
		Note	   *note = &floors.notes[i];
		CfpFloors	raised = {0};

		for (; i + 1 < floors.n && compare_notes(note, note + 1) == 0; i++, note++)
			note[1].version = Max(note[0].version, note[1].version);
		raised.all_items = note->version;
		cfp_floors_raise(note->names[0], note->names[1], &raised);
	}
	forget_notes(&floors, GetCurrentTransactionNestLevel());
}

static void
save_items(void)
{
	int			first = first_note(&items);
	CfpTableWriter *writer;

	if (first == items.n)
		return;
	writer = cfp_forget_begin();
	for (int i = first; i < items.n; i++)
	{
		Note	   *note = &items.notes[i];
		CfpItemName name = {
			.in.key = VARDATA(note->names[0]),
			.in.key_len = VARSIZE(note->names[0]) - VARHDRSZ,
			.in.collection = VARDATA(note->names[1]),
			.in.collection_len = VARSIZE(note->names[1]) - VARHDRSZ,
			.item = VARDATA(note->names[2]),
			.item_len = VARSIZE(note->names[2]) - VARHDRSZ
		};

		cfp_forget_item(writer, &name, note->from_version, note->version);
	}
	cfp_forget_end(writer);
	forget_notes(&items, GetCurrentTransactionNestLevel());
}

static void
save_arrivals(void)
{
	int			first = first_note(&arrivals);

	if (first == arrivals.n)
		return;
	qsort(arrivals.notes + first, arrivals.n - first, sizeof(Note), compare_notes);
	for (int i = first; i < arrivals.n; i++)
	{
		Note	   *note = &arrivals.notes[i];

		for (; i + 1 < arrivals.n && compare_notes(note, note + 1) == 0; i++, note++)
			note[1].from_version = Min(note[0].from_version, note[1].from_version);
		cfp_floors_level(note->names[0], note->names[1], note->from_version);
	}
	forget_notes(&arrivals, GetCurrentTransactionNestLevel());
}

void
cfp_given_up_save(void)
{
	save_floors();
	save_arrivals();
	save_items();
}

/* Add a note; the names are copied. */
static void
push_note(Notes *list, void (*save) (void), const Note *note)
{
	Note	   *new;
	MemoryContext old;

	if (list->n == list->size)
	{
		save();
		/* Those of outer transactions stay. */
		if (list->n >= list->size / 2)
		{
			int			size = Max(MIN_NOTES, list->size * 2);

			list->notes = list->notes ? repalloc_huge(list->notes, size * sizeof(Note)) :
				MemoryContextAlloc(TopMemoryContext, size * sizeof(Note));
			list->size = size;
		}
	}
	if (notes_cxt == NULL)
		notes_cxt = AllocSetContextCreate(TopMemoryContext, "cfp given up",
										  ALLOCSET_SMALL_SIZES);
	Assert(list->n < list->size);
	Assert(list->n == 0 || list->notes[list->n - 1].nesting <= note->nesting);
	new = &list->notes[list->n];
	*new = *note;
	old = MemoryContextSwitchTo(notes_cxt);
	for (int i = 0; i < 3; i++)
	{
		if (note->names[i] != NULL)
			new->names[i] = DatumGetTextPCopy(PointerGetDatum(note->names[i]));
	}
	MemoryContextSwitchTo(old);
	list->n++;
}

/* The last note, if it is of the same names and this (sub)transaction. */
static Note *
last_of_same(Notes *list, const Note *note)
{
	Note	   *last = list->n > 0 ? &list->notes[list->n - 1] : NULL;

	return last != NULL && last->nesting == note->nesting && compare_notes(last, note) == 0 ?
		last : NULL;
}

void
cfp_given_up_versions(const text *key, const text *collection, int32 version)
{
	Note		note = {
		.names = {unconstify(text *, key), unconstify(text *, collection), NULL},
		.version = cfp_floor_of(version),
		.nesting = GetCurrentTransactionNestLevel()
	};
	Note	   *last = last_of_same(&floors, &note);

	if (note.version <= 0)
		return;
	if (last != NULL)
		last->version = Max(last->version, note.version);
	else
		push_note(&floors, save_floors, &note);
}

/* Versions that are not wanted back from the day files. */
static void
note_item(text *const *names, int32 from_version, int32 version)
{
	Note		note = {
		.names = {names[0], names[1], names[2]},
		.from_version = from_version,
		.version = version,
		.nesting = GetCurrentTransactionNestLevel()
	};
	Note	   *last = last_of_same(&items, &note);

	Assert(names[0] != NULL && names[1] != NULL && names[2] != NULL);
	Assert(from_version <= version);

	if (last != NULL &&
		from_version <= (int64) last->version + 1 &&
		version >= (int64) last->from_version - 1)
	{
		last->from_version = Min(last->from_version, from_version);
		last->version = Max(last->version, version);
	}
	else
		push_note(&items, save_items, &note);
}

static bool
note_is_of(const Note *note, const CfpCollectionName *name)
{
	return note->names[0] == NULL ||
		(cfp_compare_names(VARDATA(note->names[0]), VARSIZE(note->names[0]) - VARHDRSZ,
						   name->key, name->key_len) == 0 &&
		 cfp_compare_names(VARDATA(note->names[1]), VARSIZE(note->names[1]) - VARHDRSZ,
						   name->collection, name->collection_len) == 0);
}

void
cfp_given_up_add(const CfpCollectionName *name, CfpFloors *result)
{
	for (int i = 0; i < floors.n; i++)
	{
		if (note_is_of(&floors.notes[i], name))
			result->all_items = Max(result->all_items, floors.notes[i].version);
	}
	result->new_items = Max(result->new_items, result->all_items);
	for (int i = 0; i < arrivals.n; i++)
	{
		if (note_is_of(&arrivals.notes[i], name) && arrivals.notes[i].from_version <= result->new_items)
			result->all_items = result->new_items;
	}
}

/*-------------------------------------------------------------------------
 * Rows
 *-------------------------------------------------------------------------
 */

static text *
row_name(Relation rel, HeapTuple row, int column)
{
	bool		isnull;

	return DatumGetTextPP(heap_getattr(row, column + 1, RelationGetDescr(rel), &isnull));
}

/*
 * Has the history the item at one of these versions, as of now, but for the
 * one that is no floor?  If its primary key, which a repair may have dropped,
 * is not there to tell: unknown.
 */
static bool
history_has(Relation history, HeapTuple row, int32 from_version, int32 version, bool unknown)
{
	static const AttrNumber columns[] = {
		CFP_COL_KEY + 1, CFP_COL_COLLECTION + 1, CFP_COL_ITEM + 1, CFP_COL_VERSION + 1
	};
	Oid			index_oid = cfp_primary_key_index(history);
	Relation	index;
	IndexScanDesc scan;
	ScanKeyData keys[5];
	TupleTableSlot *slot;
	bool		found;

	if (!OidIsValid(index_oid))
		return unknown;
	for (int i = 0; i < 3; i++)
	{
		ScanKeyInit(&keys[i], i + 1, BTEqualStrategyNumber, F_TEXTEQ,
					PointerGetDatum(row_name(history, row, CFP_COL_KEY + i)));
		keys[i].sk_collation = C_COLLATION_OID;
	}
	ScanKeyInit(&keys[3], 4, BTGreaterEqualStrategyNumber, F_INT4GE, Int32GetDatum(from_version));
	ScanKeyInit(&keys[4], 4, BTLessEqualStrategyNumber, F_INT4LE,
				Int32GetDatum(Min(version, PG_INT32_MAX - 1)));

	index = index_open(index_oid, AccessShareLock);
	if (index->rd_index->indnkeyatts != lengthof(columns) ||
		memcmp(index->rd_index->indkey.values, columns, sizeof(columns)) != 0)
	{
		index_close(index, AccessShareLock);
		return unknown;
	}
	PushActiveSnapshot(GetLatestSnapshot());
	slot = table_slot_create(history, NULL);
	scan = cfp_index_beginscan(history, index, GetActiveSnapshot(), lengthof(keys));
	index_rescan(scan, keys, lengthof(keys), NULL, 0);
	found = index_getnext_slot(scan, ForwardScanDirection, slot);
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	PopActiveSnapshot();
	index_close(index, NoLock);
	return found;
}

void
cfp_given_up_row(Relation rel, HeapTuple row, bool goes_on)
{
	bool		isnull;
	int32		version = DatumGetInt32(heap_getattr(row, CFP_COL_VERSION + 1,
													 RelationGetDescr(rel), &isnull));
	bool		is_history = strcmp(RelationGetRelationName(rel), "storage_history") == 0;
	bool		newer = goes_on;
	bool		older = true;
	text	   *names[3];

	if (is_history)
	{
		newer = newer || (version < PG_INT32_MAX &&
						  history_has(rel, row, version + 1, PG_INT32_MAX, false));
		older = version > PG_INT32_MIN &&
			history_has(rel, row, PG_INT32_MIN, version - 1, true);
	}
	else if (!newer)
	{
		Oid			history = cfp_table_oid("storage_history");

		/*
		 * Who has it locked against reading may wait for latest, which is
		 * ours: not waited for, the version is noted.
		 */
		if (OidIsValid(history) && ConditionalLockRelationOid(history, AccessShareLock))
		{
			Relation	other = table_open(history, NoLock);

			newer = history_has(other, row, version, PG_INT32_MAX, false);
			table_close(other, NoLock);
		}
	}
	for (int i = 0; i < 3; i++)
		names[i] = row_name(rel, row, CFP_COL_KEY + i);
	if (!newer)
		cfp_given_up_versions(names[0], names[1], version);
	/* With the first go those before it, which may have been pruned. */
	if (is_history || !newer)
		note_item(names, older ? version : PG_INT32_MIN, version);
}

void
cfp_given_up_comes(Relation rel, HeapTuple row)
{
	bool		isnull;
	Note		note = {
		.names = {row_name(rel, row, CFP_COL_KEY), row_name(rel, row, CFP_COL_COLLECTION), NULL},
		.nesting = GetCurrentTransactionNestLevel()
	};
	Note	   *last = last_of_same(&arrivals, &note);

	note.from_version = DatumGetInt32(heap_getattr(row, CFP_COL_VERSION + 1,
												   RelationGetDescr(rel), &isnull));
	if (last != NULL)
		last->from_version = Min(last->from_version, note.from_version);
	else
		push_note(&arrivals, save_arrivals, &note);
}

/*-------------------------------------------------------------------------
 * Whole tables
 *-------------------------------------------------------------------------
 */

void
cfp_given_up_unseen(void)
{
	unseen = true;
}

/* The highest version in the table, as the active snapshot sees it. */
static int32
highest_in_table(Relation rel)
{
	TableScanDesc scan = table_beginscan(rel, GetActiveSnapshot(), 0, NULL);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	int32		version = 0;

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		bool		isnull;

		CHECK_FOR_INTERRUPTS();
		version = Max(version,
					  cfp_floor_of(DatumGetInt32(slot_getattr(slot, CFP_COL_VERSION + 1, &isnull))));
	}
	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
	return version;
}

/* The highest version of the records that no flush has seen. */
static int32
highest_unflushed(void)
{
	CfpTables	tables = cfp_tables_locked();
	CfpCursor	cursor;
	CfpNewTransactions transactions = {0};
	CfpNewRows *rows;
	TupleTableSlot *slot;
	int32		version = 0;

	cfp_cursor_read(GetActiveSnapshot(), &cursor);
	transactions.xmax = cursor.seen.xmax;
	transactions.below = PG_UINT64_MAX;
	transactions.nxip = cursor.seen.nxip;
	transactions.xip = palloc(cursor.seen.nxip * sizeof(Datum));
	for (int i = 0; i < cursor.seen.nxip; i++)
		transactions.xip[i] = UInt64GetDatum(cursor.seen.xip[i]);
	rows = cfp_new_rows_begin(tables.history, tables.history_txid, &transactions);
	while ((slot = cfp_new_rows_next(rows)) != NULL)
	{
		bool		isnull;

		version = Max(version,
					  cfp_floor_of(DatumGetInt32(slot_getattr(slot, CFP_COL_VERSION + 1, &isnull))));
	}
	cfp_new_rows_end(rows);
	return version;
}

/* The search for the versions that go with a table, and what it has found. */
typedef struct TableSearch
{
	Relation	rel;
	bool		whole;			/* not only what was not flushed */
	int32		version;		/* the highest */
} TableSearch;

static void
search_table(void *arg)
{
	TableSearch *search = arg;

	search->version = search->whole ? highest_in_table(search->rel) : highest_unflushed();
}

/*
 * A table may be truncated because it cannot be read any more: that does not
 * stop it.
 */
void
cfp_given_up_table(Relation rel)
{
	bool		is_history = strcmp(RelationGetRelationName(rel), "storage_history") == 0;
	TableSearch search = {.rel = rel,.whole = unseen};
	ErrorData  *error;
	int32		flushed;
	int32		version;

	if (is_history && !cfp_am_worker)
		cfp_forget_all();

	/* Reconciled, latest has no version that the history or a floor has not. */
	if (strcmp(RelationGetRelationName(rel), "storage_floors") == 0 ||
		(!is_history && !unseen))
		return;

	PushActiveSnapshot(GetLatestSnapshot());
	if (!cfp_state_flushed_version(GetActiveSnapshot(), &flushed))
		search.whole = true;
	error = cfp_attempt(search_table, &search);
	if (error != NULL)
		ereport(WARNING,
				(errmsg("could not read which versions go with table \"%s\": %s",
						RelationGetRelationName(rel), error->message),
				 errdetail("Those above %d may be given to other records.", flushed),
				 errhint("If you know a higher one, put it into all_items of the row of storage_floors whose key is NULL.")));
	PopActiveSnapshot();

	version = is_history ? Max(search.version, flushed) : search.version;
	if (version > 0)
		cfp_given_up_versions(NULL, NULL, version);
}

/*-------------------------------------------------------------------------
 * Transactions
 *-------------------------------------------------------------------------
 */

static void
xact_callback(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_PREPARE || event == XACT_EVENT_ABORT)
	{
		forget_notes(&floors, 1);
		forget_notes(&arrivals, 1);
		forget_notes(&items, 1);
		unseen = false;
	}
}

static void
subxact_callback(SubXactEvent event, SubTransactionId mySubid,
				 SubTransactionId parentSubid, void *arg)
{
	int			nesting = GetCurrentTransactionNestLevel();

	if (event == SUBXACT_EVENT_PRE_COMMIT_SUB)
		cfp_given_up_save();
	else if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		forget_notes(&floors, nesting);
		forget_notes(&arrivals, nesting);
		forget_notes(&items, nesting);
	}
}

void
cfp_given_up_init(void)
{
	RegisterXactCallback(xact_callback, NULL);
	RegisterSubXactCallback(subxact_callback, NULL);
}
