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

#endif							/* CFP_GATE_H */
