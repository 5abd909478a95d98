/*-------------------------------------------------------------------------
 *
 * day_disk.c
 *		The day files on the disk: as they were saved, and what is written.
 *
 * Called by day_files.c, within a flush:
 *
 *		cfp_disk_remove_unsaved()	where the disk may have more than was saved
 *		cfp_disk_require_space()
 *		cfp_disk_open()
 *		cfp_disk_line()				for each line, then
 *		cfp_disk_finish()			all is on the disk, durably
 *		cfp_disk_put_back()			instead, after an error in any of them
 *
 * The files never have less than what was saved; what they have beyond it was
 * never saved and is taken off again:
 *
 *	- the last file is opened anew in each flush.  What it has beyond the
 *	  saved length is cut off.  One that is missing or shorter (a standby
 *	  promoted, another base directory, deleted by hand) is left, and a new
 *	  one begun;
 *	- the files of higher number or later date are removed, if their first line
 *	  says that this server made them for this database.
 *
 * A new file begins when a line would make one longer than cfp.max_wal_size.
 * There are at least cfp.min_free_space free before a flush writes, and again
 * every SPACE_INTERVAL.
 *
 * Locks: none of its own; who writes holds the lock on cfp.base_dir
 * (instance_lock.c).
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file_perm.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/wait_event.h"

#include "base/settings.h"
#include "base/waitpoint.h"
#include "files/day_dir.h"
#include "files/day_disk_int.h"
#include "files/day_reader.h"
#include "files/instance_lock.h"
#include "record/line_format.h"
#include "record/line_write.h"
#include "tables/state.h"

#define WRITE_SIZE			(256 * 1024)	/* bytes written at once */
#define SPACE_INTERVAL		(16 * 1024 * 1024)	/* bytes between looks for
												 * space */

/*-------------------------------------------------------------------------
 * The disk as saved
 *-------------------------------------------------------------------------
 */

void
cfp_disk_require_space(CfpDayDisk *disk)
{
	int64		free_space;

	if (cfp_space_is_short(&free_space))
		ereport(ERROR,
				(errcode(ERRCODE_DISK_FULL),
				 errmsg("less than cfp.min_free_space is free below \"%s\"", cfp_base_dir),
				 errdetail("%lld MB are free, cfp.min_free_space is %d MB.",
						   (long long) (free_space / (1024 * 1024)), cfp_min_free_space)));
	disk->space_checked = 0;
}

/* Take off what the last file has beyond the saved end. */
static void
cut_back(const CfpDayDisk *disk, const char *name, off_t size)
{
	if (pg_truncate(name, disk->saved.length) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not truncate file \"%s\": %m", name)));
	ereport(LOG,
			(errmsg("cfp: day file \"%s\" cut back from %lld to %lld bytes", name,
					(long long) size, (long long) disk->saved.length),
			 errdetail("The rest was never saved: a flush did not complete, or the database was recovered to an earlier time. What storage_history has of it is written again.")));
}

void
cfp_disk_remove_unsaved(CfpDayDisk *disk)
{
	ListCell   *date_cell;
	ListCell   *number_cell;
	struct stat st;

	Assert(disk->saved.ours && cfp_instance_lock_held());
	if (disk->saved.file > 0)
	{
		char	   *name = cfp_day_file(disk->saved.date, disk->saved.file);

		if (stat(name, &st) == 0 && st.st_size > disk->saved.length)
			cut_back(disk, name, st.st_size);
	}

	foreach(date_cell, cfp_list_date_dirs())
	{
		DateADT		date = lfirst_int(date_cell);

		if (date < disk->saved.date)
			continue;
		foreach(number_cell, cfp_list_day_files(date))
		{
			int			number = lfirst_int(number_cell);
			char	   *name = cfp_day_file(date, number);

			if (date == disk->saved.date && number <= disk->saved.file)
				continue;
			if (!cfp_day_file_is_ours(name) && !cfp_day_file_is_torn(name, date))
				continue;
			durable_unlink(name, ERROR);
			ereport(LOG,
					(errmsg("cfp: removed day file \"%s\"", name),
					 errdetail("It was written by a flush that did not complete; its records are written again.")));
		}
	}
}

void
cfp_disk_put_back(CfpDayDisk *disk)
{
	ListCell   *lc;

	foreach(lc, disk->created)
		(void) unlink(lfirst(lc));
	if (disk->opened != NULL && pg_truncate(disk->opened, disk->saved.length) != 0)
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not truncate file \"%s\": %m", disk->opened)));
	disk->end = disk->saved;
}

/*-------------------------------------------------------------------------
 * Writing
 *-------------------------------------------------------------------------
 */

/* Write the first bytes of the buffer to the end of the file, and take them off it. */
static void
write_out(CfpDayDisk *disk, StringInfo buf, int len)
{
	int			done = 0;

	Assert(disk->path != NULL && len <= buf->len);
	while (done < len)
	{
		int			written;

		CHECK_FOR_INTERRUPTS();
		errno = 0;
		pgstat_report_wait_start(PG_WAIT_EXTENSION);
		written = pg_pwrite(disk->fd, buf->data + done, len - done, disk->end.length + done);
		pgstat_report_wait_end();
		if (written <= 0)
		{
			if (written < 0 && errno == EINTR)
				continue;
			if (errno == 0)
				errno = ENOSPC;
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not write file \"%s\": %m", disk->path)));
		}
		done += written;
	}
	memmove(buf->data, buf->data + len, buf->len - len);
	buf->len -= len;
	disk->end.length += len;

	disk->space_checked += len;
	if (disk->space_checked >= SPACE_INTERVAL)
		cfp_disk_require_space(disk);
}

/* Have all of the file on disk; its name is there since it was created. */
static void
finish_file(CfpDayDisk *disk)
{
	Assert(disk->path != NULL);
	pgstat_report_wait_start(PG_WAIT_EXTENSION);
	if (pg_fdatasync(disk->fd) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not fsync file \"%s\": %m", disk->path)));
	pgstat_report_wait_end();
	if (CloseTransientFile(disk->fd) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not close file \"%s\": %m", disk->path)));
}

/* Of the extension; one is made where the row is missing. */
static const char *
my_incarnation(void)
{
	const char *incarnation = cfp_incarnation(GetActiveSnapshot());

	return incarnation != NULL ? incarnation : cfp_state_make_incarnation();
}

/* Begin the next file of the date, beyond all there are. */
static void
create_file(CfpDayDisk *disk)
{
	char	   *dir = cfp_make_date_dir(disk->end.date);
	List	   *numbers = cfp_list_day_files(disk->end.date);
	StringInfoData header;

	if (numbers != NIL)
		disk->end.file = Max(disk->end.file, llast_int(numbers));
	disk->end.length = 0;
	disk->has_record = false;

	/* A name may be taken by what is no regular file, and so is not listed. */
	do
	{
		disk->end.file++;
		disk->path = cfp_day_file(disk->end.date, disk->end.file);
		disk->fd = OpenTransientFile(disk->path, O_RDWR | O_CREAT | O_EXCL | PG_BINARY);
	} while (disk->fd < 0 && errno == EEXIST);
	if (disk->fd < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create file \"%s\": %m", disk->path)));
	disk->created = lappend(disk->created, disk->path);
	fsync_fname_ext(dir, true, false, ERROR);

	initStringInfo(&header);
	cfp_line_write_header(&header, disk->end.date, my_incarnation());
	write_out(disk, &header, header.len);
	pfree(header.data);
}

/* Does the file have as much as was saved, up to the end of a line? */
static bool
has_saved_length(const CfpDayDisk *disk, off_t size)
{
	char		last;

	return size >= disk->end.length &&
		pg_pread(disk->fd, &last, 1, disk->end.length - 1) == 1 && last == '\n';
}

void
cfp_disk_open(CfpDayDisk *disk)
{
	struct stat st;

	if (disk->end.file == 0)
	{
		create_file(disk);
		return;
	}

	disk->path = cfp_day_file(disk->end.date, disk->end.file);
	disk->fd = OpenTransientFile(disk->path, O_RDWR | PG_BINARY);
	if (disk->fd < 0 && errno != ENOENT)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open file \"%s\": %m", disk->path)));
	if (disk->fd >= 0 && fstat(disk->fd, &st) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not stat file \"%s\": %m", disk->path)));

	if (disk->fd < 0 || !has_saved_length(disk, st.st_size))
	{
		ereport(LOG,
				(errmsg("cfp: day file \"%s\" is %s, a new one is begun", disk->path,
						disk->fd < 0 ? "missing" :
						st.st_size < disk->end.length ? "shorter than it was" : "not what was saved"),
				 errdetail("It had %lld bytes when the last flush was saved.",
						   (long long) disk->end.length)));
		if (disk->fd >= 0)
			CloseTransientFile(disk->fd);
		create_file(disk);
		return;
	}

	disk->opened = disk->path;
	disk->has_record = true;
	if (st.st_size > disk->end.length)
		cut_back(disk, disk->path, st.st_size);
}

void
cfp_disk_line(CfpDayDisk *disk, StringInfo buf, int before)
{
	int64		max_length = (int64) cfp_max_wal_size * 1024;

	Assert(before < buf->len && buf->data[buf->len - 1] == '\n');
	if (disk->has_record && disk->end.length + buf->len > max_length)
	{
		write_out(disk, buf, before);
		finish_file(disk);
		create_file(disk);
	}
	disk->has_record = true;
	if (buf->len >= WRITE_SIZE)
		write_out(disk, buf, buf->len);
}

void
cfp_disk_finish(CfpDayDisk *disk, StringInfo buf)
{
	write_out(disk, buf, buf->len);
	cfp_waitpoint("flush_written", true);
	finish_file(disk);
	cfp_waitpoint("flush_synced", true);
}
