/*-------------------------------------------------------------------------
 *
 * statement.h
 *		Transactions and statements of cfp's own processes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_STATEMENT_H
#define CFP_STATEMENT_H

#include "cfp.h"

#include "executor/spi.h"

/* True in a process of cfp: what it writes is no change by hand. */
extern bool cfp_am_worker;

/*
 * What one turn of such a process allocates; current again after
 * cfp_worker_commit().  The process's loop resets it.
 */
extern MemoryContext cfp_worker_context;

/* Their SIGTERM: cancels what runs and sets ShutdownRequestPending. */
extern void cfp_worker_sigterm(SIGNAL_ARGS);

/* Once in such a process, when it has connected. */
extern void cfp_worker_process_init(void);

/*
 * A statement of the worker.  "@schema@" in it stands for the extension's
 * schema.  Prepared when first run, again when the schema's name changes.
 */
#define CFP_STATEMENT_ARGS	16

typedef struct CfpStatement
{
	const char *sql;
	int			nargs;
	Oid			argtypes[CFP_STATEMENT_ARGS];
	SPIPlanPtr	plan;			/* NULL before the first run */
	char		schema[NAMEDATALEN];
} CfpStatement;

/*
 * A transaction of the worker, with a snapshot pushed and SPI connected.
 * With one_snapshot it is a REPEATABLE READ one.  With gate it first waits
 * until no transaction changes the storage tables by hand, and keeps them out;
 * throws 55006 when that takes too long.
 */
extern void cfp_worker_begin(bool one_snapshot, bool gate);
extern void cfp_worker_commit(void);
/* Run it in such a transaction; returns SPI_processed. */
extern uint64 cfp_statement_run(CfpStatement *statement, Datum *values,
								const char *nulls);
/* A value of the first row that the last statement returned; columns from 1. */
extern Datum cfp_statement_value(int column, bool *isnull);
/*
 * The names of an item, in three palloc'd texts of the context, become those in
 * the first three columns of that row.
 */
extern void cfp_statement_take_names(Datum *names, MemoryContext context);
/* Throws 55006: a transaction is changing the storage tables by hand, or has locked them. */
pg_noreturn extern void cfp_raise_hand_change(void);
/* SET LOCAL. */
extern void cfp_set_local(const char *name, const char *value);

#endif							/* CFP_STATEMENT_H */
