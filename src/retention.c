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
 *	  cannot be read.
 *
 * Every record of its day files is looked up in the history by primary key
 * and updated_at; so a history that was lost, restored or set back is noticed
 * whatever became of it.  That is done once in a directory's life, unless it
 * stays.  What cfp_prune_history() was told to remove (cfp_pruned) is not
 * missed: a record that a newer one of its item has superseded, or whose item
 * is gone with all that is as old.
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
#include "cfp.h"

#include <sys/stat.h>
#include <unistd.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "backup.h"
#include "day_dir.h"
#include "day_files.h"
#include "record.h"
#include "settings.h"
#include "wal_files.h"
#include "worker.h"

#define PIECE_RECORDS	5000	/* looked up in one call */
#define PIECE_BYTES		(4 * 1024 * 1024)	/* read in one call, and a line more */

/* The columns of a record that are looked up. */
static const int lookup_columns[] = {
	CFP_COL_KEY, CFP_COL_COLLECTION, CFP_COL_ITEM, CFP_COL_VERSION, CFP_COL_UPDATED_AT
};
static const Oid lookup_types[] = {TEXTOID, TEXTOID, TEXTOID, INT4OID, TIMESTAMPTZOID};
static const int16 lookup_lens[] = {-1, -1, -1, sizeof(int32), sizeof(TimestampTz)};
static const bool lookup_byval[] = {false, false, false, true, FLOAT8PASSBYVAL};
static const char lookup_align[] = {
	TYPALIGN_INT, TYPALIGN_INT, TYPALIGN_INT, TYPALIGN_INT, TYPALIGN_DOUBLE
};

#define NLOOKUP		lengthof(lookup_columns)

#define SAME_ITEM(table) \
	table ".key = u.k AND " table ".collection_name = u.c AND " table ".item_name = u.i"

static CfpStatement missing_count = {
	.sql = "SELECT count(*) FROM unnest($1, $2, $3, $4, $5) u(k, c, i, version, at)"
	" WHERE NOT EXISTS (SELECT FROM @schema@.storage_history h"
	"  WHERE " SAME_ITEM("h") " AND h.version = u.version AND h.updated_at = u.at)"
	" AND NOT EXISTS (SELECT FROM @schema@.cfp_pruned p"
	"  WHERE (p.key IS NULL OR p.key = u.k)"
	"  AND (p.collection_name IS NULL OR p.collection_name = u.c)"
	"  AND (u.at < p.superseded_before AND EXISTS (SELECT FROM @schema@.storage_history h"
	"    WHERE " SAME_ITEM("h") " AND h.version > u.version)"
	"   OR u.at < p.deleted_before AND NOT EXISTS (SELECT FROM @schema@.storage_history h"
	"    WHERE " SAME_ITEM("h") " AND h.updated_at <= u.at)"
	"    AND NOT EXISTS (SELECT FROM @schema@.storage_latest l"
	"    WHERE " SAME_ITEM("l") " AND l.updated_at <= u.at)))",
	.nargs = NLOOKUP,
	.argtypes = {TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT4ARRAYOID, TIMESTAMPTZARRAYOID},
};

/* The work between two calls; a piece that throws begins it anew. */
static struct
{
	MemoryContext context;		/* of what follows; NULL: nothing is being done */
	List	   *dates;			/* to be looked at, the first one now */
	List	   *links;			/* those whose backup the newest one builds on */
	CfpWalReader *reader;
	bool		reading;		/* the first one's day files */
} work;

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
	List	   *backups = cfp_list_backups();
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
begin_work(DateADT closed)
{
	MemoryContext context = AllocSetContextCreate(cfp_worker_context, "cfp retention",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old;
	List	   *needed;
	List	   *dates;
	ListCell   *lc;

	work.dates = NIL;
	work.reading = false;
	cfp_worker_begin(false, false);
	needed = needed_backups();
	dates = cfp_list_date_dirs();

	old = MemoryContextSwitchTo(context);
	work.reader = cfp_wal_reader_create();
	work.links = list_copy_tail(needed, 1);
	foreach(lc, dates)
	{
		DateADT		date = lfirst_int(lc);

		if (date > closed - cfp_retain_days || (needed != NIL && date == linitial_int(needed)))
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
end_work(void)
{
	if (work.context != NULL)
		MemoryContextDelete(work.context);
	work.context = NULL;
}

/*-------------------------------------------------------------------------
 * One directory
 *-------------------------------------------------------------------------
 */

/* Does the directory stay?  Says why. */
static void
keep(DateADT date, const char *reason, const char *hint)
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
		!cfp_read_manifest(date, &manifest, NULL))
		return pstrdup(CFP_MANIFEST_FILE);
	return NULL;
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
	Datum	   *elements[NLOOKUP];
	Datum		arrays[NLOOKUP];
	Datum		values[CFP_NCOLS];
	bool		nulls[CFP_NCOLS];
	bool		isnull;
	int			n = 0;

	for (int i = 0; i < NLOOKUP; i++)
		elements[i] = palloc(sizeof(Datum) * PIECE_RECORDS);
	while (n < PIECE_RECORDS && work.reader->bytes_done < limit)
	{
		bool		more;

		/* A line leaves behind many times what is looked up. */
		MemoryContextReset(line);
		MemoryContextSwitchTo(line);
		more = cfp_wal_reader_next(work.reader, values, nulls);
		MemoryContextSwitchTo(context);
		if (!more)
			break;
		for (int i = 0; i < NLOOKUP; i++)
			elements[i][n] = datumCopy(values[lookup_columns[i]], lookup_byval[i], lookup_lens[i]);
		n++;
	}
	MemoryContextDelete(line);
	*missing = 0;
	if (n == 0)
		return false;

	for (int i = 0; i < NLOOKUP; i++)
		arrays[i] = PointerGetDatum(construct_array(elements[i], n, lookup_types[i],
													lookup_lens[i], lookup_byval[i],
													lookup_align[i]));
	cfp_statement_run(&missing_count, arrays, NULL);
	*missing = DatumGetInt64(cfp_statement_value(1, &isnull));
	return true;
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

	if (!work.reading)
	{
		char	   *foreign = find_foreign(date);

		if (foreign != NULL)
		{
			keep(date, psprintf("It has \"%s\", which cfp did not make for this database.", foreign),
				 NULL);
			return false;
		}
		cfp_wal_reader_start(work.reader, date, false);
		work.reader->bad_lines = 0;
		work.reading = true;
	}

	if (look_up_piece(&missing))
	{
		if (missing == 0)
			return true;
		keep(date, "storage_history lacks records of its day files.",
			 psprintf("To get them back, call cfp_rebuild_history_from_wal('%s'); "
					  "if they are not wanted, remove the directory.", cfp_date_text(date)));
	}
	else if (work.reader->bad_lines > 0)
		keep(date, "Its day files have lines that cannot be read.",
			 "If they are not wanted, remove the directory.");
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
		begin_work(closed);
	if (work.dates == NIL)
	{
		end_work();
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
			end_work();
			PG_RE_THROW();
		}
		FlushErrorState();
		AbortOutOfAnyTransaction();
		MemoryContextSwitchTo(cfp_worker_context);
		cfp_worker_begin(false, false);
		keep(linitial_int(work.dates), error->message, error->hint);
		cfp_worker_commit();
	}
	PG_END_TRY();

	if (!more)
	{
		work.dates = list_delete_first(work.dates);
		work.reading = false;
	}
	return true;
}
