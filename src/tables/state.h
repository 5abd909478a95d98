/*-------------------------------------------------------------------------
 *
 * state.h
 *		cfp_state, in which cfp keeps where it stands, by rows that have names.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_STATE_H
#define CFP_STATE_H

#include "base/names.h"

#include "access/htup.h"
#include "utils/date.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

#include "record/forgotten.h"

/*-------------------------------------------------------------------------
 * Read directly, in any transaction: no privilege is asked for.
 *-------------------------------------------------------------------------
 */

/* What has been flushed, as one snapshot sees it. */
typedef struct CfpCursor
{
	CfpSeen		seen;			/* in CurrentMemoryContext */
	bool		whole_history;	/* do without storage_dirty and the txids: the
								 * database is marked to be reconciled, or the
								 * snapshot is older than another of the
								 * tables */
} CfpCursor;

/* The cursor of storage_dirty.  Throws 40001 as scan.h has it. */
extern void cfp_cursor_read(Snapshot snapshot, CfpCursor *cursor);

/*
 * Which day file is being written and how long it is by the last flush that
 * the snapshot sees; false when none of this database is.
 */
extern bool cfp_cursor_read_file(Snapshot snapshot, DateADT *date, int32 *file,
								 int64 *length);

/* The extension's incarnation, palloc'd; NULL when the snapshot sees none. */
extern char *cfp_incarnation(Snapshot snapshot);

/* When the tables were last restored, and to the backup of which date. */
extern bool cfp_last_restore(Snapshot snapshot, DateADT *date, TimestampTz *at);

/*
 * The highest version that the last flush knows of, 0 when of none; false when
 * it was not one of this database.
 */
extern bool cfp_state_flushed_version(Snapshot snapshot, int32 *version);

/*-------------------------------------------------------------------------
 * The mark by which the database is to be reconciled.  The caller has the
 * table open in ROW EXCLUSIVE, and nobody else marks now.
 *-------------------------------------------------------------------------
 */

/* The mark, a copy; NULL when the snapshot sees none. */
extern HeapTuple cfp_state_mark(Relation state, Snapshot snapshot);

/*
 * Insert the mark, or count one more in the one found, which the snapshot sees
 * and the caller has locked.
 */
extern void cfp_state_write_mark(Relation state, Snapshot snapshot, HeapTuple old);

/*-------------------------------------------------------------------------
 * By statements, in a transaction of the worker or the job worker
 * (statement.h).
 *-------------------------------------------------------------------------
 */

/* Mark the database to be reconciled unless it is. */
extern void cfp_state_mark_reconcile(void);

/* Is it marked?  *counter: how often by now; 0 without a mark. */
extern bool cfp_state_marked(int64 *counter);

/* The database has been reconciled. */
extern void cfp_state_clear_mark(void);

/*
 * What the flush ("dirty") or the day files ("files") have seen, against what
 * this transaction sees.
 */
typedef struct CfpStateCursor
{
	bool		first;			/* there is none */
	bool		foreign;		/* it is of another cluster or database */
	char	   *snapshot;		/* as text */
	uint64		xmax;
	int			nxip;			/* those that ran then and have ended by now */
	Datum	   *xip;
} CfpStateCursor;

/* *cursor is all zero before; returns xmax of this transaction's snapshot. */
extern uint64 cfp_state_read_cursor(const char *name, CfpStateCursor *cursor);

/* What such a row has seen; false when that is not known. */
extern bool cfp_state_read_seen(const char *name, CfpSeen *seen);

/*
 * The flush has seen what this transaction sees: so many records more than the
 * one before, of versions up to this one.
 */
extern void cfp_state_save_dirty(int64 records, int32 version);

/* The last flush knows of versions up to this one. */
extern void cfp_state_raise_version(int32 version);

/* The records flushed since the last close of day; and a new count. */
extern int64 cfp_state_records(void);
extern void cfp_state_reset_records(void);

/* The end of the day files, as it was saved. */
typedef struct CfpStateFiles
{
	bool		ours;			/* saved by this cluster for this database */
	DateADT		date;
	int32		file;
	int64		length;
	int64		records;		/* of the date */
} CfpStateFiles;

extern void cfp_state_read_files(CfpStateFiles *files);

/* It is with what this transaction sees; not ours: without a date. */
extern void cfp_state_save_files(const CfpStateFiles *files);

/* The files go on with the first of this date, if they have a date. */
extern void cfp_state_switch_files(DateADT date);

/* The extension's incarnation, as text; one is made where there is none. */
extern char *cfp_state_make_incarnation(void);

/*
 * The last date that is closed, DATEVAL_NOBEGIN where none is; false when the
 * days only begin.
 */
extern bool cfp_state_read_day(DateADT *date);
extern void cfp_state_save_day(DateADT date);

/* Where and when the days began; false when that is not known. */
extern bool cfp_state_read_begin(DateADT *date, TimestampTz *at);
extern void cfp_state_save_begin(DateADT date);

/* The tables are those of the backup of this date. */
extern void cfp_state_save_restored(DateADT date);

/*
 * Rows of the history were changed or removed other than by stores, so the next
 * backup is a full one.
 */
extern void cfp_state_break_chain(void);

/* The last backup, and how things stand now. */
typedef struct CfpStateBackup
{
	int64		chain;			/* how often it was broken */
	bool		of_ours;		/* it is of this database, and a backup may
								 * build on it */
	DateADT		date;			/* of the last one */
	TimestampTz at;
	uint64		xmax;			/* of its snapshot */
	int			nxip;			/* those that ran then and have ended by now */
	Datum	   *xip;
	char	   *now;			/* this transaction's snapshot, as text */
	uint64		now_xmax;
} CfpStateBackup;

extern void cfp_state_read_backup(CfpStateBackup *backup);

/*
 * The backup of this date is done, with this snapshot (as text).  The next one
 * builds on it unless the chain was broken since this count.
 */
extern void cfp_state_save_backup(const char *snapshot, int64 chain, DateADT date,
								  TimestampTz at);

/* When the last backup was done, if it is this database's of this date. */
extern bool cfp_state_backup_done(DateADT date, TimestampTz *at);

#endif							/* CFP_STATE_H */
