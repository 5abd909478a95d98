/*-------------------------------------------------------------------------
 *
 * replication.h
 *		What logical replication applies to the extension's tables.
 *
 * See the head of replication.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_REPLICATION_H
#define CFP_REPLICATION_H

#include "base/names.h"

#include "commands/trigger.h"

/*
 * A row that is applied to history or latest, in the trigger before it;
 * gives_up: the row there was will not name its record any more.  False when it
 * is not to be applied.  The gate has been passed as by a change by hand.
 */
extern bool cfp_replication_row(const TriggerData *trigger, bool gives_up);

/* A TRUNCATE that is applied to this table. */
extern void cfp_replication_truncate(Relation rel);

#endif							/* CFP_REPLICATION_H */
