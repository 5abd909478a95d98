/*-------------------------------------------------------------------------
 *
 * scope.c
 *		Reading items one by one, of a collection, a key, or all.
 *
 * Called by what plans and runs queries over items.  A collection is read a page
 * at a time, through the cache where it is there, else from the tables: between
 * two pages nothing is held, and the snapshot sees to it that all are of one
 * moment.  The first page is small, for who wants but a few.
 *
 * Backward a collection is read the same way as long as the cache has it.  The
 * tables have but one direction: what must come from them is read to its end and
 * put aside, in memory or a temporary file.
 *
 * Locks: none between calls, but those of tables, to the end of the transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "read/collection.h"
#include "read/scope.h"
#include "store/own.h"
#include "tables/list_collections.h"
#include "tables/read_collection.h"

#include "catalog/pg_type_d.h"
#include "executor/executor.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"

/* Rows of a page: of the first, of the largest; and what it may hold. */
#define FIRST_PAGE	32
#define LAST_PAGE	4096
#define PAGE_BYTES	(1024 * 1024)

/* So many rows are asked for one by one before the rest of a collection is counted. */
#define COUNT_AFTER	FIRST_PAGE

struct CfpScopeScan
{
	CfpScope	scope;
	MemoryContext context;		/* of the scan */
	MemoryContext page_context;

	/* the collections of the scope */
	CfpCollections *stored;		/* NULL: the scope is one collection */
	CfpManyReads many;			/* of these */
	bool		have_stored;
	CfpCollectionName next_stored;
	CfpCollectionName *own;		/* sorted */
	int			nown;
	int			next_own;

	/* the collection that is read */
	bool		reading;
	bool		last_page;
	StringInfoData names;		/* its names */
	CfpCollectionName in;
	StringInfoData resume;		/* where the next page begins */
	bool		any_given;		/* backward: resume is the last item given */

	int			page_size;
	bool		full;			/* the page */
	Size		bytes;			/* of its records */
	int			nrows;
	int			next;
	CfpScopeRow *rows;
	int64		counted;		/* rows behind those, which have no names */

	/* what is put aside, to be read backward */
	Tuplestorestate *aside;		/* NULL: nothing is */
	TupleTableSlot *aside_slot;
	MemoryContext aside_context;	/* of the row that is put there */
	int64		naside;
};

static int
compare_collections(const void *a, const void *b)
{
	const CfpCollectionName *x = a;
	const CfpCollectionName *y = b;
	int			cmp = cfp_compare_names(x->key, x->key_len, y->key, y->key_len);

	return cmp != 0 ? cmp : cfp_compare_names(x->collection, x->collection_len,
											  y->collection, y->collection_len);
}

static const char *
copy_bytes(const char *bytes, int len)
{
	char	   *copy;

	if (bytes == NULL)
		return NULL;
	copy = palloc(len + 1);
	memcpy(copy, bytes, len);
	return copy;
}

/* The collections that this transaction has stored into, sorted. */
static void
find_own_collections(CfpScopeScan *scan)
{
	int			n = 0;
	CfpPendingRow *rows;

	if (!cfp_pending_any)
		return;
	rows = cfp_pending_all(scan->scope.has_key ? scan->scope.in.key : NULL,
						   scan->scope.in.key_len, scan->scope.command, &n);
	scan->own = palloc((n + 1) * sizeof(CfpCollectionName));
	for (int i = 0; i < n; i++)
	{
		scan->own[i] = rows[i].name.in;
		scan->own[i].key = copy_bytes(rows[i].name.in.key, rows[i].name.in.key_len);
		scan->own[i].collection = copy_bytes(rows[i].name.in.collection,
											 rows[i].name.in.collection_len);
	}
	if (n > 1)
		qsort(scan->own, n, sizeof(CfpCollectionName), compare_collections);
	for (int i = 0; i < n; i++)
	{
		if (i == 0 || compare_collections(&scan->own[scan->nown - 1], &scan->own[i]) != 0)
			scan->own[scan->nown++] = scan->own[i];
	}
}

CfpScopeScan *
cfp_scope_begin(const CfpScope *scope)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "cfp scope",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	CfpScopeScan *scan = palloc0(sizeof(CfpScopeScan));

	Assert(ActiveSnapshotSet());
	Assert(!scope->backward || (scope->has_key && scope->has_collection));

	scan->scope = *scope;
	scan->context = scan->many.context = context;
	scan->page_context = AllocSetContextCreate(context, "cfp scope page",
											   ALLOCSET_DEFAULT_SIZES);
	if (scope->has_key)
		scan->scope.in.key = copy_bytes(scope->in.key, scope->in.key_len);
	if (scope->has_collection)
		scan->scope.in.collection = copy_bytes(scope->in.collection, scope->in.collection_len);
	scan->scope.range.from = copy_bytes(scope->range.from, scope->range.from_len);
	scan->scope.range.to = copy_bytes(scope->range.to, scope->range.to_len);
	scan->page_size = FIRST_PAGE;
	initStringInfo(&scan->names);
	initStringInfo(&scan->resume);
	if (scope->has_key && scope->has_collection)
	{
		scan->in = scan->scope.in;
		scan->reading = true;
	}
	else
	{
		find_own_collections(scan);
		scan->stored = cfp_collections_begin(GetActiveSnapshot(),
											 scope->has_key ? scan->scope.in.key : NULL,
											 scope->in.key_len);
		scan->have_stored = cfp_collections_next(scan->stored, &scan->next_stored);
	}
	MemoryContextSwitchTo(old);
	return scan;
}

/* Turn to the next collection; false when there is none. */
static bool
turn_to_next(CfpScopeScan *scan)
{
	const CfpCollectionName *own = scan->next_own < scan->nown ? &scan->own[scan->next_own] : NULL;
	const CfpCollectionName *next;
	int			cmp;

	if (scan->stored == NULL || (!scan->have_stored && own == NULL))
		return false;
	cmp = !scan->have_stored ? 1 : own == NULL ? -1 :
		compare_collections(&scan->next_stored, own);
	next = cmp <= 0 ? &scan->next_stored : own;

	resetStringInfo(&scan->names);
	appendBinaryStringInfo(&scan->names, next->key, next->key_len);
	appendBinaryStringInfo(&scan->names, next->collection, next->collection_len);
	scan->in.key = scan->names.data;
	scan->in.key_len = next->key_len;
	scan->in.collection = scan->names.data + next->key_len;
	scan->in.collection_len = next->collection_len;

	if (cmp >= 0)
		scan->next_own++;
	if (cmp <= 0)
	{
		MemoryContext old = MemoryContextSwitchTo(scan->context);

		scan->have_stored = cfp_collections_next(scan->stored, &scan->next_stored);
		MemoryContextSwitchTo(old);
	}
	scan->any_given = false;
	scan->reading = true;
	scan->last_page = false;
	return true;
}

/* The same of those that the scope has. */
static bool
next_collection(CfpScopeScan *scan)
{
	const CfpCollectionName *wanted = &scan->scope.in;

	while (turn_to_next(scan))
	{
		if (!scan->scope.has_collection ||
			(scan->in.collection_len == wanted->collection_len &&
			 memcmp(scan->in.collection, wanted->collection, wanted->collection_len) == 0))
			return true;
		CHECK_FOR_INTERRUPTS();
	}
	return false;
}

/* Backward a page begins with the item that the one before it ended with. */
static bool
is_last_given(const CfpScopeScan *scan, const CfpRow *row)
{
	return scan->scope.backward && scan->any_given &&
		row->item_len == scan->resume.len &&
		memcmp(row->item, scan->resume.data, row->item_len) == 0;
}

static bool
collect_row(const CfpRow *row, void *arg)
{
	CfpScopeScan *scan = arg;
	CfpScopeRow *into;

	if (is_last_given(scan, row))
		return true;
	into = &scan->rows[scan->nrows++];
	into->name.in = scan->in;
	into->name.item = copy_bytes(row->item, row->item_len);
	into->name.item_len = row->item_len;
	into->record = NULL;
	into->txid = row->txid;
	if (!scan->scope.no_records)
	{
		into->record = cfp_record_copy(row->record);
		scan->bytes += CFP_RECORD_BYTES(row->record);
	}
	scan->full = scan->nrows == scan->page_size || scan->bytes >= PAGE_BYTES;
	return !scan->full;
}

/* ---------- what is put aside ---------- */

enum
{
	ASIDE_ITEM = 1,
	ASIDE_RECORD,
	ASIDE_TXID
};

static bool
put_aside(const CfpRow *row, void *arg)
{
	CfpScopeScan *scan = arg;
	Size		size = CFP_RECORD_BYTES(row->record);
	bytea	   *record;
	Datum		values[ASIDE_TXID];
	bool		nulls[ASIDE_TXID] = {false};
	MemoryContext old;

	CHECK_FOR_INTERRUPTS();
	if (is_last_given(scan, row))
		return true;
	old = MemoryContextSwitchTo(scan->aside_context);
	record = palloc(VARHDRSZ + size);
	SET_VARSIZE(record, VARHDRSZ + size);
	memcpy(VARDATA(record), row->record, size);
	values[ASIDE_ITEM - 1] = PointerGetDatum(cstring_to_text_with_len(row->item, row->item_len));
	values[ASIDE_RECORD - 1] = PointerGetDatum(record);
	values[ASIDE_TXID - 1] = UInt64GetDatum(row->txid);
	tuplestore_putvalues(scan->aside, scan->aside_slot->tts_tupleDescriptor, values, nulls);
	scan->naside++;
	MemoryContextSwitchTo(old);
	MemoryContextReset(scan->aside_context);
	return true;
}

/* Read what is left of a collection from its tables, to be given backward. */
static void
put_rest_aside(CfpScopeScan *scan)
{
	CfpReadOptions options = {
		.range = scan->scope.range,
		.has_command = true,
		.command = scan->scope.command,
		.again = true
	};
	MemoryContext old = MemoryContextSwitchTo(scan->context);
	TupleDesc	desc = CreateTemplateTupleDesc(ASIDE_TXID);

	TupleDescInitEntry(desc, ASIDE_ITEM, "item", TEXTOID, -1, 0);
	TupleDescInitEntry(desc, ASIDE_RECORD, "record", BYTEAOID, -1, 0);
	TupleDescInitEntry(desc, ASIDE_TXID, "txid", INT8OID, -1, 0);
	scan->aside_context = AllocSetContextCreate(scan->context, "cfp scope aside",
												ALLOCSET_DEFAULT_SIZES);
	scan->aside = tuplestore_begin_heap(true, false, work_mem);
	tuplestore_set_eflags(scan->aside, EXEC_FLAG_BACKWARD);
	scan->aside_slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	if (scan->any_given)
	{
		options.range.to = scan->resume.data;
		options.range.to_len = scan->resume.len;
	}
	(void) cfp_read_collection(&scan->in, &options, put_aside, scan);
	MemoryContextSwitchTo(old);
	(void) tuplestore_skiptuples(scan->aside, scan->naside + 1, true);
}

/* The row before those that have been taken; false when there is none. */
static bool
take_from_aside(CfpScopeScan *scan)
{
	TupleTableSlot *slot = scan->aside_slot;
	CfpScopeRow *row;
	text	   *item;
	bytea	   *record;
	bool		isnull;
	MemoryContext old;

	if (!tuplestore_gettupleslot(scan->aside, false, false, slot))
		return false;
	MemoryContextReset(scan->page_context);
	old = MemoryContextSwitchTo(scan->page_context);
	row = scan->rows = palloc0(sizeof(CfpScopeRow));
	item = DatumGetTextPP(slot_getattr(slot, ASIDE_ITEM, &isnull));
	record = DatumGetByteaPP(slot_getattr(slot, ASIDE_RECORD, &isnull));
	row->name.in = scan->in;
	row->name.item = copy_bytes(VARDATA_ANY(item), VARSIZE_ANY_EXHDR(item));
	row->name.item_len = VARSIZE_ANY_EXHDR(item);
	row->txid = DatumGetUInt64(slot_getattr(slot, ASIDE_TXID, &isnull));
	row->record = memcpy(palloc(VARSIZE_ANY_EXHDR(record)), VARDATA_ANY(record),
						 VARSIZE_ANY_EXHDR(record));
	scan->nrows = 1;
	scan->next = 0;
	MemoryContextSwitchTo(old);
	return true;
}

/* ---------- pages ---------- */

/* Where the page after this one begins. */
static void
set_resume(CfpScopeScan *scan)
{
	const CfpItemName *last = &scan->rows[scan->nrows - 1].name;

	resetStringInfo(&scan->resume);
	appendBinaryStringInfo(&scan->resume, last->item, last->item_len);
	scan->any_given = true;

	/* No name has a zero byte, so this is the least that comes after it. */
	if (!scan->scope.backward)
		appendStringInfoChar(&scan->resume, '\0');
}

/* Count what is left of the collection. */
static void
count_rest(CfpScopeScan *scan)
{
	CfpReadOptions options = {
		.range = scan->scope.range,
		.has_command = true,
		.command = scan->scope.command,
		.no_fill = !scan->scope.has_key || !scan->scope.has_collection,
		.no_records = true,
		.again = scan->any_given,
		.many = scan->stored != NULL ? &scan->many : NULL
	};

	if (scan->any_given)
	{
		options.range.from = scan->resume.data;
		options.range.from_len = scan->resume.len;
	}
	scan->counted = cfp_count_collection(&scan->in, &options);
	scan->last_page = true;
}

static void
read_page(CfpScopeScan *scan)
{
	CfpReadOptions options = {
		.range = scan->scope.range,
		.backward = scan->scope.backward,
		.max_items = scan->page_size,
		.has_command = true,
		.command = scan->scope.command,
		.no_fill = !scan->scope.has_key || !scan->scope.has_collection,
		.no_records = scan->scope.no_records,
		.again = scan->any_given,
		.many = scan->stored != NULL ? &scan->many : NULL
	};
	bool		done;
	MemoryContext old;

	if (scan->any_given && scan->scope.backward)
	{
		options.range.to = scan->resume.data;
		options.range.to_len = scan->resume.len;
		options.max_items++;
	}
	else if (scan->any_given)
	{
		options.range.from = scan->resume.data;
		options.range.from_len = scan->resume.len;
	}
	MemoryContextReset(scan->page_context);
	old = MemoryContextSwitchTo(scan->page_context);
	scan->nrows = scan->next = 0;
	scan->bytes = 0;
	scan->full = false;
	scan->rows = palloc(scan->page_size * sizeof(CfpScopeRow));
	done = cfp_read_collection(&scan->in, &options, collect_row, scan);
	MemoryContextSwitchTo(old);

	if (scan->nrows > 0)
		set_resume(scan);
	if (!done)
		put_rest_aside(scan);
	scan->last_page = done && !scan->full;
	scan->page_size = Min(scan->page_size * 4, LAST_PAGE);
}

bool
cfp_scope_has_next(const CfpScopeScan *scan)
{
	return scan->next < scan->nrows || scan->counted > 0;
}

const CfpScopeRow *
cfp_scope_next(CfpScopeScan *scan)
{
	static const CfpScopeRow nameless = {0};

	while (scan->next == scan->nrows)
	{
		if (scan->counted > 0)
		{
			scan->counted--;
			return &nameless;
		}
		CHECK_FOR_INTERRUPTS();
		if (scan->aside != NULL)
		{
			if (!take_from_aside(scan))
				return NULL;
			break;
		}
		if ((!scan->reading || scan->last_page) && !next_collection(scan))
		{
			scan->reading = false;
			return NULL;
		}
		if (scan->scope.no_names && scan->page_size > COUNT_AFTER && !scan->scope.backward)
			count_rest(scan);
		else
			read_page(scan);
	}
	return &scan->rows[scan->next++];
}

void
cfp_scope_end(CfpScopeScan *scan)
{
	if (scan->stored != NULL)
		cfp_collections_end(scan->stored);
	if (scan->many.tables != NULL)
		cfp_table_reader_close(scan->many.tables);
	if (scan->aside != NULL)
	{
		ExecDropSingleTupleTableSlot(scan->aside_slot);
		tuplestore_end(scan->aside);
	}
	MemoryContextDelete(scan->context);
}
