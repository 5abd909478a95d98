/*-------------------------------------------------------------------------
 *
 * damage.h
 *		What to do when a storage table is damaged, missing or altered.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_DAMAGE_H
#define CFP_DAMAGE_H

#include "cfp.h"

/* A storage table that cannot be used; texts are palloc'd. */
typedef struct CfpDamage
{
	char	   *message;		/* which table, and what is wrong with it */
	char	   *hint;			/* the steps that bring it back */
} CfpDamage;

/*
 * Is the error one that a storage table, an index of it or its toast table
 * causes by being damaged, missing or altered?  Then fills in *damage, in
 * CurrentMemoryContext.  Throws nothing; the caller is in no transaction.
 */
extern bool cfp_damage_describe(const ErrorData *error, CfpDamage *damage);

/*
 * Read the first and the last block of the storage tables and what belongs
 * to them, but of a table that is locked just now.  Throws what reading
 * throws.  Own transaction.
 */
extern void cfp_damage_check(void);

#endif							/* CFP_DAMAGE_H */
