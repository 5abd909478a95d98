/*-------------------------------------------------------------------------
 *
 * day_files.c
 *		The day files: every record that was flushed, once, in order.
 *
 * Called by flush.c in the worker, within the flush's transaction.  The row
 * 'files' of cfp_state says what the files have (a snapshot, which flush.c
 * compares with its own) and where they end: date, number of the last file,
 * its length.  The row is saved in the transaction whose records were written
 * and synced before, so the files never have less than the row says, and what
 * they have beyond it was never saved and is taken off again:
 *
 *	- the last file is opened anew in each flush.  What it has beyond the
 *	  saved length is cut off.  One that is missing or shorter (a standby
 *	  promoted, another base directory, deleted by hand) is left, and a new
 *	  one begun;
 *	- before the first write of a worker, and after a flush that failed, the
 *	  files of higher number or later date are removed, if their first line
 *	  says that this server made them for this database;
 *	- a row of another cluster or database, or none: a new file is begun, and
 *	  nothing removed.
 *
 * A record belongs to the date that is open when it is written.  The close of
 * day switches the date by changing the row, between two flushes; not while
 * the disk may have more than was saved, which only the row tells: then the
 * first flush that finds the files working goes on with the open date.
 *
 * Within a flush records come in the order of updated_at and version.  A new
 * file begins when a line would make one longer than cfp.max_wal_size.
 *
 * Trouble with the files must not stop the flush, nor must their sort.  What
 * touches them runs in a subtransaction; an error in it is logged (the same
 * one once a minute) and kept for cfp_stat, the disk is put back, the row
 * stays as it is, and so a later flush finds the missing records by the row's
 * snapshot.  It is tried after 1 s, doubling to 60 s, when somebody asks for a
 * flush, and when the lock on cfp.base_dir is got.
 *
 * Locks: none of its own.
 *
 *-------------------------------------------------------------------------
 */
#include "cfp.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "common/file_perm.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/fd.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"
#include "utils/tuplesort.h"
#include "utils/typcache.h"
#include "utils/wait_event.h"

#include "database.h"
#include "day_dir.h"
#include "day_files.h"
#include "instance_lock.h"
#include "json_line.h"
#include "jsonc.h"
#include "record.h"
#include "settings.h"
#include "worker.h"

#define WRITE_SIZE			(256 * 1024)	/* bytes written at once */
#define SPACE_INTERVAL		(16 * 1024 * 1024)	/* bytes between looks for space */
#define FIRST_LINE_SIZE		4096	/* more than a first line has */
#define FIRST_RETRY			1000	/* ms after an error, doubled */
#define LAST_RETRY			60000
#define REPEAT_LOG			60000	/* ms before the same error is logged again */

/* Where the files end. */
typedef struct FilesEnd
{
	bool		ours;			/* saved by this cluster for this database */
	DateADT		date;
	int			file;			/* 0: none of this date yet */
	int64		length;
	int64		records;		/* of this date */
} FilesEnd;

/* What the worker remembers. */
static bool removed_unsaved = false;	/* files beyond the row are gone */
static int64 behind = -1;		/* records missing in the files; -1 unknown */
static int	retry_wait = 0;		/* ms; 0: no trouble */
static TimestampTz retry_at;
static bool retry_with_lock;	/* the lock was missing */
static char logged_message[256];
static TimestampTz logged_at = 0;

/* The flush that runs. */
static FilesEnd saved;
static FilesEnd end;
static bool taking;				/* records are written, not only counted */
static bool unwanted;			/* cfp.wal_files is off */
static int64 nadded;
static Tuplesortstate *sort;	/* NULL: nothing to write */
static ResourceOwner sort_owner;	/* of its temporary files */
static MemoryContext sort_context;
static TupleDesc descriptor;
static char *opened;			/* path of the file saved.file, once opened */
static List *created;			/* paths */
static char *path;				/* of the file being written */
static int	fd;
static bool has_record;			/* it has one */
static int64 space_checked;		/* bytes written since the last look */

static CfpStatement end_read = {
	.sql = "SELECT system_identifier, database_oid, date, file, length, counter"
	" FROM @schema@.cfp_state WHERE name = 'files'",
};

static CfpStatement end_save = {
	.sql = "INSERT INTO @schema@.cfp_state"
	" (name, system_identifier, database_oid, snapshot, date, file, length, counter, at)"
	" VALUES ('files', $1, $2, pg_current_snapshot(), $3, $4, $5, $6, now())"
	" ON CONFLICT (name) DO UPDATE SET system_identifier = excluded.system_identifier,"
	" database_oid = excluded.database_oid, snapshot = excluded.snapshot,"
	" date = excluded.date, file = excluded.file, length = excluded.length,"
	" counter = excluded.counter, at = excluded.at",
	.nargs = 6,
	.argtypes = {INT8OID, OIDOID, DATEOID, INT4OID, INT8OID, INT8OID},
};

/*-------------------------------------------------------------------------
 * Trouble
 *-------------------------------------------------------------------------
 */

static void
note_trouble(const ErrorData *error)
{
	CfpDatabase *db = cfp_my_database();
	TimestampTz now = GetCurrentTimestamp();

	retry_wait = retry_wait == 0 ? FIRST_RETRY : Min(retry_wait * 2, LAST_RETRY);
	retry_at = TimestampTzPlusMilliseconds(now, retry_wait);
	retry_with_lock = !cfp_instance_lock_held();

	LWLockAcquire(&db->lock, LW_EXCLUSIVE);
	strlcpy(db->wal_error, error->message, sizeof(db->wal_error));
	db->wal_error_at = now;
	LWLockRelease(&db->lock);

	if (strncmp(error->message, logged_message, sizeof(logged_message) - 1) == 0 &&
		!cfp_time_has_come(TimestampTzPlusMilliseconds(logged_at, REPEAT_LOG), REPEAT_LOG, now))
		return;
	strlcpy(logged_message, error->message, sizeof(logged_message));
	logged_at = now;
	ereport(WARNING,
			(errcode(error->sqlerrcode),
			 errmsg("cfp: day files are not written: %s", error->message),
			 error->detail != NULL ? errdetail_internal("%s", error->detail) : 0,
			 error->hint != NULL ? errhint("%s", error->hint) :
			 errhint("Stores and reads go on. The files are completed from storage_history when this is remedied.")));
}

/*
 * Do what touches files.  False when there was trouble; open files are then
 * closed.  Throws when the worker was cancelled.
 */
static bool
guarded(void (*step) (void))
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		step();
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;

	if (error == NULL)
		return true;
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		ReThrowError(error);
	/* At a shutdown the launcher may be gone, and the lock with it. */
	if (!ShutdownRequestPending || cfp_instance_lock_held())
		note_trouble(error);
	return false;
}

TimestampTz
cfp_day_files_due(TimestampTz now)
{
	if (retry_wait == 0 || !cfp_wal_files)
		return 0;
	if ((retry_with_lock && cfp_instance_lock_held()) ||
		cfp_time_has_come(retry_at, LAST_RETRY, now))
		return now;
	return retry_at;
}

bool
cfp_day_files_as_saved(void)
{
	return removed_unsaved || !cfp_wal_files;
}

void
cfp_day_files_retry(void)
{
	retry_at = 0;
}

static void
require_free_space(void)
{
	int64		free_space = cfp_free_space();

	if (free_space >= 0 && free_space / (1024 * 1024) < cfp_min_free_space)
		ereport(ERROR,
				(errcode(ERRCODE_DISK_FULL),
				 errmsg("less than cfp.min_free_space is free below \"%s\"", cfp_base_dir),
				 errdetail("%lld MB are free, cfp.min_free_space is %d MB.",
						   (long long) (free_space / (1024 * 1024)), cfp_min_free_space)));
	space_checked = 0;
}

/*-------------------------------------------------------------------------
 * The disk as saved
 *-------------------------------------------------------------------------
 */

/* The first bytes of a file, NUL-terminated; *size is the whole file's. */
static char *
read_first_line(const char *name, off_t *size)
{
	char	   *text = palloc(FIRST_LINE_SIZE + 1);
	struct stat st;
	int			file = OpenTransientFile(name, O_RDONLY | PG_BINARY);
	int			len;

	if (file < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open file \"%s\": %m", name)));
	len = read(file, text, FIRST_LINE_SIZE);
	if (len < 0 || fstat(file, &st) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read file \"%s\": %m", name)));
	CloseTransientFile(file);
	text[len] = '\0';
	*size = st.st_size;
	return text;
}

bool
cfp_day_file_is_ours(const char *name)
{
	off_t		size;
	char	   *text = read_first_line(name, &size);
	char	   *newline = strchr(text, '\n');
	jsonc_object *header;
	jsonc_object *version;
	jsonc_object *system_identifier;
	jsonc_object *database_oid;
	char		mine[32];
	bool		ours;

	if (newline == NULL)
		return false;
	*newline = '\0';
	header = json_tokener_parse(text);
	snprintf(mine, sizeof(mine), UINT64_FORMAT, GetSystemIdentifier());
	ours = json_object_is_type(header, json_type_object) &&
		json_object_object_get_ex(header, "cfp", &version) &&
		json_object_object_get_ex(header, "system_identifier", &system_identifier) &&
		json_object_object_get_ex(header, "database_oid", &database_oid) &&
		json_object_is_type(system_identifier, json_type_string) &&
		strcmp(json_object_get_string(system_identifier), mine) == 0 &&
		json_object_get_int64(database_oid) == (int64) MyDatabaseId;
	json_object_put(header);
	return ours;
}

/* Is it a file of which not even the first line was written whole? */
static bool
is_torn(const char *name, DateADT date)
{
	StringInfoData header;
	off_t		size;
	char	   *text = read_first_line(name, &size);

	initStringInfo(&header);
	cfp_line_write_header(&header, date);
	return size < header.len && strncmp(text, header.data, size) == 0;
}

/* Take off what the last file has beyond the saved end. */
static void
cut_back(const char *name, off_t size)
{
	if (pg_truncate(name, saved.length) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not truncate file \"%s\": %m", name)));
	ereport(LOG,
			(errmsg("cfp: day file \"%s\" cut back from %lld to %lld bytes", name,
					(long long) size, (long long) saved.length),
			 errdetail("The rest was never saved: a flush did not complete, or the database was recovered to an earlier time. What storage_history has of it is written again.")));
}

/* The same, and remove the files beyond it that this server has made. */
static void
remove_unsaved(void)
{
	ListCell   *date_cell;
	ListCell   *number_cell;
	struct stat st;

	if (saved.file > 0)
	{
		char	   *name = cfp_day_file(saved.date, saved.file);

		if (stat(name, &st) == 0 && st.st_size > saved.length)
			cut_back(name, st.st_size);
	}

	foreach(date_cell, cfp_list_date_dirs())
	{
		DateADT		date = lfirst_int(date_cell);

		if (date < saved.date)
			continue;
		foreach(number_cell, cfp_list_day_files(date))
		{
			int			number = lfirst_int(number_cell);
			char	   *name = cfp_day_file(date, number);

			if (date == saved.date && number <= saved.file)
				continue;
			if (!cfp_day_file_is_ours(name) && !is_torn(name, date))
				continue;
			durable_unlink(name, ERROR);
			ereport(LOG,
					(errmsg("cfp: removed day file \"%s\"", name),
					 errdetail("It was written by a flush that did not complete; its records are written again.")));
		}
	}
}

/* May files be written, and is the disk as the row says? */
static void
prepare(void)
{
	cfp_require_instance_lock(end.date);
	if (!removed_unsaved)
	{
		(void) cfp_make_date_dir(end.date);
		if (saved.ours)
			remove_unsaved();
		removed_unsaved = true;
	}
	require_free_space();
}

/* After trouble: take off what this flush has written, as far as possible. */
static void
put_back(void)
{
	ListCell   *lc;

	removed_unsaved = false;
	foreach(lc, created)
		(void) unlink(lfirst(lc));
	if (opened != NULL && pg_truncate(opened, saved.length) != 0)
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not truncate file \"%s\": %m", opened)));
	end = saved;
}

/*-------------------------------------------------------------------------
 * Writing
 *-------------------------------------------------------------------------
 */

/* Write the first bytes of the buffer, and take them off it. */
static void
write_out(StringInfo buf, int len)
{
	int			done = 0;

	while (done < len)
	{
		int			written;

		CHECK_FOR_INTERRUPTS();
		errno = 0;
		pgstat_report_wait_start(PG_WAIT_EXTENSION);
		written = pg_pwrite(fd, buf->data + done, len - done, end.length + done);
		pgstat_report_wait_end();
		if (written <= 0)
		{
			if (written < 0 && errno == EINTR)
				continue;
			if (errno == 0)
				errno = ENOSPC;
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not write file \"%s\": %m", path)));
		}
		done += written;
	}
	memmove(buf->data, buf->data + len, buf->len - len);
	buf->len -= len;
	end.length += len;

	space_checked += len;
	if (space_checked >= SPACE_INTERVAL)
		require_free_space();
}

/* Have all of the file on disk; its name is there since it was created. */
static void
finish_file(void)
{
	pgstat_report_wait_start(PG_WAIT_EXTENSION);
	if (pg_fdatasync(fd) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not fsync file \"%s\": %m", path)));
	pgstat_report_wait_end();
	if (CloseTransientFile(fd) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not close file \"%s\": %m", path)));
}

/* Begin the next file of the date, beyond all there are. */
static void
create_file(void)
{
	char	   *dir = cfp_make_date_dir(end.date);
	List	   *numbers = cfp_list_day_files(end.date);
	StringInfoData header;

	if (numbers != NIL)
		end.file = Max(end.file, llast_int(numbers));
	end.length = 0;
	has_record = false;

	/* A name may be taken by what is no regular file, and so is not listed. */
	do
	{
		end.file++;
		path = cfp_day_file(end.date, end.file);
		fd = OpenTransientFile(path, O_RDWR | O_CREAT | O_EXCL | PG_BINARY);
	} while (fd < 0 && errno == EEXIST);
	if (fd < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create file \"%s\": %m", path)));
	created = lappend(created, path);
	fsync_fname_ext(dir, true, false, ERROR);

	initStringInfo(&header);
	cfp_line_write_header(&header, end.date);
	write_out(&header, header.len);
	pfree(header.data);
}

/* Does the file have as much as was saved, up to the end of a line? */
static bool
has_saved_length(off_t size)
{
	char		last;

	return size >= end.length &&
		pg_pread(fd, &last, 1, end.length - 1) == 1 && last == '\n';
}

/* Open the file in which the last flush ended, or begin a new one. */
static void
open_file(void)
{
	struct stat st;

	if (end.file == 0)
	{
		create_file();
		return;
	}

	path = cfp_day_file(end.date, end.file);
	fd = OpenTransientFile(path, O_RDWR | PG_BINARY);
	if (fd < 0 && errno != ENOENT)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open file \"%s\": %m", path)));
	if (fd >= 0 && fstat(fd, &st) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not stat file \"%s\": %m", path)));

	if (fd < 0 || !has_saved_length(st.st_size))
	{
		ereport(LOG,
				(errmsg("cfp: day file \"%s\" is %s, a new one is begun", path,
						fd < 0 ? "missing" :
						st.st_size < end.length ? "shorter than it was" : "not what was saved"),
				 errdetail("It had %lld bytes when the last flush was saved.",
						   (long long) end.length)));
		if (fd >= 0)
			CloseTransientFile(fd);
		create_file();
		return;
	}

	opened = path;
	has_record = true;
	if (st.st_size > end.length)
		cut_back(path, st.st_size);
}

/* Write all records that were added. */
static void
write_records(void)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(descriptor, &TTSOpsMinimalTuple);
	MemoryContext context = CurrentMemoryContext;
	MemoryContext line_context = AllocSetContextCreate(context, "cfp day file line",
													   ALLOCSET_DEFAULT_SIZES);
	int64		max_length = (int64) cfp_max_wal_size * 1024;
	StringInfoData buf;

	tuplesort_performsort(sort);
	initStringInfo(&buf);
	open_file();
	while (tuplesort_gettupleslot(sort, true, false, slot, NULL))
	{
		int			before = buf.len;

		slot_getallattrs(slot);
		MemoryContextSwitchTo(line_context);
		cfp_line_write(&buf, slot->tts_values, slot->tts_isnull);
		MemoryContextSwitchTo(context);
		MemoryContextReset(line_context);

		if (has_record && end.length + buf.len > max_length)
		{
			write_out(&buf, before);
			finish_file();
			create_file();
		}
		has_record = true;
		end.records++;
		if (buf.len >= WRITE_SIZE)
			write_out(&buf, buf.len);
	}
	write_out(&buf, buf.len);
	cfp_waitpoint("flush_written", true);
	finish_file();
	cfp_waitpoint("flush_synced", true);

	ExecDropSingleTupleTableSlot(slot);
	MemoryContextDelete(line_context);
	pfree(buf.data);
}

/*-------------------------------------------------------------------------
 * The parts of a flush
 *-------------------------------------------------------------------------
 */

static void
read_end(void)
{
	bool		isnull;
	Datum		date;

	memset(&saved, 0, sizeof(saved));
	if (cfp_statement_run(&end_read, NULL, NULL) == 0)
		return;
	saved.ours =
		(uint64) DatumGetInt64(cfp_statement_value(1, &isnull)) == GetSystemIdentifier() &&
		DatumGetObjectId(cfp_statement_value(2, &isnull)) == MyDatabaseId;
	date = cfp_statement_value(3, &isnull);
	saved.ours &= !isnull;
	if (!saved.ours)
		return;
	saved.date = DatumGetDateADT(date);
	saved.file = DatumGetInt32(cfp_statement_value(4, &isnull));
	saved.length = DatumGetInt64(cfp_statement_value(5, &isnull));
	/* The count is of the date. */
	saved.records = saved.file == 0 ? 0 : DatumGetInt64(cfp_statement_value(6, &isnull));
}

bool
cfp_day_files_begin(void)
{
	TimestampTz now = GetCurrentTimestamp();
	DateADT		open;

	nadded = 0;
	sort = NULL;
	opened = NULL;
	created = NIL;
	unwanted = !cfp_wal_files;
	taking = false;

	read_end();
	end = saved;
	if (unwanted)
		return false;
	open = cfp_open_date();
	if (!saved.ours || saved.date < open)
	{
		memset(&end, 0, sizeof(end));
		end.date = open;
	}

	if (cfp_day_files_due(now) <= now)
		taking = guarded(prepare);
	return taking;
}

bool
cfp_day_files_counted(void)
{
	return unwanted || behind >= 0;
}

static void
begin_sort(TupleTableSlot *slot)
{
	AttrNumber	columns[] = {CFP_COL_UPDATED_AT + 1, CFP_COL_VERSION + 1};
	Oid			operators[] = {
		lookup_type_cache(TIMESTAMPTZOID, TYPECACHE_LT_OPR)->lt_opr,
		lookup_type_cache(INT4OID, TYPECACHE_LT_OPR)->lt_opr
	};
	Oid			collations[] = {InvalidOid, InvalidOid};
	bool		nulls_first[] = {false, false};
	MemoryContext old;

	sort_owner = ResourceOwnerCreate(CurrentResourceOwner, "cfp day files sort");
	sort_context = AllocSetContextCreate(CurrentMemoryContext, "cfp day files sort",
										 ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(sort_context);
	descriptor = CreateTupleDescCopy(slot->tts_tupleDescriptor);
	sort = tuplesort_begin_heap(descriptor, lengthof(columns), columns, operators,
								collations, nulls_first, work_mem, NULL,
								TUPLESORT_NONE);
	MemoryContextSwitchTo(old);
}

/* Not by tuplesort_end(), which writes once more to the temporary files. */
static void
end_sort(void)
{
	ResourceOwnerRelease(sort_owner, RESOURCE_RELEASE_BEFORE_LOCKS, false, false);
	ResourceOwnerRelease(sort_owner, RESOURCE_RELEASE_LOCKS, false, false);
	ResourceOwnerRelease(sort_owner, RESOURCE_RELEASE_AFTER_LOCKS, false, false);
	ResourceOwnerDelete(sort_owner);
	MemoryContextDelete(sort_context);
	sort = NULL;
}

/*
 * A subtransaction for each record would be dear.  All that the sort can leave
 * behind when it fails is memory and temporary files.
 */
void
cfp_day_files_add(TupleTableSlot *slot)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *error;

	nadded++;
	if (!taking)
		return;
	if (sort == NULL)
		begin_sort(slot);

	PG_TRY();
	{
		CurrentResourceOwner = sort_owner;
		tuplesort_puttupleslot(sort, slot);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		CurrentResourceOwner = owner;
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
			PG_RE_THROW();
		FlushErrorState();
		end_sort();
		note_trouble(error);
		taking = false;
	}
	PG_END_TRY();
}

bool
cfp_day_files_write(void)
{
	bool		written = taking || unwanted;

	if (sort == NULL)
		return written;

	written = guarded(write_records);
	end_sort();
	if (!written)
		put_back();
	return written;
}

void
cfp_day_files_save(void)
{
	Datum		values[6];
	char		nulls[] = "      ";

	values[0] = Int64GetDatum((int64) GetSystemIdentifier());
	values[1] = ObjectIdGetDatum(MyDatabaseId);
	values[2] = DateADTGetDatum(end.date);
	values[3] = Int32GetDatum(end.file);
	values[4] = Int64GetDatum(end.length);
	values[5] = Int64GetDatum(end.records);
	/* Without a date nothing on the disk counts as this server's. */
	if (unwanted && !saved.ours)
		nulls[2] = 'n';
	cfp_statement_run(&end_save, values, nulls);
}

void
cfp_day_files_committed(bool written, bool all, int64 records)
{
	CfpDatabase *db = cfp_my_database();

	if (written)
	{
		if (retry_wait != 0 && !unwanted)
			ereport(LOG,
					(errmsg("cfp: day files are complete again"),
					 errdetail("%lld records were added.", (long long) nadded)));
		retry_wait = 0;
		behind = 0;
	}
	else
		behind = all ? nadded : behind + records;

	LWLockAcquire(&db->lock, LW_EXCLUSIVE);
	db->wal_behind = behind;
	if (written)
	{
		db->wal_error[0] = '\0';
		db->wal_error_at = 0;
	}
	LWLockRelease(&db->lock);
}

void
cfp_day_files_forget(void)
{
	removed_unsaved = false;
	sort = NULL;
	behind = -1;
}
