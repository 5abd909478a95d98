/*-------------------------------------------------------------------------
 *
 * gate.h
 *		Noticing changes of the storage tables by hand.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_GATE_H
#define CFP_GATE_H

#include "base/names.h"

#include "access/htup.h"
#include "commands/trigger.h"
#include "nodes/parsenodes.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

/*
 * What changes the storage tables in this transaction is a change by hand:
 * waits until no store is in flight and keeps them out, bypasses the cache
 * until the transaction's end and has it dropped then, marks the database to
 * be reconciled.  For jobs that rewrite the tables; call it with the lock on
 * the tables already held, as a statement would.
 */
extern void cfp_gate_pass(void);

/*
 * What the triggers do (sql_triggers.c): before a statement on history, latest or
 * storage_floors; for a row of history or latest before it changes; for a row
 * before it comes into storage_floors or changes there.  Those for rows return
 * what is to be done instead, NULL for nothing.
 */
extern void cfp_gate_statement(const TriggerData *trigger);
extern HeapTuple cfp_gate_row(const TriggerData *trigger);
extern HeapTuple cfp_gate_floor(const TriggerData *trigger);

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
