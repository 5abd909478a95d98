/*-------------------------------------------------------------------------
 *
 * verify.h
 *		Verifying a backup.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_VERIFY_H
#define CFP_VERIFY_H

#include "base/names.h"

#include "shared/database.h"

/*
 * Verify the backup of args->from; returns the number of rows.  In the job
 * worker, in no transaction; looks for interrupts, and throws.
 */
extern int64 cfp_verify_backup_job(const CfpJobArgs *args);

#endif							/* CFP_VERIFY_H */
