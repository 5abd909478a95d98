/*-------------------------------------------------------------------------
 *
 * day_files.h
 *		The day files: every record that was flushed, once, in order.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_DAY_FILES_H
#define CFP_DAY_FILES_H

#include "base/names.h"

#include "datatype/timestamp.h"
#include "executor/tuptable.h"

/*
 * For flush.c, in the order of the calls of one flush, in its transaction.
 * What goes wrong with the files is reported here and does not throw.
 */
typedef struct CfpDayFiles CfpDayFiles;

/* Make ready to take records.  In the memory of the worker's turn. */
extern CfpDayFiles *cfp_day_files_begin(void);

/* Are records to be added that were flushed before: to be written, or counted? */
extern bool cfp_day_files_wanting(const CfpDayFiles *files);

/* A record that is not in the files yet (a row of storage_history). */
extern void cfp_day_files_add(CfpDayFiles *files, TupleTableSlot *slot);

/*
 * Write what was added.  True when the files have, durably, all that the
 * flush's snapshot sees, or shall have nothing: then the cursor can be saved.
 */
extern bool cfp_day_files_write(CfpDayFiles *files);

/* Have the files got what was given up, so that the cursor must be saved? */
extern bool cfp_day_files_forgot(const CfpDayFiles *files);

/* Save the cursor and where the files end, when `records` were flushed. */
extern void cfp_day_files_save(CfpDayFiles *files, int64 records);

/*
 * The transaction has committed.  With `all`, what was added is all that was
 * missing in the files; else `records` more are missing now.
 */
extern void cfp_day_files_committed(const CfpDayFiles *files, bool written, bool all,
									int64 records);

/* Instead, when the flush has failed: the disk may not be as saved. */
extern void cfp_day_files_failed(void);

/* When to flush because of the files alone; 0 never. */
extern TimestampTz cfp_day_files_due(TimestampTz now);

/* Has the disk, as far as it is known, nothing but what was saved? */
extern bool cfp_day_files_as_saved(void);

/* Somebody asks for a flush: try files in trouble again at once. */
extern void cfp_day_files_retry(void);

#endif							/* CFP_DAY_FILES_H */
