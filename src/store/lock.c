/*-------------------------------------------------------------------------
 *
 * lock.c
 *		Locking items.
 *
 * Purpose: a transaction keeps others from storing an item, or from locking it,
 * until it ends.
 *
 * Called by the SQL functions and by what scans storage_current; the caller has
 * checked the privilege.
 *
 * A lock goes like this:
 *
 * 1. The transaction begins as one that stores: it has an id, which others wait
 *    for, and its locks on storage_history and cfp_gate (commit.c).  It writes
 *    nothing by that.
 * 2. The collection is pinned in the cache, or goes into table mode.
 * 3. Pinned: under the collection's lock, others' locks and versions in flight are
 *    looked for (claim.c).  Where there are none that stand in the way, the lock is
 *    set (cache/locks.c).  Else their transactions are waited for, one after the
 *    other, and all is looked at again.  A lock that is WANTED stands there
 *    meanwhile: it keeps out stores that come later, which do not wait for each
 *    other, and could go on for ever.
 *    In table mode: the lock that keeps all other writers out of the collection is
 *    the lock.
 * 4. What was set is noted by nesting level (own_locks.c).
 *
 * Locks: see load.c; here at most one collection's LWLock is held, and never over
 * a wait or anything that can throw.
 *
 * Invariants:
 * 	- While a transaction has a lock, no other has a version of the item in flight
 * 	  that it does not wait for, and none gets one.
 * 	- Who waits has a transaction's lock to wait for: deadlocks are found.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "cache/evict.h"
#include "cache/hash.h"
#include "cache/load.h"
#include "cache/locks.h"
#include "store/claim_int.h"
#include "store/commit_int.h"
#include "store/lock.h"
#include "store/own.h"
#include "store/own_int.h"
#include "store/own_locks_int.h"
#include "tables/insert.h"

#include "access/xact.h"
#include "miscadmin.h"

typedef struct LockRequest
{
	const CfpItemName *name;
	PendingCollection *collection;
	CfpLockStrength strength;
	bool		wait;
	CfpClaimAsk ask;
} LockRequest;

/*
 * Try to lock the item in the pinned collection.  The caller holds its lock
 * exclusively, and has room for what is noted.
 */
static CfpClaimResult
lock_locked(LockRequest *request, uint32 hash)
{
	CfpCollection *col = request->collection->shared;
	CfpItem    *item = cfp_claim_item(col, hash, request->name->item, request->name->item_len);
	const CfpNode *committed;
	CfpClaimResult result;
	CfpLock    *own;

	if (item == NULL)
		return CLAIM_NO_MEMORY;
	own = cfp_lock_of(col, item, cfp_own.writer);
	if (own != NULL && own->strength >= request->strength)
		return CLAIMED;

	result = cfp_claim_ask(&request->ask, item, col, &committed);
	if (result != CLAIMED && !(result == CLAIM_WAIT && request->wait))
		return result;
	if (own == NULL)
	{
		own = cfp_lock_add(col, item, cfp_own.writer);
		if (own == NULL)
			return CLAIM_NO_MEMORY;
		cfp_own_locks_push(request->collection, own, false);
	}
	else if (result == CLAIMED && own->strength != CFP_LOCK_WANTED)
		cfp_own_locks_push(request->collection, own, true);
	if (result == CLAIMED)
		own->strength = request->strength;
	else
		own->waits_for = request->ask.wait_for;
	return result;
}

/* As claim_cached() does it. */
static CfpClaimResult
lock_cached(LockRequest *request)
{
	CfpCollection *col = request->collection->shared;
	uint32		hash = cfp_item_hash(request->name->item, request->name->item_len);
	int			tries = 0;

	cfp_own_locks_reserve();
	for (;;)
	{
		CfpClaimResult result;

		LWLockAcquire(&col->lock, LW_EXCLUSIVE);
		result = lock_locked(request, hash);
		LWLockRelease(&col->lock);

		switch (result)
		{
			case CLAIM_WAIT:
				if (!cfp_wait_for_writer(request->ask.wait_for, request->wait))
					return CLAIM_WAIT;
				break;
			case CLAIM_ASK_SEEN:
				request->ask.seen = cfp_claim_seen(request->name);
				break;
			case CLAIM_NO_MEMORY:
				if (tries++ == CFP_STORE_ROOM_TRIES || !cfp_make_room_for(col, NULL))
					return CLAIM_NO_MEMORY;
				break;
			default:
				return result;
		}
	}
}

static CfpClaimResult
lock_in_table_mode(LockRequest *request)
{
	PendingCollection *collection = request->collection;

	if (!collection->store_locked)
	{
		if (!cfp_collection_table_mode(&collection->name, collection->hash,
									   cfp_own.writer, request->wait))
			return CLAIM_WAIT;
		collection->store_locked = true;
	}
	collection->table_mode = true;
	cfp_own_locks_reserve();
	cfp_own_locks_push(collection, NULL, false);

	if (request->ask.careful)
	{
		CfpRecord  *record = cfp_claim_committed(request->name, NULL);
		const CfpRecord *own = cfp_pending_find(request->name, CFP_UP_TO_NOW);
		int32		committed = record ? record->version : 0;

		if (committed != cfp_claim_seen(request->name) &&
			(own == NULL || committed > own->version))
			return CLAIM_CONFLICT;
	}
	return CLAIMED;
}

bool
cfp_item_lock(const CfpItemName *name, bool exclusive, LockWaitPolicy policy)
{
	LockRequest request = {.name = name,.wait = policy == LockWaitBlock};
	CfpClaimResult result = CLAIM_NO_MEMORY;

	PreventCommandIfReadOnly("cfp_lock()");
	PreventCommandIfParallelMode("cfp_lock()");
	if (cfp_own.past_precommit)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot lock items while the transaction is being committed"),
				 errhint("Lock them before the COMMIT.")));
	if (cfp_history_inserting)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot lock items in a trigger of storage_history"),
				 errhint("It fires when the records of a transaction are written. Lock them where they are stored.")));
	cfp_begin_locking();

	request.strength = exclusive ? CFP_LOCK_EXCLUSIVE : CFP_LOCK_SHARED;
	cfp_claim_ask_init(&request.ask);
	request.ask.minds_flight = true;
	if (!exclusive)
		request.ask.minds_lock = CFP_LOCK_EXCLUSIVE;
	request.collection = cfp_own_collection(&name->in);
	cfp_pin_to_store(request.collection);

	if (!request.collection->table_mode)
		result = lock_cached(&request);
	if (result == CLAIM_NO_MEMORY)
		result = lock_in_table_mode(&request);
	switch (result)
	{
		case CLAIMED:
			return true;
		case CLAIM_WAIT:
			if (policy == LockWaitError)
				ereport(ERROR,
						(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
						 errmsg("could not obtain lock on item \"%.*s\"",
								name->item_len, name->item)));
			return false;
		default:
			Assert(result == CLAIM_CONFLICT);
			cfp_raise_concurrent_update();
	}
}
