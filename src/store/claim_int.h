/*-------------------------------------------------------------------------
 *
 * claim_int.h
 *		What stands in the way of a claim, for claim.c and lock.c.
 *
 * See the head of claim.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_CLAIM_INT_H
#define CFP_CLAIM_INT_H

#include "cache/chain.h"
#include "record/record.h"

/* What came of looking at an item. */
typedef enum CfpClaimResult
{
	CLAIMED,
	CLAIM_WAIT,					/* for the transaction in wait_for */
	CLAIM_ASK_SEEN,				/* which version does our snapshot see? */
	CLAIM_ASK_CURRENT,			/* what is committed?  It is not in memory */
	CLAIM_CONFLICT,				/* a committed version we cannot see */
	CLAIM_REFUSED,				/* by the predicate; *current is set */
	CLAIM_NO_MEMORY,
	CLAIM_NO_VERSION
} CfpClaimResult;

/* What a claim, of a version or of a lock, minds of others. */
typedef struct CfpClaimAsk
{
	bool		careful;		/* REPEATABLE READ or above: what is committed
								 * must be seen, what is in flight is waited
								 * for */
	bool		minds_flight;	/* versions in flight are waited for anyway */
	CfpLockStrength minds_lock; /* so are locks, from this strength on */
	bool		gives_way;		/* and those who wait for one */
	bool		have_view;
	CfpView		view;			/* of the transaction's snapshot, if careful */
	int32		seen;			/* version the snapshot sees; -1 not known */
	bool		live_in_flight; /* CLAIMED: another's version above what is
								 * committed is no tombstone */
	TransactionId wait_for;		/* CLAIM_WAIT */
} CfpClaimAsk;

/* Begin to ask for the current transaction, which minds no more than it must. */
extern void cfp_claim_ask_init(CfpClaimAsk *ask);

/*
 * Does what others have of the item stand against the claim?  CLAIMED: no, and
 * *committed is then the newest committed node that is not our own, or NULL, as
 * far as that is minded.  The caller holds the collection's lock.
 */
extern CfpClaimResult cfp_claim_ask(CfpClaimAsk *ask, const CfpItem *item,
									const CfpCollection *col, const CfpNode **committed);

/*
 * The item of the pinned collection, made when it is not there; NULL when memory
 * is short.  The caller holds the lock exclusively.
 */
extern CfpItem *cfp_claim_item(CfpCollection *col, uint32 hash, const char *name, int len);

/* The version that the active snapshot sees of the item; 0 none. */
extern int32 cfp_claim_seen(const CfpItemName *name);

/*
 * What is committed of the item, and what this transaction has written of it.
 * *last (when asked for): the last version of the item that is taken.
 */
extern CfpRecord *cfp_claim_committed(const CfpItemName *name, int32 *last);

/* Throws 40001. */
pg_noreturn extern void cfp_raise_concurrent_update(void);

#endif							/* CFP_CLAIM_INT_H */
