/*-------------------------------------------------------------------------
 *
 * backup.h
 *		The backup of a date.
 *
 * Called in the job worker, in no transaction; uses statement.h, looks for
 * interrupts, and throws.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_BACKUP_H
#define CFP_BACKUP_H

#include "base/names.h"

#include "shared/database.h"

/* Of args->from; returns the bytes of its files. */
extern int64 cfp_backup_job(const CfpJobArgs *args);

/* The backup of the open date, as of now; returns the date. */
extern int64 cfp_backup_now_job(const CfpJobArgs *args);

#endif							/* CFP_BACKUP_H */
