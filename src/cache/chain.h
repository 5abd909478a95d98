/*-------------------------------------------------------------------------
 *
 * chain.h
 *		Chains of versions, and which version a snapshot sees.
 *
 * See the head of chain.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_CHAIN_H
#define CFP_CHAIN_H

#include "cache/cache.h"

#include "utils/snapshot.h"

/*
 * Nodes.  Whoever changes a chain holds the collection's lock exclusively, or has
 * it LOADING.
 *
 * Put a node without a record into the item's chain, where its version belongs;
 * NULL when memory is short.
 */
extern CfpNode *cfp_node_push(CfpCollection *col, CfpItem *item, int32 version,
							  FullTransactionId writer, bool exact);

/*
 * Copy the record into the arena, for a node that has none; its size field
 * becomes what was allocated.  False when memory is short.
 */
extern bool cfp_node_fill(CfpCollection *col, CfpNode *node,
						  const CfpRecord *record, bool exact);

/* Give the node a new version and move it to its place in the chain. */
extern void cfp_node_move(CfpItem *item, CfpNode *node, int32 version);

/* Make a node a mere claim again.  Cannot throw. */
extern void cfp_node_strip(CfpCollection *col, CfpNode *node);

/* Unlink and free.  Cannot throw. */
extern void cfp_node_remove(CfpCollection *col, CfpItem *item, CfpNode *node);

/* Cut what no one needs, and above the cap what an old snapshot may need. */
extern void cfp_chain_prune(CfpCollection *col, CfpItem *item);

/*
 * Cut what no one needs, writers before `oldest` being seen by all.  Cannot
 * throw, allocates nothing.
 */
extern void cfp_chain_prune_before(CfpCollection *col, CfpItem *item,
								   FullTransactionId oldest);

/* A snapshot with its bounds widened, for the tests of visibility. */
typedef struct CfpView
{
	Snapshot	snapshot;
	FullTransactionId xmin;
	FullTransactionId xmax;
} CfpView;

/*
 * The view of a snapshot.  False when the cache may not serve it (not MVCC,
 * taken during recovery).
 */
extern bool cfp_view_make(CfpView *view, Snapshot snapshot);

/*
 * May the view use the collection: does it see all that the snapshot of the
 * collection's load saw?  This is asked where the view is not simply newer.  The
 * caller holds the lock in any mode.
 */
extern bool cfp_view_may_use_slow(const CfpView *view, const CfpCollection *col);

static inline bool
cfp_view_may_use(const CfpView *view, const CfpCollection *col)
{
	return likely(FullTransactionIdFollowsOrEquals(view->xmin, col->load_xmax)) ||
		cfp_view_may_use_slow(view, col);
}

/* Does the view see what this node's writer did? (lock in any mode) */
extern bool cfp_node_visible(const CfpNode *node, const CfpView *view);

/* The newest node the view sees, or NULL (lock in any mode). */
extern CfpNode *cfp_chain_visible(const CfpItem *item, const CfpView *view);

#endif							/* CFP_CHAIN_H */
