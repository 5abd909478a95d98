/*-------------------------------------------------------------------------
 *
 * restore.h
 *		Restoring a backup.
 *
 * Called in the job worker, in no transaction; uses statement.h, looks for
 * interrupts, and throws.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_RESTORE_H
#define CFP_RESTORE_H

#include "base/names.h"

#include "shared/database.h"

/* Of args->from; returns the number of rows. */
extern int64 cfp_restore_backup_job(const CfpJobArgs *args);

#endif							/* CFP_RESTORE_H */
