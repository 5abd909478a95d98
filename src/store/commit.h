/*-------------------------------------------------------------------------
 *
 * commit.h
 *		Writing what a transaction has stored, and its end.
 *
 * See the head of commit.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_COMMIT_H
#define CFP_COMMIT_H

#include "base/names.h"

/*
 * Called after each utility statement, which may have given the history a
 * trigger, a constraint or an index that the commit must be ready for.
 * Throws 42501 in a security-restricted operation.
 */
extern void cfp_pending_after_utility(void);

/*
 * This transaction removes rows of the collection from the tables, and stores
 * nothing: from now on readers take the tables, and with its commit what is
 * cached of the collection goes.  For jobs, before they commit; waits for a load.
 */
extern void cfp_pending_bypass(const CfpCollectionName *name);

/* Register the transaction callbacks; called once by _PG_init. */
extern void cfp_pending_init(void);

#endif							/* CFP_COMMIT_H */
