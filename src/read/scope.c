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
 * Locks: none between calls, but those of tables, to the end of the transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "read/collection.h"
#include "read/scope.h"
#include "store/own.h"
#include "tables/read_collection.h"

#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* Rows of a page: of the first, of the largest; and what it may hold. */
#define FIRST_PAGE	32
#define LAST_PAGE	4096
#define PAGE_BYTES	(1024 * 1024)

struct CfpScopeScan
{
	CfpScope	scope;
	MemoryContext context;		/* of the scan */
	MemoryContext page_context;

	/* the collections of the scope */
	CfpCollections *stored;		/* NULL: the scope is one collection */
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

	int			page_size;
	bool		full;			/* the page */
	Size		bytes;			/* of its records */
	int			nrows;
	int			next;
	CfpScopeRow *rows;
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
	Assert(scope->has_key || !scope->has_collection);

	scan->scope = *scope;
	scan->context = context;
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
	if (scope->has_collection)
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

/* Turn to the next collection of the scope; false when there is none. */
static bool
next_collection(CfpScopeScan *scan)
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
	resetStringInfo(&scan->resume);
	scan->reading = true;
	scan->last_page = false;
	return true;
}

static bool
collect_row(const CfpRow *row, void *arg)
{
	CfpScopeScan *scan = arg;
	CfpScopeRow *into = &scan->rows[scan->nrows++];

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

static void
read_page(CfpScopeScan *scan)
{
	CfpReadOptions options = {
		.range = scan->scope.range,
		.max_items = scan->page_size,
		.has_command = true,
		.command = scan->scope.command,
		.no_fill = !scan->scope.has_collection,
		.again = scan->resume.len > 0
	};
	MemoryContext old;

	if (scan->resume.len > 0)
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
	cfp_read_collection(&scan->in, &options, collect_row, scan);
	MemoryContextSwitchTo(old);

	scan->last_page = !scan->full;
	if (!scan->last_page)
	{
		const CfpItemName *last = &scan->rows[scan->nrows - 1].name;

		/* No name has a zero byte, so this is the least that comes after it. */
		resetStringInfo(&scan->resume);
		appendBinaryStringInfo(&scan->resume, last->item, last->item_len);
		appendStringInfoChar(&scan->resume, '\0');
	}
	scan->page_size = Min(scan->page_size * 4, LAST_PAGE);
}

const CfpScopeRow *
cfp_scope_next(CfpScopeScan *scan)
{
	while (scan->next == scan->nrows)
	{
		CHECK_FOR_INTERRUPTS();
		if ((!scan->reading || scan->last_page) && !next_collection(scan))
		{
			scan->reading = false;
			return NULL;
		}
		read_page(scan);
	}
	return &scan->rows[scan->next++];
}

void
cfp_scope_end(CfpScopeScan *scan)
{
	if (scan->stored != NULL)
		cfp_collections_end(scan->stored);
	MemoryContextDelete(scan->context);
}
