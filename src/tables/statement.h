/*-------------------------------------------------------------------------
 *
 * statement.h
 *		Transactions and statements of cfp's own processes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_STATEMENT_H
#define CFP_STATEMENT_H

#include "base/names.h"

#include "executor/spi.h"

/*
 * A statement of the worker, on one table that is cfp's own: cfp_state,
 * storage_days, cfp_pruned or cfp_forgotten (table_write.h writes the others).
 * It is run as that table's owner.  "@schema@" in it stands for the extension's schema.
 * Prepared when first run, again when the schema's name changes.
 */
#define CFP_STATEMENT_ARGS	16

typedef struct CfpStatement
{
	const char *table;
	const char *sql;
	int			nargs;
	Oid			argtypes[CFP_STATEMENT_ARGS];
	SPIPlanPtr	plan;			/* NULL before the first run */
	char		schema[NAMEDATALEN];
} CfpStatement;

/*
 * A transaction of the worker, with a snapshot pushed and SPI connected.
 * With one_snapshot it is a REPEATABLE READ one, which first locks the history
 * in ACCESS SHARE.  With gate it first waits
 * until no transaction changes the storage tables by hand, and keeps them out,
 * and others that pass it so; throws 55006 when the former takes too long.
 * History, latest and storage_dirty are then locked in ACCESS SHARE at least.
 */
extern void cfp_worker_begin(bool one_snapshot, bool gate);
extern void cfp_worker_commit(void);

/*
 * Run it in such a transaction; returns SPI_processed.  Throws 42501 when the
 * table's owner may not use it.
 */
extern uint64 cfp_statement_run(CfpStatement *statement, Datum *values,
								const char *nulls);

/* A value of the first row that the last statement returned; columns from 1. */
extern Datum cfp_statement_value(int column, bool *isnull);

/* Throws 55006: a transaction is changing the storage tables by hand, or has locked them. */
pg_noreturn extern void cfp_raise_hand_change(void);

/* SET LOCAL. */
extern void cfp_set_local(const char *name, const char *value);

#endif							/* CFP_STATEMENT_H */
