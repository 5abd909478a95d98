/*-------------------------------------------------------------------------
 *
 * verify_int.h
 *		Reading all of a backup, for a restore.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_VERIFY_INT_H
#define CFP_VERIFY_INT_H

#include "base/names.h"

#include "executor/tuptable.h"
#include "nodes/pg_list.h"
#include "utils/date.h"
#include "utils/tuplesort.h"

#include "files/manifest.h"

/* A backup that is read, by a job. */
typedef struct CfpVerify
{
	CfpManifest manifest;		/* of the date asked for */
	List	   *history;		/* of CfpManifest: the dates whose history
								 * counts, newest first */
	bool		broken;			/* they do not go back to a full one */
	int64		done;			/* rows */
	int64		total;			/* the job sets it */
	Tuplesortstate *known;		/* items of the files; NULL: only verifying */
	TupleTableSlot *known_slot; /* what goes into it */
	TupleTableSlot *known_next; /* what comes out of it */
} CfpVerify;

/* An item, and a version of it. */
typedef struct CfpItemVersion
{
	text	   *name[3];		/* key, collection_name, item_name */
	int32		version;
} CfpItemVersion;

/*
 * So many columns, the first of them those of an item and a version of it; the
 * others are left to the caller.
 */
extern TupleDesc cfp_item_version_columns(int ncolumns);

/*
 * The functions are called in this order, in one transaction.
 *
 * Find the backup of the date, and the history it builds on.  Throws 58P01
 * when there is none, XX001 when its manifest cannot be used.
 */
extern void cfp_verify_begin(CfpVerify *verify, DateADT date);

/*
 * Verify all that a restore loads, noting the items.  Throws 58P01 or XX001
 * with the file's name.
 */
extern void cfp_verify_all(CfpVerify *verify);

/*
 * The next of the items that were noted, in the order of their names and
 * versions; false after the last.  Its names are good until the next call.
 */
extern bool cfp_verified_next(CfpVerify *verify, CfpItemVersion *item);

/* The asker of the job is told how far it is, and after many rows by itself. */
extern void cfp_verify_progress(const CfpVerify *verify);
extern void cfp_verified_row(CfpVerify *verify);

/* Tell the asker from where on the history is that of the backups. */
extern void cfp_verify_warn(const CfpVerify *verify, bool restoring);

#endif							/* CFP_VERIFY_INT_H */
