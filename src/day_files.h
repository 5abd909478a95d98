/*-------------------------------------------------------------------------
 *
 * day_files.h
 *		The day files: every record that was flushed, once, in order.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_DAY_FILES_H
#define CFP_DAY_FILES_H

#include "cfp.h"

#include "datatype/timestamp.h"
#include "executor/tuptable.h"

/*
 * For flush.c, in the order of the calls of one flush, in its transaction.
 * What goes wrong with the files is reported here and does not throw.
 */

/* Make ready to take records; false when the files cannot take any now. */
extern bool cfp_day_files_begin(void);

/* Is it known how many records were missing in the files before? */
extern bool cfp_day_files_counted(void);

/* A record that is not in the files yet (a row of storage_history). */
extern void cfp_day_files_add(TupleTableSlot *slot);

/*
 * Write what was added.  True when the files have, durably, all that the
 * flush's snapshot sees, or shall have nothing: then the cursor can be saved.
 */
extern bool cfp_day_files_write(void);

/* Save the cursor and where the files end. */
extern void cfp_day_files_save(void);

/*
 * The transaction has committed.  With `all`, what was added is all that was
 * missing in the files; else `records` more are missing now.
 */
extern void cfp_day_files_committed(bool written, bool all, int64 records);

/* The flush has failed: the disk may not be as saved. */
extern void cfp_day_files_forget(void);

/* For worker.c: when to flush because of the files alone; 0 never. */
extern TimestampTz cfp_day_files_due(TimestampTz now);

/* For days.c: has the disk, as far as it is known, nothing but what was saved? */
extern bool cfp_day_files_as_saved(void);

/* Somebody asks for a flush: try files in trouble again at once. */
extern void cfp_day_files_retry(void);

/* Was this day file begun by this server for this database?  Throws. */
extern bool cfp_day_file_is_ours(const char *path);

#endif							/* CFP_DAY_FILES_H */
