/*-------------------------------------------------------------------------
 *
 * retention.c
 *		Which date directories go after a close (cfp.retain_days).
 *
 * Called by the close of day (close.c), in the worker, until nothing is left
 * to do; also for a date that gets no backup.  Each call does a bounded piece,
 * so that flushing goes on.
 *
 * cfp.retain_days counts calendar dates: 5 keeps the date that was closed and
 * the four before it, whether they have a directory or not.
 *
 * A directory that has become too old stays all the same
 *	- when it has the newest complete backup, or one that this builds on, or
 *	  may build on, where a manifest between them cannot be used; of the
 *	  latter the backup alone stays, and its day files go;
 *	- when there is anything in it that cfp did not make: a file of another
 *	  name, of another kind, day files or a manifest of another server or
 *	  database; or when it is no directory but a link to one;
 *	- when the history lacks a record of its day files, or a line of them
 *	  cannot be read;
 *	- when its day files say what was given up (forget.c), and there still are
 *	  day files of earlier dates, which would then be read without it.
 *
 * Every record of its day files is looked up in the history by primary key
 * and updated_at; so a history that was lost, restored or set back is noticed
 * whatever became of it.  That is done once in a directory's life, unless it
 * stays.  What cfp_prune_history() was told to remove (cfp_pruned) is not
 * missed: a record that a newer one of its item has superseded, or whose item
 * is gone with all that is as old.  Nor is what was given up by hand, or by a
 * restore (replay.c), when the files that say so are too old as well: until
 * then somebody may want it back.  The day files are looked through for that
 * only when something is missing.
 *
 * What stays is told in the log at each close, with the reason.  An error in
 * one directory, as when it cannot be read, is such a reason, and the next
 * directory comes.
 *
 * The manifest is deleted first: what a crash leaves is never a backup that
 * looks complete, and goes at the next close.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include <sys/stat.h>
#include <unistd.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/calendar.h"
#include "base/process.h"
#include "base/settings.h"
#include "files/day_dir.h"
#include "files/day_reader.h"
#include "files/manifest.h"
#include "files/replay.h"
#include "files/wal_files.h"
#include "record/record.h"
#include "tables/scan.h"
#include "tables/statement.h"
#include "tables/tables.h"
#include "worker/retention.h"

#define PIECE_RECORDS	5000	/* looked up in one call */
#define PIECE_BYTES		(4 * 1024 * 1024)	/* read in one call, and a line
											 * more */

/* What is looked up of a record. */
typedef struct Wanted
{
	Datum		names[3];
	int32		version;
	TimestampTz updated_at;
} Wanted;

/*
 * Of those that the history lacks: has their item a newer record, and is it
 * gone with all that is as old?  How many were not pruned.
 */
static CfpStatement missing_count = {
	.table = "cfp_pruned",
	.sql = "SELECT count(*) FROM unnest($1, $2, $3, $4, $5) u(k, c, at, superseded, gone)"
	" WHERE NOT EXISTS (SELECT FROM @schema@.cfp_pruned p"
	"  WHERE (p.key IS NULL OR p.key = u.k)"
	"  AND (p.collection_name IS NULL OR p.collection_name = u.c)"
	"  AND (u.at < p.superseded_before AND u.superseded OR u.at < p.deleted_before AND u.gone))",
	.nargs = 5,
	.argtypes = {TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, BOOLARRAYOID, BOOLARRAYOID},
};

/* The work between two calls; a piece that throws begins it anew. */
static struct
{
	MemoryContext context;		/* of what follows; NULL: nothing is being
								 * done */
	List	   *dates;			/* to be looked at, the first one now */
	List	   *links;			/* those whose backup the newest one builds on */
	CfpWalReader *reader;
	bool		reading;		/* the first one's day files */
	DateADT		too_old;		/* the last date that is */
	CfpReplay  *replay;			/* once something is missing */
	bool		replaying;		/* it is being read */
	int64		given_up;		/* records of the first one, not long ago */
}			work;

/*-------------------------------------------------------------------------
 * What is too old
 *-------------------------------------------------------------------------
 */

/*
 * The dates of the newest complete backup, first, and of those that it builds
 * on; of all before it when a manifest among them does not tell.
 */
static List *
needed_backups(void)
{
	List	   *backups = cfp_list_backups(false);
	List	   *needed = NIL;
	CfpManifest manifest;
	DateADT		date;
	ListCell   *lc;

	if (backups == NIL)
		return NIL;
	date = llast_int(backups);
	while (!list_member_int(needed, date))
	{
		needed = lappend_int(needed, date);
		if (!cfp_read_manifest(date, &manifest, NULL))
		{
			foreach(lc, backups)
			{
				if (lfirst_int(lc) < date)
					needed = lappend_int(needed, lfirst_int(lc));
			}
			break;
		}
		if (manifest.history_kind != CFP_BACKUP_KIND_DAY)
			break;
		date = manifest.builds_on;
	}
	return needed;
}

/* Find the directories that are too old. */
static void
begin_retention(DateADT closed)
{
	MemoryContext context = AllocSetContextCreate(cfp_worker_context, "cfp retention",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old;
	List	   *needed;
	List	   *dates;
	ListCell   *lc;

	Assert(work.context == NULL);
	work.dates = NIL;
	work.reading = work.replaying = false;
	work.replay = NULL;
	work.too_old = closed - cfp_retain_days;
	cfp_worker_begin(false, false);
	needed = needed_backups();
	dates = cfp_list_date_dirs();

	old = MemoryContextSwitchTo(context);
	work.reader = cfp_wal_reader_create();
	work.links = list_copy_tail(needed, 1);
	foreach(lc, dates)
	{
		DateADT		date = lfirst_int(lc);

		if (date > work.too_old || (needed != NIL && date == linitial_int(needed)))
			continue;
		/* Of a link the day files may have gone before. */
		if (!list_member_int(work.links, date) || cfp_list_day_files(date) != NIL)
			work.dates = lappend_int(work.dates, date);
	}
	MemoryContextSwitchTo(old);
	cfp_worker_commit();
	MemoryContextSetParent(context, TopMemoryContext);
	work.context = context;
}

static void
end_retention(void)
{
	if (work.context != NULL)
		MemoryContextDelete(work.context);
	work.context = NULL;
}

/*-------------------------------------------------------------------------
 * One directory
 *-------------------------------------------------------------------------
 */

/* Say why the directory stays. */
static void
report_kept(DateADT date, const char *reason, const char *hint)
{
	ereport(LOG,
			(errmsg("cfp: directory \"%s\" is kept beyond cfp.retain_days", cfp_date_dir(date)),
			 errdetail_internal("%s", reason),
			 hint != NULL ? errhint("%s", hint) : 0));
}

/* Is it the name of a file that cfp makes, or makes it under? */
static bool
is_our_name(const char *name)
{
	char		base[MAXPGPATH];
	char		wanted[MAXPGPATH];
	int			number;
	size_t		len = strlen(name);

	strlcpy(base, name, sizeof(base));
	if (len > 4 && strcmp(name + len - 4, ".tmp") == 0)
		base[len - 4] = '\0';
	if (strcmp(base, CFP_MANIFEST_FILE) == 0 || strcmp(base, CFP_HISTORY_BACKUP) == 0 ||
		strcmp(base, CFP_LATEST_BACKUP) == 0)
		return true;
	if (sscanf(base, "wal_%d", &number) != 1 || number < 1)
		return false;
	snprintf(wanted, sizeof(wanted), "wal_%06d.jsonl", number);
	return strcmp(base, wanted) == 0;
}

/*
 * The names of the files in the directory; with *foreign the first thing that
 * cfp did not make, or NULL.
 */
static List *
list_files(const char *path, char **foreign)
{
	struct dirent *entry;
	struct stat st;
	DIR		   *dir;
	List	   *names = NIL;

	*foreign = NULL;
	if (lstat(path, &st) == 0 && !S_ISDIR(st.st_mode))
	{
		*foreign = pstrdup(".");
		return NIL;
	}
	dir = AllocateDir(path);
	while ((entry = ReadDir(dir, path)) != NULL)
	{
		char	   *file = psprintf("%s/%s", path, entry->d_name);

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (!is_our_name(entry->d_name) || lstat(file, &st) != 0 || !S_ISREG(st.st_mode))
		{
			*foreign = pstrdup(entry->d_name);
			break;
		}
		names = lappend(names, pstrdup(entry->d_name));
	}
	FreeDir(dir);
	return names;
}

/* What was made by somebody else; NULL when nothing was. */
static char *
find_foreign(DateADT date)
{
	CfpManifest manifest;
	char	   *foreign;
	ListCell   *lc;

	(void) list_files(cfp_date_dir(date), &foreign);
	if (foreign != NULL)
		return foreign;
	foreach(lc, cfp_list_day_files(date))
	{
		char	   *path = cfp_day_file(date, lfirst_int(lc));

		if (!cfp_day_file_is_ours(path))
			return pstrdup(last_dir_separator(path) + 1);
	}
	if (access(psprintf("%s/" CFP_MANIFEST_FILE, cfp_date_dir(date)), F_OK) == 0 &&
		(!cfp_read_manifest(date, &manifest, NULL) || manifest.other_incarnation))
		return pstrdup(CFP_MANIFEST_FILE);
	return NULL;
}

/* Was the record given up?  If not long ago, it is counted. */
static bool
is_given_up(const Datum *values, const bool *nulls)
{
	DateADT		given_up;

	if (work.replay == NULL ||
		cfp_replay_covers(work.replay, 0, work.reader->date, work.reader->file,
						  work.reader->line, values, nulls, true, &given_up) == NULL)
		return false;
	if (given_up > work.too_old)
		work.given_up++;
	return true;
}

/* Are there day files of an earlier date? */
static bool
has_earlier_files(DateADT date)
{
	ListCell   *date_cell;
	ListCell   *number_cell;

	foreach(date_cell, cfp_list_date_dirs())
	{
		if (lfirst_int(date_cell) >= date)
			break;
		foreach(number_cell, cfp_list_day_files(lfirst_int(date_cell)))
		{
			if (cfp_day_file_is_ours(cfp_day_file(lfirst_int(date_cell), lfirst_int(number_cell))))
				return true;
		}
	}
	return false;
}

/* Has the table a row of the item that was stored at this time or before? */
static bool
has_as_old(TableScan *scan, const Wanted *record)
{
	ScanKeyData keys[3];

	names_keys(keys, record->names);
	scan_start(scan, keys);
	while (scan_next(scan, ForwardScanDirection))
	{
		slot_getsomeattrs(scan->slot, CFP_COL_UPDATED_AT + 1);
		if (DatumGetTimestampTz(scan->slot->tts_values[CFP_COL_UPDATED_AT]) <= record->updated_at)
			return true;
	}
	return false;
}

/*
 * Is the record in the history?  *newer: the history has a newer one of its
 * item, when it is not.
 */
static bool
in_history(TableScan *scan, const Wanted *record, bool *newer)
{
	ScanKeyData keys[4];
	bool		found = false;

	*newer = false;
	names_keys(keys, record->names);
	version_bound(&keys[3], record->version);
	scan_start(scan, keys);
	while (!found && !*newer && scan_next(scan, ForwardScanDirection))
	{
		slot_getsomeattrs(scan->slot, CFP_COL_VERSION + 1);
		if (slot_version(scan->slot) != record->version)
			*newer = true;
		else
			found = DatumGetTimestampTz(scan->slot->tts_values[CFP_COL_UPDATED_AT]) == record->updated_at;
	}
	return found;
}

static Datum
make_array(Datum *elements, int n, Oid type, int16 len, bool byval, char align)
{
	return PointerGetDatum(construct_array(elements, n, type, len, byval, align));
}

/* How many of the records the history lacks, but those that were pruned. */
static int64
count_missing(const Wanted *records, int n)
{
	CfpTables	tables = cfp_tables_locked();
	TableScan	by_version;
	TableScan	history;
	TableScan	latest;
	Datum	   *elements[5];
	Datum		arrays[5];
	bool		isnull;
	int			lacking = 0;

	Assert(n > 0 && n <= PIECE_RECORDS);
	for (int i = 0; i < 5; i++)
		elements[i] = palloc(sizeof(Datum) * n);
	scan_open(&by_version, tables.history, tables.history_pkey, GetActiveSnapshot(), 4);
	scan_open(&history, tables.history, tables.history_pkey, GetActiveSnapshot(), 3);
	scan_open(&latest, tables.latest, tables.latest_pkey, GetActiveSnapshot(), 3);
	for (int i = 0; i < n; i++)
	{
		bool		newer;

		if (in_history(&by_version, &records[i], &newer))
			continue;
		elements[0][lacking] = records[i].names[CFP_COL_KEY];
		elements[1][lacking] = records[i].names[CFP_COL_COLLECTION];
		elements[2][lacking] = TimestampTzGetDatum(records[i].updated_at);
		elements[3][lacking] = BoolGetDatum(newer);
		elements[4][lacking] = BoolGetDatum(!has_as_old(&history, &records[i]) &&
											!has_as_old(&latest, &records[i]));
		lacking++;
	}
	scan_close(&latest);
	scan_close(&history);
	scan_close(&by_version);
	if (lacking == 0)
		return 0;

	arrays[0] = make_array(elements[0], lacking, TEXTOID, -1, false, TYPALIGN_INT);
	arrays[1] = make_array(elements[1], lacking, TEXTOID, -1, false, TYPALIGN_INT);
	arrays[2] = make_array(elements[2], lacking, TIMESTAMPTZOID, sizeof(TimestampTz),
						   FLOAT8PASSBYVAL, TYPALIGN_DOUBLE);
	arrays[3] = make_array(elements[3], lacking, BOOLOID, sizeof(bool), true, TYPALIGN_CHAR);
	arrays[4] = make_array(elements[4], lacking, BOOLOID, sizeof(bool), true, TYPALIGN_CHAR);
	cfp_statement_run(&missing_count, arrays, NULL);
	return DatumGetInt64(cfp_statement_value(1, &isnull));
}

/*
 * Read a piece of the day files and look its records up.  *missing: how many
 * the history lacks.  False at the end of the files.
 */
static bool
look_up_piece(int64 *missing)
{
	MemoryContext context = CurrentMemoryContext;
	MemoryContext line = AllocSetContextCreate(context, "cfp retention line",
											   ALLOCSET_DEFAULT_SIZES);
	int64		limit = work.reader->bytes_done + PIECE_BYTES;
	Wanted	   *records = palloc(sizeof(Wanted) * PIECE_RECORDS);
	Datum		values[CFP_NCOLS];
	bool		nulls[CFP_NCOLS];
	int			n = 0;
	bool		more = true;

	while (n < PIECE_RECORDS && work.reader->bytes_done < limit)
	{
		/* A line leaves behind many times what is looked up. */
		MemoryContextReset(line);
		MemoryContextSwitchTo(line);
		more = cfp_wal_reader_next(work.reader, values, nulls);
		MemoryContextSwitchTo(context);
		if (!more)
			break;
		if (is_given_up(values, nulls))
			continue;
		for (int i = CFP_COL_KEY; i <= CFP_COL_ITEM; i++)
			records[n].names[i] = PointerGetDatum(DatumGetTextPCopy(values[i]));
		records[n].version = DatumGetInt32(values[CFP_COL_VERSION]);
		records[n].updated_at = DatumGetTimestampTz(values[CFP_COL_UPDATED_AT]);
		n++;
	}
	MemoryContextDelete(line);
	*missing = n == 0 ? 0 : count_missing(records, n);
	return more || n > 0;
}

/* A newer backup builds on the one that is here. */
static void
remove_day_files(DateADT date)
{
	ListCell   *lc;

	foreach(lc, cfp_list_day_files(date))
		cfp_remove_file(cfp_day_file(date, lfirst_int(lc)));
	fsync_fname_ext(cfp_date_dir(date), true, false, ERROR);
	ereport(LOG,
			(errmsg("cfp: removed the day files of directory \"%s\"", cfp_date_dir(date)),
			 errdetail("They were older than cfp.retain_days allows. The backup stays, since a newer one builds on it.")));
}

/* All that is in it is cfp's, and was looked at. */
static void
remove_directory(DateADT date)
{
	char	   *path = cfp_date_dir(date);
	char	   *foreign;
	List	   *names = list_files(path, &foreign);
	ListCell   *lc;

	if (foreign != NULL)
		return;
	cfp_remove_file(psprintf("%s/%s", path, CFP_MANIFEST_FILE));
	fsync_fname_ext(path, true, false, ERROR);
	foreach(lc, names)
		cfp_remove_file(psprintf("%s/%s", path, (char *) lfirst(lc)));
	if (rmdir(path) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not remove directory \"%s\": %m", path)));
	fsync_fname_ext(cfp_database_dir(), true, false, ERROR);
	ereport(LOG,
			(errmsg("cfp: removed directory \"%s\"", path),
			 errdetail("It was older than cfp.retain_days allows, and storage_history has its records.")));
}

/* A piece of the work on the first date; false when it is done with. */
static bool
look_at_first(void)
{
	DateADT		date = linitial_int(work.dates);
	int64		missing;

	Assert(work.context != NULL && work.dates != NIL);
	if (work.replaying)
	{
		work.replaying = cfp_replay_read(work.replay, PIECE_BYTES);
		return true;
	}
	if (!work.reading)
	{
		char	   *foreign = find_foreign(date);

		if (foreign != NULL)
		{
			report_kept(date, psprintf("It has \"%s\", which cfp did not make for this database.", foreign),
						NULL);
			return false;
		}
		cfp_wal_reader_start(work.reader, date, false);
		work.reader->bad_lines = work.reader->forgets = work.given_up = 0;
		work.reading = true;
	}

	if (look_up_piece(&missing))
	{
		if (missing == 0)
			return true;
		if (work.replay == NULL)
		{
			/* Look again, knowing what was given up. */
			MemoryContext old = MemoryContextSwitchTo(work.context);

			work.replay = cfp_replay_begin(date);
			MemoryContextSwitchTo(old);
			work.replaying = true;
			work.reading = false;
			return true;
		}
		report_kept(date, "storage_history lacks records of its day files.",
					psprintf("To get them back, call cfp_rebuild_history_from_wal('%s'); "
							 "if they are not wanted, remove the directory.", cfp_date_text(date)));
	}
	else if (work.reader->bad_lines > 0)
		report_kept(date, "Its day files have lines that cannot be read.",
					"If they are not wanted, remove the directory.");
	else if (work.given_up > 0)
		report_kept(date, psprintf(INT64_FORMAT " records of its day files were given up, which the day files of later dates say.",
								   work.given_up),
					"It goes when those have become too old.");
	else if (work.reader->forgets > 0 && has_earlier_files(date))
		report_kept(date, "Its day files say what was given up of earlier dates, of which there still are day files.",
					NULL);
	else if (list_member_int(work.links, date))
		remove_day_files(date);
	else
		remove_directory(date);
	return false;
}

bool
cfp_retention_step(DateADT closed)
{
	volatile bool more = false;

	if (cfp_retain_days == 0)
		return false;
	if (work.context == NULL)
		begin_retention(closed);
	if (work.dates == NIL)
	{
		end_retention();
		return false;
	}

	PG_TRY();
	{
		cfp_worker_begin(false, false);
		more = look_at_first();
		cfp_worker_commit();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(cfp_worker_context);
		error = CopyErrorData();
		if (ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_OPERATOR_INTERVENTION)
		{
			end_retention();
			PG_RE_THROW();
		}
		FlushErrorState();
		AbortOutOfAnyTransaction();
		MemoryContextSwitchTo(cfp_worker_context);
		cfp_worker_begin(false, false);
		report_kept(linitial_int(work.dates), error->message, error->hint);
		cfp_worker_commit();
	}
	PG_END_TRY();

	if (!more)
	{
		work.dates = list_delete_first(work.dates);
		/* What an error has cut short says nothing. */
		if (work.replaying)
			work.replay = NULL;
		work.reading = work.replaying = false;
	}
	return true;
}
