/*-------------------------------------------------------------------------
 *
 * gate.h
 *		Noticing changes of the storage tables by hand.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_GATE_H
#define CFP_GATE_H

#include "cfp.h"

#include "nodes/parsenodes.h"

/*
 * After an ALTER TABLE: if it switched triggers of a storage table on or off,
 * whatever was or will be changed behind their back counts as a change by
 * hand.  May wait for stores; throws what that throws.
 */
extern void cfp_gate_altered(const AlterTableStmt *statement);

/*
 * Worker: have the triggers fire for everybody again where they fire for
 * ordinary sessions only, as ENABLE TRIGGER ALL leaves them (so does
 * pg_restore --disable-triggers).  Those that are switched off stay so.  In
 * the caller's transaction; false when there was nothing to do, or a storage
 * table is in use just now.
 */
extern bool cfp_gate_enable_always(void);

#endif							/* CFP_GATE_H */
