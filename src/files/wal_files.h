/*-------------------------------------------------------------------------
 *
 * wal_files.h
 *		Reading the day files of a date, line by line.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_WAL_FILES_H
#define CFP_WAL_FILES_H

#include "base/names.h"

#include "nodes/pg_list.h"
#include "utils/date.h"

#include "record/forgotten.h"

#define CFP_WAL_REPORTED_LINES	100 /* bad ones, of one reader */

typedef struct CfpWalReader
{
	DateADT		date;
	int			file;			/* number of the one being read; 0: none yet */
	char	   *path;
	int64		line;			/* of the file, from 1 */
	int64		bytes_done;		/* of all files and dates read so far */
	int64		bad_lines;		/* so far */
	int64		forgets;		/* lines of what was given up, but by pruning,
								 * so far */

	/* private */
	List	   *files;			/* numbers */
	int			nth;			/* of files, the next */
	int			saved_file;		/* -1: all there is counts */
	int64		saved_length;
	int64		offset;			/* in the file, behind what the buffer has */
	int64		limit;			/* of the file; -1: none */
	bool		at_end;			/* of the file */
	bool		checked;		/* a line of the file had a checksum */
	bool		skip;			/* the rest of a line too long to be one */
	char	   *buffer;
	Size		size;
	Size		start;			/* of the next line */
	Size		searched;		/* no newline before it */
	Size		fill;
	MemoryContext context;
} CfpWalReader;

/*
 * Begin with a date; may be called again for another when that one is read.
 * With saved_only the file being written is read as far as the snapshot knows
 * that it has been flushed.  No file stays open between calls.
 */
extern CfpWalReader *cfp_wal_reader_create(void);
extern void cfp_wal_reader_start(CfpWalReader *reader, DateADT date, bool saved_only);

/* Begin to read these files of the date, whole: int list of their numbers. */
extern void cfp_wal_reader_start_files(CfpWalReader *reader, DateADT date, List *numbers);

/*
 * The next record (columns as in columns.h, values in CurrentMemoryContext);
 * false at the end of the date's last file.  A bad line is reported as a
 * WARNING, but the last of a file when it was cut off.
 */
extern bool cfp_wal_reader_next(CfpWalReader *reader, Datum *values, bool *nulls);

/*
 * The next line of what was given up, or, with `record`, also a record before
 * it.  CFP_WAL_PAUSE when so many bytes have been read; what was asked for may
 * then be asked for again.  Bad lines are passed over, and not reported.
 */
typedef enum CfpWalFound
{
	CFP_WAL_FORGET,				/* *forget is filled in */
	CFP_WAL_RECORD,
	CFP_WAL_PAUSE,
	CFP_WAL_END					/* of the date's last file */
} CfpWalFound;

extern CfpWalFound cfp_wal_reader_next_forget(CfpWalReader *reader, int64 until,
											  CfpForget *forget, bool record);

/*
 * Instead of reading records: the next file of the date, with its path in the
 * reader, its bytes and the number of its records; false after the last.  What
 * is in the scratch context goes.
 */
extern bool cfp_wal_reader_count_file(CfpWalReader *reader, MemoryContext scratch,
									  int64 *bytes, int64 *records);

/* Bytes of the date's files. */
extern int64 cfp_wal_bytes(DateADT date);

#endif							/* CFP_WAL_FILES_H */
