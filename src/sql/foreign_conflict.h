/*-------------------------------------------------------------------------
 *
 * foreign_conflict.h
 *		INSERT ... ON CONFLICT (columns) on a foreign table of cfp.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_FOREIGN_CONFLICT_H
#define CFP_FOREIGN_CONFLICT_H

/* Called once by _PG_init. */
extern void cfp_foreign_conflict_init(void);

#endif							/* CFP_FOREIGN_CONFLICT_H */
