/*-------------------------------------------------------------------------
 *
 * retention.h
 *		Which date directories go.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_RETENTION_H
#define CFP_RETENTION_H

#include "base/names.h"

#include "utils/date.h"

/*
 * After the close of a date, remove the directories that have
 * become too old, a bounded piece of the work at a time.  True while there is
 * more to do.
 */
extern bool cfp_retention_step(DateADT closed);

#endif							/* CFP_RETENTION_H */
