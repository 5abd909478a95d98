/*-------------------------------------------------------------------------
 *
 * rebuild.h
 *		The history from the day files, latest from the history.
 *
 * Called in the job worker, in no transaction; uses statement.h, looks for
 * interrupts, and throws.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_REBUILD_H
#define CFP_REBUILD_H

#include "base/names.h"

#include "shared/database.h"

/* Both return the number of rows. */
extern int64 cfp_rebuild_history_job(const CfpJobArgs *args);
extern int64 cfp_rebuild_latest_job(const CfpJobArgs *args);

#endif							/* CFP_REBUILD_H */
