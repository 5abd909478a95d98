/*-------------------------------------------------------------------------
 *
 * wal_files.c
 *		Looking at day files: the view cfp_wal_files, cfp_read_wal(), and the
 *		reader of a date's files that rebuild.c, replay.c and retention.c use
 *		as well.
 *
 * Day files are appended to by the worker while others read them.  What a
 * flush has written counts when the flush has committed: its transaction
 * saves the length in the row 'files' of cfp_state.  Looking goes so far and
 * no further, under the caller's snapshot, so that it agrees with the tables
 * the same query reads.  A rebuild takes all there is: what is in a file was
 * read from committed records.
 *
 * A line that cannot be used is reported with its file and number, and the
 * next one is read.  Lines are read in blocks, and the file is opened anew
 * for each, so that a reader lives through transactions and errors.
 *
 * Locks: ACCESS SHARE on cfp_state.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "files/day_dir.h"
#include "files/wal_files.h"
#include "record/forgotten.h"
#include "record/line_format.h"
#include "record/line_read.h"
#include "record/record.h"
#include "tables/state.h"

#define BLOCK		(256 * 1024)

/* No line of ours is longer: StringInfo, which it was made in, is not. */
#define LONGEST_LINE	MaxAllocSize

/*-------------------------------------------------------------------------
 * Lines
 *-------------------------------------------------------------------------
 */

CfpWalReader *
cfp_wal_reader_create(void)
{
	CfpWalReader *reader = palloc0(sizeof(CfpWalReader));

	reader->context = CurrentMemoryContext;
	reader->size = 2 * BLOCK;
	reader->buffer = palloc(reader->size);
	return reader;
}

void
cfp_wal_reader_start(CfpWalReader *reader, DateADT date, bool saved_only)
{
	MemoryContext old = MemoryContextSwitchTo(reader->context);
	DateADT		saved_date;

	reader->date = date;
	reader->files = cfp_list_day_files(date);
	reader->nth = 0;
	reader->file = 0;
	reader->at_end = true;
	reader->start = reader->searched = reader->fill = 0;
	if (!saved_only ||
		!cfp_cursor_read_file(GetActiveSnapshot(), &saved_date, &reader->saved_file,
							  &reader->saved_length) ||
		saved_date != date)
		reader->saved_file = -1;
	MemoryContextSwitchTo(old);
}

void
cfp_wal_reader_start_files(CfpWalReader *reader, DateADT date, List *numbers)
{
	MemoryContext old = MemoryContextSwitchTo(reader->context);

	reader->date = date;
	reader->files = list_copy(numbers);
	reader->nth = 0;
	reader->file = 0;
	reader->at_end = true;
	reader->start = reader->searched = reader->fill = 0;
	reader->saved_file = -1;
	MemoryContextSwitchTo(old);
}

/* Go to the next file; false when there is none. */
static bool
next_file(CfpWalReader *reader)
{
	MemoryContext old = MemoryContextSwitchTo(reader->context);
	bool		found = false;

	while (!found && reader->nth < list_length(reader->files))
	{
		reader->file = list_nth_int(reader->files, reader->nth++);
		/* Being written now, by the first flush to have come so far. */
		if (reader->saved_file >= 0 && reader->file > reader->saved_file)
			continue;
		reader->path = cfp_day_file(reader->date, reader->file);
		reader->limit = reader->file == reader->saved_file ? reader->saved_length : -1;
		reader->line = 0;
		reader->offset = 0;
		reader->at_end = false;
		reader->checked = false;
		reader->skip = false;
		reader->start = reader->searched = reader->fill = 0;
		found = true;
	}
	MemoryContextSwitchTo(old);
	return found;
}

/* Read a block behind what the buffer has. */
static void
fill_buffer(CfpWalReader *reader)
{
	int			fd;
	ssize_t		got;
	Size		room;

	if (reader->start > 0)
	{
		memmove(reader->buffer, reader->buffer + reader->start,
				reader->fill - reader->start);
		reader->fill -= reader->start;
		reader->searched -= reader->start;
		reader->start = 0;
	}
	if (reader->size - reader->fill < BLOCK)
	{
		reader->size *= 2;
		reader->buffer = repalloc_huge(reader->buffer, reader->size);
	}
	room = reader->size - reader->fill;
	if (reader->limit >= 0)
		room = Min(room, reader->limit - reader->offset);

	fd = OpenTransientFile(reader->path, O_RDONLY | PG_BINARY);
	if (fd < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open file \"%s\": %m", reader->path)));
	got = pg_pread(fd, reader->buffer + reader->fill, room, reader->offset);
	if (got < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read file \"%s\": %m", reader->path)));
	if (CloseTransientFile(fd) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not close file \"%s\": %m", reader->path)));
	reader->fill += got;
	reader->offset += got;
	reader->bytes_done += got;
	reader->at_end = got == 0;
}

static void
report_line(CfpWalReader *reader, const char *problem)
{
	reader->bad_lines++;
	if (reader->bad_lines > CFP_WAL_REPORTED_LINES)
		return;
	ereport(WARNING,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("line " INT64_FORMAT " of day file \"%s\" is not used",
					reader->line, reader->path),
			 errdetail_internal("%s", problem)));
}

/*
 * The next line of the file, without its newline; NULL at the end.  *torn: it
 * ends with the file.
 */
static char *
next_line(CfpWalReader *reader, Size *len, bool *torn)
{
	for (;;)
	{
		char	   *line = reader->buffer + reader->start;
		char	   *newline = memchr(reader->buffer + reader->searched, '\n',
									 reader->fill - reader->searched);
		bool		skip = reader->skip;

		CHECK_FOR_INTERRUPTS();
		if (newline == NULL)
		{
			reader->searched = reader->fill;
			if (!skip && reader->fill - reader->start > LONGEST_LINE)
			{
				reader->line++;
				report_line(reader, "The line is too long.");
				reader->skip = skip = true;
			}
			if (skip)
				reader->start = reader->fill;
			if (!reader->at_end)
			{
				fill_buffer(reader);
				continue;
			}
			if (reader->start == reader->fill)
				return NULL;
			newline = reader->buffer + reader->fill;
		}
		*torn = newline == reader->buffer + reader->fill;
		reader->start = reader->searched = newline - reader->buffer + (*torn ? 0 : 1);
		reader->skip = false;
		if (skip)
			continue;
		reader->line++;
		*len = newline - line;
		return line;
	}
}

bool
cfp_wal_reader_next(CfpWalReader *reader, Datum *values, bool *nulls)
{
	for (;;)
	{
		char	   *problem;
		Size		len;
		bool		torn;
		char	   *line = NULL;
		CfpForget	forget;

		if (reader->file > 0)
			line = next_line(reader, &len, &torn);
		if (line == NULL)
		{
			if (!next_file(reader))
				return false;
			continue;
		}
		switch (cfp_line_read(line, len, &reader->checked, values, nulls, &forget, &problem))
		{
			case CFP_LINE_RECORD:
				return true;
			case CFP_LINE_HEADER:
				break;
			case CFP_LINE_FORGET:
				reader->forgets += forget.kind != CFP_FORGET_PRUNE;
				break;
			case CFP_LINE_BAD:
				/* One whose newline is damaged was not cut off. */
				if (!torn || cfp_line_checksum(line, len - 1) == CFP_CHECKSUM_RIGHT)
					report_line(reader, problem);
				break;
		}
	}
}

/*
 * Only the first line of a file, which tells whether its lines have checksums,
 * and those that may be what is wanted are taken apart.
 */
CfpWalFound
cfp_wal_reader_next_forget(CfpWalReader *reader, int64 until, CfpForget *forget, bool record)
{
	Datum		values[CFP_NCOLS];
	bool		nulls[CFP_NCOLS];

	for (;;)
	{
		char	   *problem;
		Size		len;
		bool		torn;
		char	   *line = NULL;

		if (reader->bytes_done >= until)
			return CFP_WAL_PAUSE;
		if (reader->file > 0)
			line = next_line(reader, &len, &torn);
		if (line == NULL)
		{
			if (!next_file(reader))
				return CFP_WAL_END;
			continue;
		}
		if (!record && reader->line > 1 && !cfp_line_is_forget(line, len))
			continue;
		switch (cfp_line_read(line, len, &reader->checked, values, nulls, forget, &problem))
		{
			case CFP_LINE_FORGET:
				return CFP_WAL_FORGET;
			case CFP_LINE_RECORD:
				if (record)
					return CFP_WAL_RECORD;
				break;
			case CFP_LINE_HEADER:
			case CFP_LINE_BAD:
				break;
		}
	}
}

/*-------------------------------------------------------------------------
 * Files
 *-------------------------------------------------------------------------
 */

/* The size of a file; -1 when it has gone. */
static int64
file_size(const char *path)
{
	struct stat st;

	if (stat(path, &st) == 0)
		return st.st_size;
	if (errno != ENOENT)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not stat file \"%s\": %m", path)));
	return -1;
}

int64
cfp_wal_bytes(DateADT date)
{
	int64		bytes = 0;
	ListCell   *lc;

	foreach(lc, cfp_list_day_files(date))
		bytes += Max(file_size(cfp_day_file(date, lfirst_int(lc))), 0);
	return bytes;
}

/*
 * The file's records: its lines but the first, if that is the one all our files
 * begin with, and those of what was given up.
 */
static int64
count_records(CfpWalReader *reader, MemoryContext scratch)
{
	int64		records = 0;
	char	   *line;
	Size		len;
	bool		torn;

	while ((line = next_line(reader, &len, &torn)) != NULL)
	{
		if (torn)
			break;
		if (cfp_line_is_forget(line, len))
			continue;
		records++;
		if (reader->line == 1)
		{
			Datum		values[CFP_NCOLS];
			bool		nulls[CFP_NCOLS];
			char	   *problem;
			MemoryContext old = MemoryContextSwitchTo(scratch);

			if (cfp_line_read(line, len, &reader->checked, values, nulls, NULL,
							  &problem) == CFP_LINE_HEADER)
				records--;
			MemoryContextSwitchTo(old);
			MemoryContextReset(scratch);
		}
	}
	return records;
}

bool
cfp_wal_reader_count_file(CfpWalReader *reader, MemoryContext scratch, int64 *bytes,
						  int64 *records)
{
	while (next_file(reader))
	{
		*bytes = file_size(reader->path);
		if (*bytes < 0)
			continue;
		if (reader->limit >= 0)
			*bytes = Min(*bytes, reader->limit);
		*records = count_records(reader, scratch);
		return true;
	}
	return false;
}
