/*-------------------------------------------------------------------------
 *
 * references.h
 *		Foreign keys that reference the storage tables: refused.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_REFERENCES_H
#define CFP_REFERENCES_H

/*
 * Throws 55000 when there is a foreign key that references storage_history or
 * storage_latest.  Needs a transaction; takes ACCESS SHARE on both.  For what
 * removes rows without looking at constraints.
 */
extern void cfp_refuse_references(void);

/* Refuse such foreign keys from now on; called once by _PG_init. */
extern void cfp_references_init(void);

#endif							/* CFP_REFERENCES_H */
