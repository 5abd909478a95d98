/*-------------------------------------------------------------------------
 *
 * prune.c
 *		cfp_prune_history(): superseded records leave storage_history.
 *
 * cfp_prune_history() runs in a session and asks the job worker (jobs.c) for
 * cfp_prune_history_job(), which goes through storage_latest in the order of
 * its primary key, a chunk a transaction, and for each item through the older
 * part of its versions in the history.
 *
 * A record may go when all of these hold:
 *	- its version is below that in storage_latest, so it is folded, and not
 *	  the newest;
 *	- the history has a newer one, with keep_versions as many as that;
 *	- with older_than it was stored before;
 *	- flush and day files have seen it: what was committed late, or could not
 *	  be written yet, still has to go through both.
 *
 * With older_than a deleted item goes entirely, its row of storage_latest
 * included, when its tombstone was stored before, no other record is left,
 * and nothing is unfolded.  Its versions then begin again at 1, or go on where
 * the cache still knows the tombstone.  No store in flight can bring it back
 * to life with an older version: a delete waits for the stores of its item
 * that it finds in flight (pending.c), and what comes later has a higher one.
 * A transaction at REPEATABLE READ that still sees the tombstone cannot store
 * the item any more (40001, pending.c).
 *
 * What may go is decided in one place, for a dry run as for a run.
 *
 * Nothing is done to the cache: no reader needs what goes, and one with an old
 * snapshot finds it in the tables, as after any DELETE.
 *
 * The row in cfp_pruned tells retention.c that these records are not lost.
 * It is committed before the first of them goes.
 *
 * Locks: as a fold; changes by hand are waited for, and keep out.
 *
 *-------------------------------------------------------------------------
 */
#include "cfp.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/builtins.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "jobs.h"
#include "settings.h"
#include "sql_api.h"
#include "tables.h"
#include "worker.h"

PG_FUNCTION_INFO_V1(cfp_prune_history);

/* Items, and records, of one chunk. */
#define CHUNK_ITEMS		1000
#define CHUNK_RECORDS	10000

/* Arguments of the statements of a chunk. */
typedef enum Arg
{
	ARG_FROM_KEY,				/* $1: where the chunk begins */
	ARG_FROM_COLLECTION,
	ARG_FROM_ITEM,
	ARG_FROM_VERSION,			/* $4: within that item; NULL: it is done */
	ARG_OLDER_THAN,				/* $5 */
	ARG_KEEP_VERSIONS,			/* $6; at least 1 */
	ARG_KEY,					/* $7 */
	ARG_COLLECTION,
	ARG_TO_KEY,					/* $9: where the chunk ends */
	ARG_TO_COLLECTION,
	ARG_TO_ITEM,
	ARG_TO_DONE,				/* $12: with that item */
	NARGS
} Arg;

#define ARG_TYPES \
	{TEXTOID, TEXTOID, TEXTOID, INT4OID, TIMESTAMPTZOID, INT4OID, TEXTOID, TEXTOID, \
	 TEXTOID, TEXTOID, TEXTOID, BOOLOID}

/* The items asked for, from the primary key of storage_latest. */
#define SCOPE_ALL			""
#define SCOPE_KEY			" AND l.key = $7"
#define SCOPE_COLLECTION	" AND l.collection_name = $8"
#define SCOPE_BOTH			SCOPE_KEY SCOPE_COLLECTION

#define SAME_ITEM(a, b) \
	a ".key = " b ".key AND " a ".collection_name = " b ".collection_name" \
	" AND " a ".item_name = " b ".item_name"

/* Have flush and day files seen the record? */
#define CURSOR(name) "(SELECT snapshot FROM @schema@.cfp_state WHERE name = '" name "')"
#define FLUSHED(h) \
	" pg_visible_in_snapshot(" h ".txid, coalesce(" CURSOR("dirty") ", '3:3:'))" \
	" AND pg_visible_in_snapshot(" h ".txid, coalesce(" CURSOR("files") ", " CURSOR("dirty") ", '3:3:'))"

/* May record h of the history go, of the item that has row l in latest? */
#define MAY_GO \
	" h.version < l.version AND h.version < (SELECT n.version FROM @schema@.storage_history n" \
	"  WHERE " SAME_ITEM("n", "l") " ORDER BY n.version DESC OFFSET $6 - 1 LIMIT 1)" \
	" AND ($5 IS NULL OR h.updated_at < $5) AND" FLUSHED("h")

/* Is it a record without data and value? */
#define TOMBSTONE(r) \
	r ".data IS NULL AND num_nonnulls(" r ".value_int, " r ".value_float, " r ".value_string) = 0"

/*
 * The records of a chunk.  A huge item is done in several; the order by
 * version lets the next chunk begin where this one ends.
 */
#define FROM_HERE \
	" WHERE (l.key, l.collection_name, l.item_name) >= ($1, $2, $3)" \
	" AND ($4 IS NOT NULL OR (l.key, l.collection_name, l.item_name) <> ($1, $2, $3))"

#define RECORDS(scope) \
	"WITH items AS MATERIALIZED (" \
	"SELECT key, collection_name, item_name, version FROM @schema@.storage_latest l" \
	FROM_HERE scope \
	" ORDER BY key, collection_name, item_name LIMIT " CppAsString2(CHUNK_ITEMS) \
	"), doomed AS MATERIALIZED (" \
	"SELECT h.key, h.collection_name, h.item_name, h.version" \
	" FROM items l CROSS JOIN LATERAL (SELECT * FROM @schema@.storage_history h" \
	"  WHERE " SAME_ITEM("h", "l") " AND h.version >= CASE WHEN l.key = $1" \
	"   AND l.collection_name = $2 AND l.item_name = $3 THEN $4 ELSE '-2147483648' END" \
	"  AND" MAY_GO " ORDER BY h.version) h" \
	" LIMIT " CppAsString2(CHUNK_RECORDS) ")"

#define RECORDS_GO \
	", gone AS (DELETE FROM @schema@.storage_history h USING doomed d" \
	" WHERE " SAME_ITEM("h", "d") " AND h.version = d.version)"

/* Counts, the last item, and the last record when the chunk is full of them. */
#define RECORDS_RESULT \
	" SELECT (SELECT count(*) FROM items), (SELECT count(*) FROM doomed)," \
	" i.key, i.collection_name, i.item_name, d.key, d.collection_name, d.item_name, d.version" \
	" FROM (SELECT * FROM items ORDER BY key DESC, collection_name DESC, item_name DESC LIMIT 1) i" \
	" LEFT JOIN (SELECT * FROM doomed OFFSET " CppAsString2(CHUNK_RECORDS) " - 1) d ON true"

/*
 * The tombstones of a chunk, when the other records of their items match
 * `others` no more.
 */
#define TOMBSTONES(scope, others) \
	" FROM @schema@.storage_latest l" FROM_HERE scope \
	" AND (l.key, l.collection_name, l.item_name) <= ($9, $10, $11)" \
	" AND ($12 OR (l.key, l.collection_name, l.item_name) <> ($9, $10, $11))" \
	" AND " TOMBSTONE("l") " AND l.updated_at < $5" \
	" AND NOT EXISTS (SELECT FROM @schema@.storage_dirty d WHERE " SAME_ITEM("d", "l") ")" \
	" AND EXISTS (SELECT FROM @schema@.storage_history h WHERE " SAME_ITEM("h", "l") \
	"  AND h.version = l.version AND " TOMBSTONE("h") " AND h.updated_at < $5" \
	"  AND" FLUSHED("h") ")" \
	" AND NOT EXISTS (SELECT FROM @schema@.storage_history h WHERE " SAME_ITEM("h", "l") \
	"  AND h.version <> l.version AND " others ")"

#define TOMBSTONES_GO(scope) \
	"WITH gone AS (DELETE" TOMBSTONES(scope, "true") " RETURNING *)" \
	" DELETE FROM @schema@.storage_history h USING gone g" \
	" WHERE " SAME_ITEM("h", "g") " AND h.version = g.version"

#define TOMBSTONES_COUNT(scope) \
	"SELECT" TOMBSTONES(scope, "(" MAY_GO ") IS NOT TRUE")

#define STATEMENT(text)	{.sql = text, .nargs = NARGS, .argtypes = ARG_TYPES}

/* By what is asked for: everything, a key, collections of a name, one. */
typedef struct Statements
{
	CfpStatement records_go;
	CfpStatement records_count;
	CfpStatement tombstones_go;
	CfpStatement tombstones_count;
} Statements;

#define STATEMENTS(scope) { \
	.records_go = STATEMENT(RECORDS(scope) RECORDS_GO RECORDS_RESULT), \
	.records_count = STATEMENT(RECORDS(scope) RECORDS_RESULT), \
	.tombstones_go = STATEMENT(TOMBSTONES_GO(scope)), \
	.tombstones_count = STATEMENT(TOMBSTONES_COUNT(scope)), \
}

static Statements statements[] = {
	STATEMENTS(SCOPE_ALL),
	STATEMENTS(SCOPE_KEY),
	STATEMENTS(SCOPE_COLLECTION),
	STATEMENTS(SCOPE_BOTH),
};

static CfpStatement pruned_save = {
	.sql = "INSERT INTO @schema@.cfp_pruned AS p"
	" (key, collection_name, superseded_before, deleted_before, at)"
	" VALUES ($1, $2, coalesce($3, now()), $3, now())"
	" ON CONFLICT (key, collection_name) DO UPDATE SET"
	" superseded_before = greatest(p.superseded_before, excluded.superseded_before),"
	" deleted_before = greatest(p.deleted_before, excluded.deleted_before), at = excluded.at",
	.nargs = 3,
	.argtypes = {TEXTOID, TEXTOID, TIMESTAMPTZOID},
};

/*-------------------------------------------------------------------------
 * In the job worker
 *-------------------------------------------------------------------------
 */

typedef struct Prune
{
	const CfpJobArgs *args;
	Statements *statements;
	MemoryContext context;		/* of values */
	Datum		values[NARGS];
	char		nulls[NARGS + 1];	/* as SPI has it */
	int64		records;
	int64		items;
} Prune;

static void
set_text(Prune *prune, Arg arg, const char *bytes, int len)
{
	MemoryContext old = MemoryContextSwitchTo(prune->context);

	if (prune->values[arg] != (Datum) 0)
		pfree(DatumGetPointer(prune->values[arg]));
	prune->values[arg] = PointerGetDatum(cstring_to_text_with_len(bytes, len));
	prune->nulls[arg] = ' ';
	MemoryContextSwitchTo(old);
}

/* An argument from a column of the first row of the last statement. */
static void
set_text_from(Prune *prune, Arg arg, int column)
{
	bool		isnull;
	text	   *value = DatumGetTextPP(cfp_statement_value(column, &isnull));

	set_text(prune, arg, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
}

/* Note that records of these items may be missing from now on. */
static void
note_pruned(const Prune *prune)
{
	Datum		values[] = {prune->values[ARG_KEY], prune->values[ARG_COLLECTION],
	prune->values[ARG_OLDER_THAN]};
	char		nulls[] = {prune->nulls[ARG_KEY], prune->nulls[ARG_COLLECTION],
	prune->nulls[ARG_OLDER_THAN], '\0'};

	cfp_worker_begin(false, false);
	cfp_statement_run(&pruned_save, values, nulls);
	cfp_worker_commit();
}

/* How many rows storage_latest has, as far as is known. */
static int64
latest_rows(void)
{
	HeapTuple	tuple;
	int64		rows = 0;

	StartTransactionCommand();
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(cfp_tables()->latest));
	if (HeapTupleIsValid(tuple))
	{
		rows = (int64) Max(((Form_pg_class) GETSTRUCT(tuple))->reltuples, 0);
		ReleaseSysCache(tuple);
	}
	CommitTransactionCommand();
	MemoryContextSwitchTo(cfp_worker_context);
	return rows;
}

static void
prune_begin(Prune *prune, const CfpJobArgs *args)
{
	memset(prune, 0, sizeof(*prune));
	memset(prune->nulls, 'n', NARGS);
	prune->args = args;
	prune->context = cfp_worker_context;
	prune->statements = &statements[(args->key_len >= 0 ? 1 : 0) +
									(args->collection_len >= 0 ? 2 : 0)];
	if (args->has_older_than)
	{
		prune->values[ARG_OLDER_THAN] = TimestampTzGetDatum(args->older_than);
		prune->nulls[ARG_OLDER_THAN] = ' ';
	}
	prune->values[ARG_KEEP_VERSIONS] = Int32GetDatum(Max(args->keep_versions, 1));
	prune->nulls[ARG_KEEP_VERSIONS] = ' ';
	prune->values[ARG_FROM_VERSION] = Int32GetDatum(PG_INT32_MIN);
	prune->nulls[ARG_FROM_VERSION] = ' ';
	if (args->key_len >= 0)
		set_text(prune, ARG_KEY, args->names, args->key_len);
	if (args->collection_len >= 0)
		set_text(prune, ARG_COLLECTION, args->names + Max(args->key_len, 0), args->collection_len);

	/* The first item asked for, or what comes before it. */
	set_text(prune, ARG_FROM_KEY, args->names, Max(args->key_len, 0));
	if (args->key_len >= 0)
		set_text(prune, ARG_FROM_COLLECTION, args->names + args->key_len,
				 Max(args->collection_len, 0));
	else
		set_text(prune, ARG_FROM_COLLECTION, "", 0);
	set_text(prune, ARG_FROM_ITEM, "", 0);
}

/* One chunk; false when there is none left. */
static bool
prune_chunk(Prune *prune)
{
	Statements *s = prune->statements;
	bool		dry = prune->args->dry_run;
	bool		isnull;
	bool		full;
	int64		items;
	int32		version = 0;

	cfp_worker_begin(false, true);
	if (cfp_statement_run(dry ? &s->records_count : &s->records_go,
						  prune->values, prune->nulls) == 0)
	{
		cfp_worker_commit();
		return false;
	}
	items = DatumGetInt64(cfp_statement_value(1, &isnull));
	prune->records += DatumGetInt64(cfp_statement_value(2, &isnull));
	for (int i = 0; i < 3; i++)
		set_text_from(prune, ARG_TO_KEY + i, 3 + i);
	version = DatumGetInt32(cfp_statement_value(9, &isnull));
	full = !isnull;
	if (full)
	{
		for (int i = 0; i < 3; i++)
			set_text_from(prune, ARG_TO_KEY + i, 6 + i);
	}
	prune->values[ARG_TO_DONE] = BoolGetDatum(!full);
	prune->nulls[ARG_TO_DONE] = ' ';

	if (prune->args->has_older_than)
		prune->records += cfp_statement_run(dry ? &s->tombstones_count : &s->tombstones_go,
											prune->values, prune->nulls);
	cfp_worker_commit();

	for (int i = 0; i < 3; i++)
	{
		text	   *name = DatumGetTextPP(prune->values[ARG_TO_KEY + i]);

		set_text(prune, ARG_FROM_KEY + i, VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
	}
	prune->values[ARG_FROM_VERSION] = Int32GetDatum(full ? version + 1 : 0);
	prune->nulls[ARG_FROM_VERSION] = full ? ' ' : 'n';
	if (!full)
		prune->items += items;
	return true;
}

int64
cfp_prune_history_job(const CfpJobArgs *args)
{
	Prune		prune;
	int64		total;

	prune_begin(&prune, args);
	total = args->key_len < 0 && args->collection_len < 0 ? latest_rows() : 0;
	if (!args->dry_run)
		note_pruned(&prune);

	do
	{
		CHECK_FOR_INTERRUPTS();
		cfp_job_progress(prune.items, Max(prune.items, total));
		cfp_waitpoint("prune_chunk", true);
		pgstat_report_stat(false);	/* autovacuum should hear of it soon */
	} while (prune_chunk(&prune));
	return prune.records;
}

/*-------------------------------------------------------------------------
 * In a session
 *-------------------------------------------------------------------------
 */

/* Put the names, as far as given, into the arguments of the job. */
static void
take_names(FunctionCallInfo fcinfo, CfpJobArgs *args)
{
	text	   *key = PG_ARGISNULL(2) ? NULL : PG_GETARG_TEXT_PP(2);
	text	   *collection = PG_ARGISNULL(3) ? NULL : PG_GETARG_TEXT_PP(3);
	CfpItemName name = {0};

	if (key != NULL)
		name.in.key_len = VARSIZE_ANY_EXHDR(key);
	if (collection != NULL)
		name.in.collection_len = VARSIZE_ANY_EXHDR(collection);
	cfp_check_names(&name);

	args->key_len = args->collection_len = -1;
	if (key != NULL)
	{
		args->key_len = name.in.key_len;
		memcpy(args->names, VARDATA_ANY(key), name.in.key_len);
	}
	if (collection != NULL)
	{
		args->collection_len = name.in.collection_len;
		memcpy(args->names + name.in.key_len, VARDATA_ANY(collection), name.in.collection_len);
	}
}

/* cfp_prune_history(older_than, keep_versions, key, collection_name, dry_run) */
Datum
cfp_prune_history(PG_FUNCTION_ARGS)
{
	CfpJobArgs	args = {0};

	cfp_require_preload();
	args.has_older_than = !PG_ARGISNULL(0);
	if (args.has_older_than)
		args.older_than = PG_GETARG_TIMESTAMPTZ(0);
	args.keep_versions = PG_ARGISNULL(1) ? -1 : PG_GETARG_INT32(1);
	if (PG_ARGISNULL(4))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("dry_run must not be NULL")));
	args.dry_run = PG_GETARG_BOOL(4);
	if (!args.has_older_than && PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("older_than or keep_versions must be given"),
				 errhint("With both, a record goes when it is old enough and has enough newer versions.")));
	if (!PG_ARGISNULL(1) && args.keep_versions < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("keep_versions must not be negative"),
				 errhint("The newest version of an item is kept in any case.")));
	take_names(fcinfo, &args);

	PG_RETURN_INT64(cfp_job_run(CFP_JOB_PRUNE_HISTORY, &args));
}
