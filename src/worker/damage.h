/*-------------------------------------------------------------------------
 *
 * damage.h
 *		What to do when a storage table is damaged, missing or altered.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_DAMAGE_H
#define CFP_DAMAGE_H

#include "base/names.h"

#include "worker/piece.h"

/* A storage table that cannot be used; texts are palloc'd. */
typedef struct CfpDamage
{
	char	   *message;		/* which table, and what is wrong with it */
	char	   *hint;			/* the steps that bring it back */
} CfpDamage;

/*
 * Is the error one that a storage table, an index of it or its toast table
 * causes by being damaged, missing or altered?  Then fills in *damage, in
 * CurrentMemoryContext.  The steps may lose data, so the caller has seen the
 * error more than once.  Throws nothing; the caller is in no transaction.
 */
extern bool cfp_damage_describe(const ErrorData *error, CfpDamage *damage);

/*
 * The check as a piece of the worker's work: reads the first and the last block
 * of the storage tables and what belongs to them, but not of what is locked
 * just now, nor of an index that is not valid.  Throws what reading throws.
 */
extern bool cfp_damage_due(TimestampTz now, TimestampTz *next);
extern CfpPieceEnd cfp_damage_piece(int64 *rows);

#endif							/* CFP_DAMAGE_H */
