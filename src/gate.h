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
 * What changes the storage tables in this transaction is a change by hand:
 * waits until no store is in flight and keeps them out, bypasses the cache
 * until the transaction's end and has it dropped then, marks the database to
 * be reconciled.  For jobs that rewrite the tables; call it with the lock on
 * the tables already held, as a statement would.
 */
extern void cfp_gate_pass(void);

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
