/*-------------------------------------------------------------------------
 *
 * table_write.h
 *		Writing the extension's tables as their owners.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_TABLE_WRITE_H
#define CFP_TABLE_WRITE_H

#include "base/names.h"

#include "executor/tuptable.h"
#include "nodes/nodes.h"
#include "storage/itemptr.h"
#include "utils/reltrigger.h"

/* Who we were. */
typedef struct CfpOwner
{
	Oid			user;
	int			security;
	int			guc_level;
} CfpOwner;

/*
 * Be this role, in a security-restricted operation; then who we were, with the
 * settings of before.  In pairs, one within the other; an error that ends the
 * (sub)transaction ends it, too.  Neither throws.
 */
extern void cfp_owner_enter(Oid owner, CfpOwner *saved);
extern void cfp_owner_leave(const CfpOwner *saved);

/* The table's owner, who stays its owner while the caller has a lock on it. */
extern Oid	cfp_table_owner(Oid relid);

/*
 * In the copy that a ResultRelInfo has: the triggers of constraints (foreign
 * keys, what is deferrable) fire whatever session_replication_role is, and all
 * triggers fire at the end of the statement.
 */
extern void cfp_enforce_constraints(TriggerDesc *triggers);

/*
 * One statement's worth of changes of a table, made below SQL: no privilege
 * is asked for, no rule applied, no row security.  What an ordinary statement
 * of these kinds does else, happens: triggers of rows and statements,
 * defaults, generated columns, constraints, indexes; as the table's owner,
 * from cfp_writer_begin() to cfp_writer_end(), which fires what comes after
 * the rows.
 *
 * operations: 1 << CMD_INSERT, CMD_UPDATE, CMD_DELETE.  Values are those of the
 * first so many columns; the others get their defaults, or keep what they
 * have.  Needs an active snapshot; takes ROW EXCLUSIVE, to the end of the
 * transaction.  Throws what such a statement throws, 40001 when somebody else
 * has changed the row since that snapshot.
 */
typedef struct CfpTableWriter CfpTableWriter;

extern CfpTableWriter *cfp_writer_begin(Oid relid, int operations);
extern void cfp_writer_insert(CfpTableWriter *writer, int ncolumns,
							  const Datum *values, const bool *nulls);

/* The row in the slot, which must come from a scan of the table. */
extern void cfp_writer_update(CfpTableWriter *writer, TupleTableSlot *row, int ncolumns,
							  const Datum *values, const bool *nulls);
extern void cfp_writer_delete(CfpTableWriter *writer, ItemPointer tid);
extern void cfp_writer_end(CfpTableWriter *writer);

#endif							/* CFP_TABLE_WRITE_H */
