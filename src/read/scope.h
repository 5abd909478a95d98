/*-------------------------------------------------------------------------
 *
 * scope.h
 *		Reading items one by one, of a collection, a key, or all.
 *
 * See the head of scope.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_SCOPE_H
#define CFP_SCOPE_H

#include "base/names.h"
#include "read/row.h"

/*
 * Which items: all; those of a key, or of the collections of a name of all keys;
 * of one collection; a range of it.
 */
typedef struct CfpScope
{
	bool		has_key;
	bool		has_collection;
	CfpCollectionName in;
	CfpItemRange range;			/* of a collection; all zero: all of it */
	CommandId	command;		/* own records of commands before this */
	bool		no_records;		/* only names are wanted */
	bool		no_names;		/* nor these: only how many there are */
	bool		backward;		/* of one collection: the last item first */
} CfpScope;

typedef struct CfpScopeRow
{
	CfpItemName name;
	const CfpRecord *record;	/* NULL when not wanted, as the name's parts */
	uint64		txid;
} CfpScopeRow;

typedef struct CfpScopeScan CfpScopeScan;

/*
 * The items of the scope that are there, deleted ones left out, in the order of
 * their names, or that backward, as the snapshot sees them that is active at each call: it must be
 * the same.  The scan lives in CurrentMemoryContext, and has copies of the
 * names.  What next() returns, NULL at the end, is good until the next call.
 * Throws what reading throws.  The caller has checked privileges.
 */
extern CfpScopeScan *cfp_scope_begin(const CfpScope *scope);
extern const CfpScopeRow *cfp_scope_next(CfpScopeScan *scan);

/* Is the next row at hand?  Then next() asks for no snapshot. */
extern bool cfp_scope_has_next(const CfpScopeScan *scan);
extern void cfp_scope_end(CfpScopeScan *scan);

#endif							/* CFP_SCOPE_H */
