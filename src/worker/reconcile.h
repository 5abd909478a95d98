/*-------------------------------------------------------------------------
 *
 * reconcile.h
 *		Reconciling: what was changed by hand is compared, and storage_dirty completed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_RECONCILE_H
#define CFP_RECONCILE_H

#include "base/names.h"

#include "worker/piece.h"

/*
 * Reconcile if the database is marked.  In no transaction; throws 55006 while a
 * transaction changes the tables by hand, 40001 or 55P03 when one came
 * meanwhile.
 */
extern void cfp_reconcile(void);

/*
 * Look for the mark, and set it while the triggers, which would, do not fire.
 * In no transaction, before cfp_reconcile_marked() and cfp_reconcile_due().
 */
extern void cfp_reconcile_look(bool triggers_on);

/* Was the database marked when that was looked for last? */
extern bool cfp_reconcile_marked(void);

/* Reconciling as a piece of the worker's work; no rows. */
extern bool cfp_reconcile_due(TimestampTz now, TimestampTz *next);
extern CfpPieceEnd cfp_reconcile_piece(int64 *rows);

#endif							/* CFP_RECONCILE_H */
