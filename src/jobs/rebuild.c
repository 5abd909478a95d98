/*-------------------------------------------------------------------------
 *
 * rebuild.c
 *		Getting the tables back: history from day files, latest from history.
 *
 * The SQL functions ask for a job and wait for it (jobs.c); the jobs run in
 * the job worker, in many transactions, so that they may be cancelled and
 * begun again: what is there already is passed over.
 *
 * History from day files: a batch of lines is read, then inserted in one
 * transaction as a change by hand is made: stores are kept out by the gate
 * for as long as the insert takes, the cache is bypassed meanwhile and dropped
 * at the end, the database is marked to be reconciled, and the rows carry the
 * frozen txid, so that they come into no day file again.  Which rows are
 * missing is looked up behind the gate, when no store is in flight.  When the
 * job is done the worker reconciles: it puts the items whose newest record
 * came back into storage_dirty.  Latest is not touched.
 *
 * What was given up on purpose does not come back (replay.c), unless the
 * caller wants it.  What was given up and nothing was stored since is the loss
 * that is repaired: with the first rows that come back, that is lifted.  Where
 * a backup was restored, what it has and was given up on purpose after it was
 * made goes again.  What is given up while the job runs ends it.
 *
 * Files of another server or database are read, too: so a lost server's come
 * into a new one.  That they are there may as well be a mistake (two servers
 * had one base directory), so a WARNING names them.  Those of another
 * incarnation of the extension are read only when what was given up is wanted.
 * Ours come last: of two records of one name that are added here, the later
 * one is taken, and a WARNING names its line.
 *
 * Latest from history: does what a fold does (fold.c), for each item of the
 * history instead of those in storage_dirty.  The history decides unless
 * latest has a higher version.  What is true of an item does not change by it
 * (add_missing.c), so the cache stays as right as it was; the gate is passed as in
 * a fold, for the snapshot.
 *
 * Locks: ROW EXCLUSIVE on the history, then the gate in SHARE ROW EXCLUSIVE,
 * both for one batch.  Latest: as a fold.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/calendar.h"
#include "base/waitpoint.h"
#include "files/day_dir.h"
#include "files/day_reader.h"
#include "files/replay.h"
#include "files/wal_files.h"
#include "jobs/rebuild.h"
#include "record/forgotten.h"
#include "record/record.h"
#include "shared/database.h"
#include "shared/jobs.h"
#include "tables/forget.h"
#include "tables/gate.h"
#include "tables/add_missing.h"
#include "tables/latest.h"
#include "tables/statement.h"

/*
 * A batch is what fits into maintenance_work_mem: the more rows are sorted, the
 * better they go into the index.  Stores wait while they are inserted.
 */
#define FIRST_ROWS		1024

/* Bytes of the day files read at once in search of what was given up. */
#define PIECE_BYTES		(16 * 1024 * 1024)

/* Items of one chunk of latest. */
#define CHUNK			1000

/* Dates that a message names. */
#define DATES_NAMED		15

/*-------------------------------------------------------------------------
 * History
 *-------------------------------------------------------------------------
 */

/* The newest of the dates, for a message. */
static char *
date_names(List *dates)
{
	StringInfoData names;
	int			n = list_length(dates);

	initStringInfo(&names);
	if (n > DATES_NAMED)
		appendStringInfoString(&names, "..., ");
	for (int i = Max(n - DATES_NAMED, 0); i < n; i++)
		appendStringInfo(&names, "%s%s", cfp_date_text(list_nth_int(dates, i)),
						 i < n - 1 ? ", " : "");
	return names.data;
}

/*
 * The dates from first to last that have a directory; throws 58P01 when none
 * has.  *bytes: of their day files.
 */
static List *
dates_to_read(DateADT first, DateADT last, int64 *bytes)
{
	List	   *all = cfp_list_date_dirs();
	List	   *dates = NIL;
	ListCell   *lc;

	*bytes = 0;
	foreach(lc, all)
	{
		if (lfirst_int(lc) >= first && lfirst_int(lc) <= last)
		{
			dates = lappend_int(dates, lfirst_int(lc));
			*bytes += cfp_wal_bytes(lfirst_int(lc));
		}
	}
	if (dates == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FILE),
				 first == last ?
				 errmsg("there is no directory of %s", cfp_date_text(first)) :
				 errmsg("there is no directory of a date from %s to %s",
						cfp_date_text(first), cfp_date_text(last)),
				 all == NIL ?
				 errdetail("There is none of any date in \"%s\".", cfp_database_dir()) :
				 errdetail("There are those of %s.", date_names(all)),
				 errhint("The view cfp_wal_files shows the day files there are.")));
	return dates;
}

/* Copy a row, its values in one piece of memory. */
static void
copy_row(CfpHistoryColumns *to, const CfpHistoryColumns *from)
{
	static const int varlena[] = {
		CFP_COL_KEY, CFP_COL_COLLECTION, CFP_COL_ITEM, CFP_COL_DATA,
		CFP_COL_VALUE_STRING, CFP_COL_STATUS, CFP_COL_USERNAME
	};
	Size		size = 0;
	char	   *dst;

	*to = *from;
	for (int i = 0; i < lengthof(varlena); i++)
	{
		if (!from->nulls[varlena[i]])
			size += MAXALIGN(VARSIZE(DatumGetPointer(from->values[varlena[i]])));
	}
	dst = palloc(size);
	for (int i = 0; i < lengthof(varlena); i++)
	{
		struct varlena *value = (struct varlena *) DatumGetPointer(from->values[varlena[i]]);

		if (from->nulls[varlena[i]])
			continue;
		memcpy(dst, value, VARSIZE(value));
		to->values[varlena[i]] = PointerGetDatum(dst);
		dst += MAXALIGN(VARSIZE(value));
	}
}

/* The state of one job. */
typedef struct Rebuild
{
	const CfpJobArgs *args;
	MemoryContext context;
	MemoryContext batch;
	MemoryContext line;			/* of what reading it leaves behind */
	CfpReplay  *replay;
	int			origin;			/* whose files are read now */
	CfpWalReader *reader;
	CfpAdding	adding;
	int64		added;
	int64		total;			/* bytes to be read */
	int			foreign;		/* files */
	int			not_read;		/* files of other incarnations */
	int64		forgotten;		/* records passed over */
	TimestampTz forgotten_at;	/* when the last of them was given up */
	bool		loss;			/* this has to be lifted: */
	int64		from_id;
	int64		to_id;
	int64		given_up;		/* cfp_forget_count() */
} Rebuild;

static void
report_twice(const CfpHistoryColumns *row)
{
	static int	reported = 0;

	if (reported++ >= CFP_WAL_REPORTED_LINES)
		return;
	ereport(WARNING,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("line " INT64_FORMAT " of day file \"%s\" has another record of the name and version of one before it",
					row->line, row->file),
			 errdetail("The later one is taken.")));
}

/* Was the record given up?  What was pruned is not worth a word. */
static bool
is_forgotten(Rebuild *rebuild, const CfpHistoryColumns *row)
{
	const CfpForget *forget;
	DateADT		given_up;

	if (rebuild->args->include_forgotten)
		return false;
	forget = cfp_replay_covers(rebuild->replay, rebuild->origin, rebuild->reader->date,
							   rebuild->reader->file, rebuild->reader->line,
							   row->values, row->nulls, false, &given_up);
	if (forget == NULL)
		return false;
	if (forget->kind != CFP_FORGET_PRUNE)
	{
		rebuild->forgotten++;
		rebuild->forgotten_at = Max(rebuild->forgotten_at, forget->at);
	}
	return true;
}

/*
 * The transaction is one of those that add rows.  It has passed the gate, and
 * nothing must have been given up since it was read what was.
 */
static void
note_transaction(Rebuild *rebuild)
{
	CfpAdding  *adding = &rebuild->adding;

	if (cfp_forget_count() != rebuild->given_up)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("records were removed by hand from the storage tables while they were rebuilt"),
				 errhint("Call it again: what is back already is passed over.")));
	if (adding->xids == NULL)
		adding->xids = MemoryContextAlloc(rebuild->context, 64 * sizeof(TransactionId));
	else if (adding->nxids >= 64 && (adding->nxids & (adding->nxids - 1)) == 0)
		adding->xids = repalloc(adding->xids, 2 * adding->nxids * sizeof(TransactionId));
	adding->xids[adding->nxids++] = GetTopTransactionId();
}

/* Something has come back, and is given up no longer. */
static void
lift_loss(Rebuild *rebuild)
{
	cfp_forget_lift(rebuild->from_id, rebuild->to_id);
	rebuild->given_up = cfp_forget_count();
	rebuild->loss = false;
}

/*
 * Read a batch of the date's records and insert those that are missing.
 * False when there is no other batch.
 */
static bool
rebuild_batch(Rebuild *rebuild)
{
	CfpWalReader *reader = rebuild->reader;
	MemoryContext batch = rebuild->batch;
	CfpHistoryColumns row;
	int			allocated = FIRST_ROWS;
	int			n = 0;
	int64		added = 0;
	bool		more;
	CfpHistoryColumns *rows;
	MemoryContext old;

	cfp_worker_begin(false, false);
	old = MemoryContextSwitchTo(batch);
	rows = palloc(allocated * sizeof(CfpHistoryColumns));
	more = true;
	while (MemoryContextMemAllocated(batch, false) < maintenance_work_mem * (Size) 1024)
	{
		/* A line leaves behind many times what its row needs. */
		MemoryContextReset(rebuild->line);
		MemoryContextSwitchTo(rebuild->line);
		more = cfp_wal_reader_next(reader, row.values, row.nulls);
		MemoryContextSwitchTo(batch);
		if (!more)
			break;
		if (is_forgotten(rebuild, &row))
			continue;
		row.file = reader->path;
		row.line = reader->line;
		if (n == allocated)
		{
			allocated *= 2;
			rows = repalloc_huge(rows, allocated * sizeof(CfpHistoryColumns));
		}
		copy_row(&rows[n++], &row);
	}
	if (n > 0)
	{
		LockRelationOid(cfp_tables()->history, RowExclusiveLock);
		cfp_gate_pass();
		note_transaction(rebuild);
		added = cfp_history_add_missing(rows, n, &rebuild->adding);
		if (added > 0 && rebuild->loss)
			lift_loss(rebuild);
	}
	MemoryContextSwitchTo(old);
	cfp_worker_commit();
	MemoryContextReset(batch);
	rebuild->added += added;
	return more;
}

/* Report files that are not this incarnation's; false when they are not read. */
static bool
report_others(Rebuild *rebuild, DateADT date, List *numbers)
{
	CfpFileOwner owner = cfp_replay_owner(rebuild->replay, rebuild->origin);
	bool		read = owner != CFP_FILE_OTHER_INCARNATION || rebuild->args->include_forgotten;
	ListCell   *lc;

	if (owner == CFP_FILE_OURS)
		return true;
	foreach(lc, numbers)
	{
		char	   *path = cfp_day_file(date, lfirst_int(lc));

		ereport(WARNING,
				(owner == CFP_FILE_FOREIGN ?
				 errmsg("day file \"%s\" was not made by this server for this database", path) :
				 errmsg("day file \"%s\" was made before the extension was dropped and created again", path),
				 read ? errdetail("Its records are added to storage_history all the same.") :
				 errdetail("It is not read."),
				 read ? 0 : errhint("Its records are added with include_forgotten := true.")));
	}
	if (!read)
		rebuild->not_read += list_length(numbers);
	else if (owner == CFP_FILE_FOREIGN)
		rebuild->foreign += list_length(numbers);
	return read;
}

/* What the caller shall know. */
static void
warn_caller(const Rebuild *rebuild)
{
	StringInfoData text;
	const char *between = "";
	int64		bad_lines = rebuild->reader->bad_lines;

	initStringInfo(&text);
	if (rebuild->forgotten > 0)
	{
		appendStringInfo(&text, INT64_FORMAT " records were passed over because they had been given up, "
						 "the last of them at %s; include_forgotten := true brings them back, too",
						 rebuild->forgotten, timestamptz_to_str(rebuild->forgotten_at));
		between = "; ";
	}
	if (bad_lines > 0)
	{
		appendStringInfo(&text, "%s" INT64_FORMAT " lines of the day files could not be used; "
						 "the server log names %s", between, bad_lines,
						 bad_lines > CFP_WAL_REPORTED_LINES ?
						 "the first " CppAsString2(CFP_WAL_REPORTED_LINES) : "them");
		between = "; ";
	}
	if (rebuild->adding.twice > 0)
	{
		appendStringInfo(&text, "%s" INT64_FORMAT " lines have another record of a name and version "
						 "than one before them, and were taken; the server log names %s", between,
						 rebuild->adding.twice,
						 rebuild->adding.twice > CFP_WAL_REPORTED_LINES ?
						 "the first " CppAsString2(CFP_WAL_REPORTED_LINES) : "them");
		between = "; ";
	}
	if (rebuild->foreign > 0)
	{
		appendStringInfo(&text, "%s%d day files were not made by this server for this database, "
						 "and were read all the same; the server log names them",
						 between, rebuild->foreign);
		between = "; ";
	}
	if (rebuild->not_read > 0)
	{
		appendStringInfo(&text, "%s%d day files were made before the extension was dropped and created again, "
						 "and were not read; the server log names them, include_forgotten := true reads them",
						 between, rebuild->not_read);
		between = "; ";
	}
	if (*between != '\0')
		cfp_job_warn(text.data);
}

/* Learn what was given up, and what of it is the loss. */
static void
read_forgotten(Rebuild *rebuild)
{
	bool		more = true;

	/* Once no change by hand runs, which would be seen in part. */
	cfp_worker_begin(false, false);
	LockRelationOid(cfp_tables()->gate, ShareUpdateExclusiveLock);
	rebuild->given_up = cfp_forget_count();
	cfp_worker_commit();

	cfp_worker_begin(false, false);
	MemoryContextSwitchTo(rebuild->context);
	(void) dates_to_read(rebuild->args->from, rebuild->args->to, &rebuild->total);
	rebuild->replay = cfp_replay_begin(rebuild->args->from);
	rebuild->total += cfp_replay_bytes(rebuild->replay);
	cfp_worker_commit();
	while (more)
	{
		CHECK_FOR_INTERRUPTS();
		cfp_worker_begin(false, false);
		more = cfp_replay_read(rebuild->replay, PIECE_BYTES);
		cfp_worker_commit();
		cfp_job_progress(cfp_replay_bytes_done(rebuild->replay),
						 Max(rebuild->total, cfp_replay_bytes_done(rebuild->replay)));
	}
	rebuild->loss = cfp_replay_loss(rebuild->replay, rebuild->args->include_forgotten,
									&rebuild->from_id, &rebuild->to_id);
}

/* What was given up goes from a table, if it has come from a backup. */
static void
remove_restored(Oid relid, Oid pkey, const CfpForget *forget)
{
	CfpTableWriter *writer;
	TableScan	scan;
	ScanKeyData keys[3];
	bool		all = forget->kind == CFP_FORGET_ALL;

	for (int i = 0; i < 3 && !all; i++)
		text_key(&keys[i], i + 1, BTEqualStrategyNumber, forget->name[i]);
	PushActiveSnapshot(GetLatestSnapshot());
	writer = cfp_writer_begin(relid, 1 << CMD_DELETE);
	scan_open(&scan, relid, pkey, GetActiveSnapshot(), all ? 0 : 3);
	scan_start(&scan, all ? NULL : keys);
	while (scan_next(&scan, ForwardScanDirection))
	{
		int32		version = slot_version(scan.slot);

		slot_getsomeattrs(scan.slot, CFP_NCOLS);
		if (DatumGetUInt64(scan.slot->tts_values[CFP_COL_TXID]) == FrozenTransactionId &&
			(all || (version >= forget->from_version && version <= forget->version)))
			cfp_writer_delete(writer, &scan.slot->tts_tid);
	}
	scan_close(&scan);
	cfp_writer_end(writer);
	PopActiveSnapshot();
}

/*
 * The backup that was restored has what was given up after it was made: that
 * goes again.  Nothing was stored since, so the rows with the frozen txid are
 * the backup's.
 */
static void
remove_given_up(Rebuild *rebuild)
{
	const CfpForget *forget;
	int			next = 0;

	if (rebuild->args->include_forgotten)
		return;
	cfp_worker_begin(false, false);
	while ((forget = cfp_replay_after_backup(rebuild->replay, &next)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		if (rebuild->adding.nxids == 0)
		{
			LockRelationOid(cfp_tables()->history, RowExclusiveLock);
			LockRelationOid(cfp_tables()->latest, RowExclusiveLock);
			cfp_gate_pass();
			note_transaction(rebuild);
			lift_loss(rebuild);
		}
		remove_restored(cfp_tables()->history, cfp_tables()->history_pkey, forget);
		remove_restored(cfp_tables()->latest, cfp_tables()->latest_pkey, forget);
	}
	cfp_worker_commit();
}

/* The files of a date that the origin has made. */
static void
rebuild_date(Rebuild *rebuild, DateADT date)
{
	List	   *numbers;
	bool		more;

	cfp_worker_begin(false, false);
	MemoryContextSwitchTo(rebuild->context);
	numbers = cfp_replay_numbers(rebuild->replay, date, rebuild->origin);
	more = numbers != NIL && report_others(rebuild, date, numbers);
	if (more)
		cfp_wal_reader_start_files(rebuild->reader, date, numbers);
	cfp_worker_commit();
	while (more)
	{
		int64		done;

		CHECK_FOR_INTERRUPTS();
		more = rebuild_batch(rebuild);
		cfp_waitpoint("batch_rebuilt", true);
		done = cfp_replay_bytes_done(rebuild->replay) + rebuild->reader->bytes_done;
		cfp_job_progress(done, Max(rebuild->total, done));
	}
}

int64
cfp_rebuild_history_job(const CfpJobArgs *args)
{
	Rebuild		rebuild = {.args = args,.context = CurrentMemoryContext};
	List	   *dates;
	ListCell   *lc;

	Assert(!IsTransactionState());
	rebuild.reader = cfp_wal_reader_create();
	rebuild.batch = AllocSetContextCreate(rebuild.context, "cfp rebuild batch",
										  ALLOCSET_DEFAULT_SIZES);
	rebuild.line = AllocSetContextCreate(rebuild.context, "cfp rebuild line",
										 ALLOCSET_DEFAULT_SIZES);
	rebuild.adding.report = report_twice;
	read_forgotten(&rebuild);
	remove_given_up(&rebuild);

	cfp_worker_begin(false, false);
	MemoryContextSwitchTo(rebuild.context);
	dates = dates_to_read(args->from, args->to, &rebuild.total);
	rebuild.total += cfp_replay_bytes(rebuild.replay);
	cfp_worker_commit();

	for (int n = 1; n <= cfp_replay_origins(rebuild.replay); n++)
	{
		rebuild.origin = n % cfp_replay_origins(rebuild.replay);
		foreach(lc, dates)
			rebuild_date(&rebuild, lfirst_int(lc));
	}
	warn_caller(&rebuild);
	return rebuild.added;
}

/*-------------------------------------------------------------------------
 * Latest
 *-------------------------------------------------------------------------
 */

/* The names of the items from this one on; returns how many, at most CHUNK. */
static int
read_items(const CfpTables *tables, const Datum *from, Datum (*names)[3])
{
	ScanStart	start;
	TableScan	history;
	TupleTableSlot *seen;		/* a row of the last item */
	int			items = 0;

	scan_open(&history, tables->history, tables->history_pkey, GetActiveSnapshot(), 1);
	seen = table_slot_create(history.table, NULL);
	scan_start_at(&history, &start, from);
	while (scan_next(&history, ForwardScanDirection))
	{
		TupleTableSlot *row = history.slot;

		if (items > 0 && compare_slots(seen, row) == 0)
			continue;
		if (items == CHUNK)
			break;
		copy_names(names[items++], row);
		history.slot = seen;
		seen = row;
	}
	ExecDropSingleTupleTableSlot(seen);
	scan_close(&history);
	return items;
}

/*
 * Bring the chunk that begins at the item `from`, and set it to the chunk's
 * last item.  Returns the number of items; adds to *changed.
 */
static int64
latest_one_chunk(Datum *from, MemoryContext context, int64 *changed)
{
	CfpTables	tables;
	CfpLatestWriter latest;
	Datum		(*names)[3];
	int			items;

	cfp_worker_begin(false, true);
	tables = *cfp_tables();
	names = palloc(sizeof(*names) * CHUNK);
	items = read_items(&tables, from, names);
	if (items > 0)
	{
		cfp_latest_begin(&latest, &tables);
		for (int i = 0; i < items; i++)
			*changed += cfp_latest_bring(&latest, names[i], true);
		cfp_latest_end(&latest);
		keep_names(from, names[items - 1], context);
	}
	cfp_worker_commit();
	return items;
}

int64
cfp_rebuild_latest_job(const CfpJobArgs *args)
{
	MemoryContext context = CurrentMemoryContext;
	Datum		from[3];
	int64		changed = 0;
	int64		done = 0;
	int64		items;

	Assert(!IsTransactionState());
	for (int i = 0; i < 3; i++)
		from[i] = PointerGetDatum(cstring_to_text(""));
	do
	{
		CHECK_FOR_INTERRUPTS();
		items = latest_one_chunk(from, context, &changed);
		done += items;
		cfp_job_progress(done, 0);
	} while (items >= CHUNK);
	return changed;
}
