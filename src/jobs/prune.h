/*-------------------------------------------------------------------------
 *
 * prune.h
 *		Pruning the history.
 *
 * Called in the job worker, in no transaction; uses statement.h, looks for
 * interrupts, and throws.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_PRUNE_H
#define CFP_PRUNE_H

#include "base/names.h"

#include "shared/database.h"

/* Returns the number of records. */
extern int64 cfp_prune_history_job(const CfpJobArgs *args);

#endif							/* CFP_PRUNE_H */
