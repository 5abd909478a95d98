/*-------------------------------------------------------------------------
 *
 * chain.c
 *		Chains of versions, and which version a snapshot sees.
 *
 * Purpose: each item has a short chain of versions (nodes), so that a reader finds
 * the one its snapshot sees by a few comparisons.
 *
 * Called by load.c (one node an item), by stores (a node is pushed as a claim,
 * moved and stripped as records come and go, and filled before the commit), and by
 * readers.
 *
 * Locks: the collection's, exclusively to change a chain (or the collection is
 * LOADING by the caller), in any mode to look at one.  The status of a
 * transaction that has just ended is looked up in pg_xact under it.
 *
 * Invariants:
 * 	- A chain is sorted by version, highest first; versions in it differ.
 * 	- A node's record is set before its writer commits, and never changes; in
 * 	  a BYPASSED collection it may be missing for want of memory.
 * 	- Nodes of transactions in progress are removed only by their writer.
 * 	- Only a committed node with a higher committed node in the chain is cut;
 * 	  the item's PRUNED bit tells that some snapshot may miss it.
 * 	- `nempty` of the collection counts the items whose chain is empty.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "cache/arena.h"
#include "cache/chain.h"

#include "access/xact.h"
#include "storage/procarray.h"
#include "utils/snapmgr.h"

/* Committed versions kept for snapshots that may still need them. */
#define CFP_CHAIN_CAP		4

StaticAssertDecl(CFP_LARGE / 8 <= PG_UINT16_MAX, "record_size holds what is not large");

/* Put a node that is in no chain where its version belongs. */
static void
chain_insert(CfpItem *item, CfpNode *node)
{
	CfpRef	   *link = &item->newest;

	while (*link != 0 && ((CfpNode *) cfp_ptr(*link))->version > node->version)
		link = &((CfpNode *) cfp_ptr(*link))->next;
	node->next = *link;
	Assert(node->next == 0 || ((CfpNode *) cfp_ptr(node->next))->version < node->version);
	*link = cfp_ref(node);
}

static void
chain_unlink(CfpItem *item, CfpNode *node)
{
	CfpRef	   *link = &item->newest;
	CfpRef		ref = cfp_ref(node);

	while (*link != ref)
	{
		Assert(*link != 0);
		link = &((CfpNode *) cfp_ptr(*link))->next;
	}
	*link = node->next;
}

CfpNode *
cfp_node_push(CfpCollection *col, CfpItem *item, int32 version,
			  FullTransactionId writer, bool exact)
{
	CfpNode    *node = cfp_arena_alloc(col, sizeof(CfpNode), exact);

	Assert(FullTransactionIdIsValid(writer));
	if (node == NULL)
		return NULL;
	node->record = 0;
	node->json = 0;
	node->writer = writer;
	node->version = version;
	node->flags = 0;
	if (item->newest == 0)
		col->nempty--;
	chain_insert(item, node);
	return node;
}

bool
cfp_node_fill(CfpCollection *col, CfpNode *node, const CfpRecord *record, bool exact)
{
	Size		bytes = CFP_RECORD_BYTES(record);
	Size		size = MAXALIGN(bytes);
	CfpRecord  *copy = cfp_arena_alloc(col, size, exact);

	Assert(node->record == 0);
	if (copy == NULL)
		return false;
	memcpy(copy, record, bytes);
	if (!exact)
		size = cfp_arena_size(size);
	copy->size = size;
	node->record = cfp_ref(copy);
	node->record_size = size <= CFP_LARGE ? size / 8 : 0;
	return true;
}

void
cfp_node_move(CfpItem *item, CfpNode *node, int32 version)
{
	chain_unlink(item, node);
	node->version = version;
	chain_insert(item, node);
}

void
cfp_node_strip(CfpCollection *col, CfpNode *node)
{
	if (node->record != 0)
	{
		CfpRecord  *record = cfp_ptr(node->record);

		cfp_arena_free(col, record,
					   node->record_size > 0 ? node->record_size * 8 : record->size);
	}
	if (node->json != 0)
	{
		CfpText    *json = cfp_ptr(node->json);

		cfp_arena_free(col, json, json->size);
	}
	node->record = 0;
	node->json = 0;
}

/* Free a node that is in no chain. */
static void
node_free(CfpCollection *col, CfpNode *node)
{
	cfp_node_strip(col, node);
	cfp_arena_free(col, node, sizeof(CfpNode));
}

void
cfp_node_remove(CfpCollection *col, CfpItem *item, CfpNode *node)
{
	Assert(cfp_collection_is_mine(col));
	Assert((node->flags & CFP_NODE_COMMITTED) == 0);
	chain_unlink(item, node);
	node_free(col, node);
	if (item->newest == 0)
		col->nempty++;
}

/*
 * What lies below a committed node that everyone sees is wanted by no one.
 * Beyond the cap committed nodes go as well, lowest first: the snapshots that
 * would want them read the tables.  A loaded node counts as committed and
 * seen by all who may use the collection.
 */
static inline void
chain_prune(CfpCollection *col, CfpItem *item, FullTransactionId oldest)
{
	CfpNode    *node;
	CfpNode    *seen_by_all = NULL;
	int			ncommitted = 0;

	Assert(cfp_collection_is_mine(col));
	for (CfpRef ref = item->newest; ref != 0; ref = node->next)
	{
		node = cfp_ptr(ref);
		if ((node->flags & CFP_NODE_COMMITTED) == 0)
			continue;
		ncommitted++;
		if (seen_by_all == NULL && node->next != 0 &&
			((node->flags & CFP_NODE_LOADED) != 0 ||
			 (FullTransactionIdIsValid(oldest) ?
			  FullTransactionIdPrecedes(node->writer, oldest) :
			  GlobalVisTestIsRemovableFullXid(GlobalVisTestFor(NULL), node->writer))))
			seen_by_all = node;
	}

	if (seen_by_all != NULL)
	{
		CfpRef	   *link = &seen_by_all->next;

		while (*link != 0)
		{
			node = cfp_ptr(*link);
			if ((node->flags & CFP_NODE_COMMITTED) != 0)
			{
				*link = node->next;
				node_free(col, node);
				ncommitted--;
			}
			else
				link = &node->next;
		}
	}

	while (ncommitted > CFP_CHAIN_CAP)
	{
		CfpRef	   *lowest = NULL;

		for (CfpRef *link = &item->newest; *link != 0; link = &node->next)
		{
			node = cfp_ptr(*link);
			if ((node->flags & CFP_NODE_COMMITTED) != 0)
				lowest = link;
		}
		node = cfp_ptr(*lowest);
		*lowest = node->next;
		node_free(col, node);
		ncommitted--;
		item->flags |= CFP_ITEM_PRUNED;
	}
}

void
cfp_chain_prune(CfpCollection *col, CfpItem *item)
{
	chain_prune(col, item, InvalidFullTransactionId);
}

void
cfp_chain_prune_before(CfpCollection *col, CfpItem *item, FullTransactionId oldest)
{
	chain_prune(col, item, oldest);
}

/* ---------- visibility ---------- */

bool
cfp_view_make(CfpView *view, Snapshot snapshot)
{
	/* Widening needs the next transaction id; most calls repeat a snapshot. */
	static TransactionId last_xmin = InvalidTransactionId;
	static TransactionId last_xmax = InvalidTransactionId;
	static FullTransactionId last_full_xmin;
	static FullTransactionId last_full_xmax;

	if (unlikely(snapshot->snapshot_type != SNAPSHOT_MVCC ||
				 snapshot->takenDuringRecovery))
		return false;
	view->snapshot = snapshot;
	if (snapshot->xmin != last_xmin || snapshot->xmax != last_xmax)
	{
		FullTransactionId next = ReadNextFullTransactionId();
		uint64		base = U64FromFullTransactionId(next);
		TransactionId next32 = XidFromFullTransactionId(next);

		last_full_xmin = FullTransactionIdFromU64(base + (int32) (snapshot->xmin - next32));
		last_full_xmax = FullTransactionIdFromU64(base + (int32) (snapshot->xmax - next32));
		last_xmin = snapshot->xmin;
		last_xmax = snapshot->xmax;
	}
	view->xmin = last_full_xmin;
	view->xmax = last_full_xmax;
	return true;
}

bool
cfp_view_may_use_slow(const CfpView *view, const CfpCollection *col)
{
	Snapshot	snapshot = view->snapshot;
	TransactionId load_xmax;

	if (FullTransactionIdPrecedes(view->xmax, col->load_xmax))
		return false;

	/* What the view regards as running, the load must have left out too. */
	load_xmax = XidFromFullTransactionId(col->load_xmax);
	for (uint32 i = 0; i < snapshot->xcnt; i++)
	{
		TransactionId xid = snapshot->xip[i];
		bool		left_out = false;

		if (!TransactionIdPrecedes(xid, load_xmax))
			continue;
		for (uint32 j = 0; j < col->load_nxip && !left_out; j++)
			left_out = (col->load_xip[j] == xid);
		if (!left_out)
			return false;
	}
	return true;
}

/*
 * Has the node's writer committed, as the view sees it?  The transaction's
 * status decides, so there is no gap between the commit and the callback that
 * sets the hint.  The status of a transaction that ended that recently is as a
 * rule in a buffer of pg_xact.  An own node is never seen here: its writer has not committed.
 */
static inline bool
writer_visible(const CfpNode *node, const CfpView *view)
{
	if (node->flags & CFP_NODE_LOADED)
		return true;
	if (!FullTransactionIdPrecedes(node->writer, view->xmax))
		return false;
	if (!FullTransactionIdPrecedes(node->writer, view->xmin))
	{
		TransactionId xid = XidFromFullTransactionId(node->writer);

		for (uint32 i = 0; i < view->snapshot->xcnt; i++)
		{
			if (view->snapshot->xip[i] == xid)
				return false;
		}
	}
	return (node->flags & CFP_NODE_COMMITTED) != 0 ||
		TransactionIdDidCommit(XidFromFullTransactionId(node->writer));
}

bool
cfp_node_visible(const CfpNode *node, const CfpView *view)
{
	return writer_visible(node, view);
}

CfpNode *
cfp_chain_visible(const CfpItem *item, const CfpView *view)
{
	CfpRef		ref = item->newest;

	while (ref != 0)
	{
		CfpNode    *node = cfp_ptr(ref);

		if (node->record != 0 && writer_visible(node, view))
			return node;
		ref = node->next;
	}
	return NULL;
}
