/*-------------------------------------------------------------------------
 *
 * claim.c
 *		Storing a record: claiming its version.
 *
 * Called by the SQL functions and by what changes storage_current; the caller has
 * checked the privilege.  What a claim asks of others is asked for locks, too, by
 * lock.c.
 *
 * A store goes like this:
 *
 * 1. The transaction gets its id and locks storage_history and cfp_gate in
 *    ROW EXCLUSIVE mode, so that DDL and hand-made changes wait (commit.c).
 * 2. The collection is pinned in the cache (loaded first), or goes into
 *    table mode (see load.c).
 * 3. A version is claimed: pinned, by a node without a record in the item's
 *    chain, under the collection's lock; in table mode, from the tables,
 *    under the lock that keeps all other writers out.
 * 4. The record is kept on top of the item's earlier ones (own.c).
 *
 * What happens to it at the commit is told in commit.c.
 *
 * Locks: see load.c; here at most one collection's LWLock is held, and
 * never over a wait or anything that can throw but palloc.
 *
 * Invariants:
 * 	- A version is given out once: a claim's is one above all that were.
 * 	- A record that was put on top and got no version is taken off before an
 * 	  error is raised, or by the rollback that the error brings.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "cache/chain.h"
#include "cache/evict.h"
#include "cache/items.h"
#include "cache/load.h"
#include "cache/locks.h"
#include "record/content.h"
#include "shared/database.h"
#include "store/claim.h"
#include "store/claim_int.h"
#include "store/commit_int.h"
#include "store/own_int.h"
#include "tables/given_up.h"
#include "tables/insert.h"
#include "tables/read_item.h"
#include "tables/tables.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* Record bodies kept in memory before they are written early. */
#define SPILL_BYTES			(64 * 1024 * 1024)

/* ---------- what a store may ask, and what it tells ---------- */

bool
cfp_expect_version(const CfpRecord *current, void *arg)
{
	int64		expected = *(int64 *) arg;

	if (current == NULL)
		return expected == 0;
	return current->version == expected ||
		(expected == 0 && CFP_RECORD_IS_TOMBSTONE(current));
}

bool
cfp_expect_present(const CfpRecord *current, void *arg)
{
	return current != NULL && !CFP_RECORD_IS_TOMBSTONE(current);
}

/* Who may not read the item is not told what it is like. */
pg_noreturn static void
raise_version_conflict(const CfpRecord *current)
{
	CfpFields	fields;

	if (!cfp_may_read())
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("the item is not at the expected version"),
				 errhint("Read the item again and retry.")));
	if (current == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("the item is not at the expected version"),
				 errdetail("The item does not exist."),
				 errhint("Read the item again and retry.")));
	cfp_record_fields(current, &fields);
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("the item is not at the expected version"),
			 fields.username ?
			 errdetail("Its current version is %d%s, stored by \"%.*s\".",
					   current->version,
					   CFP_RECORD_IS_TOMBSTONE(current) ? " (deleted)" : "",
					   fields.username_len, fields.username) :
			 errdetail("Its current version is %d%s.", current->version,
					   CFP_RECORD_IS_TOMBSTONE(current) ? " (deleted)" : ""),
			 errhint("Read the item again and retry.")));
}

void
cfp_raise_concurrent_update(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not serialize access due to concurrent update"),
			 errhint("Retry the transaction.")));
}

pg_noreturn static void
raise_out_of_versions(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("the item has reached the highest version, %d", PG_INT32_MAX),
			 errhint("Store it under another name.")));
}

/* ---------- claiming a version ---------- */

int32
cfp_claim_seen(const CfpItemName *name)
{
	CfpRecord  *record = cfp_table_read_item(GetActiveSnapshot(), name, NULL);

	return record ? record->version : 0;
}

CfpRecord *
cfp_claim_committed(const CfpItemName *name, int32 *last)
{
	CfpRecord  *record;

	/* What rewrites a table must not come between snapshot and read. */
	(void) cfp_tables_locked();
	PushActiveSnapshot(GetLatestSnapshot());
	record = cfp_table_read_item(GetActiveSnapshot(), name, NULL);
	if (last != NULL)
	{
		CfpFloors	floors;

		cfp_floors_read(GetActiveSnapshot(), &name->in, &floors);
		cfp_given_up_add(&name->in, &floors);
		*last = record ? Max(record->version, floors.all_items) : floors.new_items;
	}
	PopActiveSnapshot();
	return record;
}

typedef struct Claim
{
	CfpClaimAsk ask;
	PendingRecord *rec;
	CfpStorePredicate predicate;
	void	   *arg;
	const CfpRecord *committed; /* from the tables, when asked for */
	Size		replaced;		/* bytes of the record below, in table mode */
	bool		create;			/* there is no live record, nor one in flight */
	const CfpRecord *own;		/* of rec->older, if there is a predicate */
	const CfpRecord *current;	/* CLAIM_REFUSED: a copy, or NULL */
} Claim;

static inline void
claim_ask_init(CfpClaimAsk *ask)
{
	ask->careful = IsolationUsesXactSnapshot();
	ask->minds_flight = false;
	ask->minds_lock = CFP_LOCK_SHARED;
	ask->gives_way = false;
	ask->have_view = ask->careful && cfp_view_make(&ask->view, GetActiveSnapshot());
	ask->seen = -1;
	ask->wait_for = InvalidTransactionId;
}

void
cfp_claim_ask_init(CfpClaimAsk *ask)
{
	claim_ask_init(ask);
}

static inline bool
is_own(const CfpNode *node)
{
	return FullTransactionIdEquals(node->writer, cfp_own.writer) &&
		(node->flags & CFP_NODE_LOADED) == 0;
}

static bool
has_own_node(const CfpItem *item)
{
	CfpRef		ref = item->newest;

	while (ref != 0 && !is_own(cfp_ptr(ref)))
		ref = ((CfpNode *) cfp_ptr(ref))->next;
	return ref != 0;
}

/*
 * Is another's lock on the item in the way?  One that waits for its lock is, too,
 * for those who come after it: else a store after the other could pass it.  But
 * those it waits for, or will when it looks again, since they have a lock or a
 * version in flight themselves, and those who have waited already do not give way.
 */
static bool
locked_by_another(CfpClaimAsk *ask, const CfpItem *item, const CfpCollection *col)
{
	TransactionId own_xid = XidFromFullTransactionId(cfp_own.writer);
	TransactionId wanted = InvalidTransactionId;
	bool		own = false;

	for (CfpLock *lock = cfp_lock_first(col, item); lock != NULL; lock = cfp_lock_next(lock))
	{
		TransactionId xid = XidFromFullTransactionId(lock->writer);

		if (FullTransactionIdEquals(lock->writer, cfp_own.writer))
			own = true;
		else if (lock->strength >= ask->minds_lock)
		{
			ask->wait_for = xid;
			return true;
		}
		else if (lock->strength == CFP_LOCK_WANTED && lock->waits_for != own_xid)
			wanted = xid;
	}
	if (!ask->gives_way || own || !TransactionIdIsValid(wanted) || has_own_node(item))
		return false;
	ask->wait_for = wanted;
	return true;
}

/* Inline, as each store asks. */
static pg_attribute_always_inline CfpClaimResult
claim_ask(CfpClaimAsk *ask, const CfpItem *item, const CfpCollection *col,
		  const CfpNode **committed)
{
	bool		view_serves = ask->careful && ask->have_view &&
	cfp_view_may_use(&ask->view, col);
	bool		own = false;

	*committed = NULL;
	ask->live_in_flight = false;
	if (unlikely((item->flags & CFP_ITEM_LOCKED) != 0) && locked_by_another(ask, item, col))
		return CLAIM_WAIT;
	for (CfpRef ref = item->newest; ref != 0;)
	{
		CfpNode    *node = cfp_ptr(ref);

		ref = node->next;
		if (is_own(node))
		{
			own = true;
			continue;
		}
		if ((node->flags & CFP_NODE_COMMITTED) == 0)
		{
			if (ask->careful || ask->minds_flight)
			{
				ask->wait_for = XidFromFullTransactionId(node->writer);
				return CLAIM_WAIT;
			}
			if (*committed == NULL && (node->flags & CFP_NODE_TOMBSTONE) == 0)
				ask->live_in_flight = true;
			continue;
		}
		if (*committed == NULL)
			*committed = node;
		if (!ask->careful)
		{
			if (!ask->minds_flight)
				break;
			continue;
		}
		if (view_serves)
		{
			if (!cfp_node_visible(node, &ask->view))
				return CLAIM_CONFLICT;
		}
		else if (ask->seen < 0)
			return CLAIM_ASK_SEEN;
		else if (node->version > ask->seen)
			return CLAIM_CONFLICT;
	}

	/* A tombstone that our snapshot sees may have been pruned (prune.c). */
	if (ask->careful && !view_serves && *committed == NULL && !own)
	{
		if (ask->seen < 0)
			return CLAIM_ASK_SEEN;
		if (ask->seen > 0)
			return CLAIM_CONFLICT;
	}
	return CLAIMED;
}

CfpClaimResult
cfp_claim_ask(CfpClaimAsk *ask, const CfpItem *item, const CfpCollection *col,
			  const CfpNode **committed)
{
	return claim_ask(ask, item, col, committed);
}

/* Does the store's condition hold of the current record? */
static CfpClaimResult
claim_ask_predicate(Claim *claim, const CfpNode *committed)
{
	const PendingRecord *older = claim->rec->older;
	const CfpRecord *current = NULL;

	if (committed != NULL && committed->record != 0)
		current = cfp_ptr(committed->record);
	else if (committed != NULL)
	{
		if (claim->committed == NULL || claim->committed->version < committed->version)
			return CLAIM_ASK_CURRENT;
		current = claim->committed;
	}
	if (older != NULL && (current == NULL || older->version > current->version))
		current = claim->own;
	if (claim->predicate(current, claim->arg))
		return CLAIMED;
	claim->current = current ? cfp_record_copy(current) : NULL;
	return CLAIM_REFUSED;
}

/* Give the record the item's next version, and a node. */
static CfpClaimResult
claim_take_version(PendingRecord *rec, CfpItem *shared, CfpCollection *col)
{
	PendingRecord *older = rec->older;

	Assert(shared->newest == 0 ||
		   ((CfpNode *) cfp_ptr(shared->newest))->version <= shared->last_version);
	if (shared->last_version == PG_INT32_MAX)
		return CLAIM_NO_VERSION;

	/* First what no one needs goes: the new node finds its memory at hand. */
	cfp_chain_prune(col, shared);

	/* The node of an earlier record goes along; a rollback gives it back. */
	if (older != NULL && older->node != NULL)
	{
		cfp_node_strip(col, older->node);
		cfp_node_move(shared, older->node, shared->last_version + 1);
		rec->node = older->node;
		older->node = NULL;
		older->linked = false;
	}
	else
	{
		rec->node = cfp_node_push(col, shared, shared->last_version + 1,
								  cfp_own.writer, false);
		if (rec->node == NULL)
			return CLAIM_NO_MEMORY;
	}
	cfp_own_mark_node(rec, rec->node);
	rec->version = ++shared->last_version;
	return CLAIMED;
}

/* Is there no live record below the claim, nor another's that may commit? */
static inline bool
claim_creates(const Claim *claim, const CfpNode *committed)
{
	const PendingRecord *older = claim->rec->older;

	if (claim->ask.live_in_flight)
		return false;
	if (older != NULL && (committed == NULL || older->version > committed->version))
		return older->tombstone;
	return committed == NULL || (committed->flags & CFP_NODE_TOMBSTONE) != 0;
}

static inline CfpItem *
claim_item(CfpCollection *col, uint32 hash, const char *name, int len)
{
	CfpItem    *item;

	Assert(LWLockHeldByMeInMode(&col->lock, LW_EXCLUSIVE));
	Assert(col->pins != 0);
	item = cfp_item_find(col, hash, name, len);
	if (item == NULL)
	{
		item = cfp_item_add(col, hash, name, len);
		if (item != NULL)
			item->last_version = col->floor;
	}
	return item;
}

CfpItem *
cfp_claim_item(CfpCollection *col, uint32 hash, const char *name, int len)
{
	return claim_item(col, hash, name, len);
}

/*
 * Try to claim the next version in the shared item.  The caller holds the
 * collection's lock exclusively; nothing here throws but palloc.
 */
static CfpClaimResult
claim_locked(Claim *claim)
{
	PendingItem *item = claim->rec->item;
	CfpCollection *col = item->collection->shared;
	const CfpNode *committed;
	CfpClaimResult result;

	Assert(LWLockHeldByMeInMode(&col->lock, LW_EXCLUSIVE));
	Assert(col->pins != 0);
	if (item->shared == NULL)
	{
		item->shared = claim_item(col, item->hash, item->name, item->name_len);
		if (item->shared == NULL)
			return CLAIM_NO_MEMORY;
	}

	result = claim_ask(&claim->ask, item->shared, col, &committed);
	if (result != CLAIMED)
		return result;
	if (committed != NULL && committed->record_size == 0)
		item->collection->over_large = true;
	if (claim->predicate)
	{
		result = claim_ask_predicate(claim, committed);
		if (result != CLAIMED)
			return result;
	}
	claim->create = claim_creates(claim, committed);
	return claim_take_version(claim->rec, item->shared, col);
}

/*
 * Claim a version in the pinned collection: waits and asks the tables as
 * claim_locked() wants it.  CLAIM_NO_MEMORY sends the store to the tables.
 */
static CfpClaimResult
claim_cached(Claim *claim)
{
	CfpCollection *col = claim->rec->item->collection->shared;
	CfpItemName name;
	int			tries = 0;

	cfp_own_item_name(claim->rec->item, &name);
	for (;;)
	{
		CfpClaimResult result;

		LWLockAcquire(&col->lock, LW_EXCLUSIVE);
		result = claim_locked(claim);
		LWLockRelease(&col->lock);

		switch (result)
		{
			case CLAIM_WAIT:
				(void) cfp_wait_for_writer(claim->ask.wait_for, true);
				claim->ask.gives_way = false;
				break;
			case CLAIM_ASK_SEEN:
				claim->ask.seen = cfp_claim_seen(&name);
				break;
			case CLAIM_ASK_CURRENT:
				claim->committed = cfp_claim_committed(&name, NULL);
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

/*
 * Claim a version in table mode: what is committed is in the tables, and no
 * one else is at it.
 */
static CfpClaimResult
claim_from_tables(Claim *claim)
{
	PendingRecord *rec = claim->rec;
	PendingRecord *older = rec->older;
	PendingCollection *collection = rec->item->collection;
	const CfpRecord *current;
	int32		committed;
	int32		last;
	CfpItemName name;

	cfp_own_item_name(rec->item, &name);
	if (!collection->store_locked)
	{
		(void) cfp_collection_table_mode(&collection->name, collection->hash,
										 cfp_own.writer, true);
		collection->store_locked = true;
	}

	current = cfp_claim_committed(&name, &last);
	committed = current ? current->version : 0;
	if (claim->ask.careful && committed != cfp_claim_seen(&name) &&
		!(older != NULL && committed <= older->version))
		return CLAIM_CONFLICT;
	if (older != NULL && older->version >= committed)
	{
		current = claim->own;
		last = Max(last, older->version);
	}
	if (claim->predicate && !claim->predicate(current, claim->arg))
	{
		claim->current = current;
		return CLAIM_REFUSED;
	}

	/* Versions given out while the collection was still cached. */
	if (collection->shared != NULL)
	{
		CfpItem    *shared;

		LWLockAcquire(&collection->shared->lock, LW_SHARED);
		shared = cfp_item_find(collection->shared, rec->item->hash,
							   rec->item->name, rec->item->name_len);
		if (shared != NULL)
			last = Max(last, shared->last_version);
		LWLockRelease(&collection->shared->lock);
	}
	if (last == PG_INT32_MAX)
		return CLAIM_NO_VERSION;
	claim->replaced = current ? CFP_RECORD_BYTES(current) : 0;
	claim->create = older != NULL && older->version >= committed ? older->tombstone :
		current == NULL || CFP_RECORD_IS_TOMBSTONE(current);
	rec->version = last + 1;
	return CLAIMED;
}

int32
cfp_pending_store(const CfpItemName *name, CfpFields *fields,
				  CfpStorePredicate predicate, void *arg, bool missing_ok)
{
	PendingCollection *collection;
	PendingItem *item;
	PendingRecord *rec;
	Claim		claim = {.predicate = predicate,.arg = arg};
	CfpFault	fault;
	CfpClaimResult result;
	const char *caller = fields->data == NULL ? "cfp_delete()" : "cfp_store()";

	PreventCommandIfReadOnly(caller);
	PreventCommandIfParallelMode(caller);
	if (cfp_own.past_precommit)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot store while the transaction is being committed"),
				 errhint("Store before the COMMIT.")));
	if (cfp_history_inserting)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot store in a trigger of storage_history"),
				 errhint("It fires when the records of a transaction are written. Store where they are stored.")));
	if (unlikely(!cfp_content_is_sound(name, fields, &fault)))
		cfp_raise_fault(&fault);
	cfp_check_json_size(fields);
	cfp_begin_storing();
	Assert(FullTransactionIdIsValid(cfp_own.writer));

	claim_ask_init(&claim.ask);
	claim.ask.minds_flight = predicate != NULL;
	claim.ask.gives_way = true;

	/* A condition is a read, which must be known to others as one. */
	if (predicate && IsolationIsSerializable())
		claim.ask.seen = cfp_claim_seen(name);

	item = cfp_own_item(name);
	collection = item->collection;
	cfp_pin_to_store(collection);

	rec = cfp_own_push(item);
	rec->tombstone = cfp_fields_are_tombstone(fields);
	claim.rec = rec;
	if (predicate && rec->older != NULL)
		claim.own = cfp_own_fetch(rec->older);
	result = CLAIM_NO_MEMORY;
	if (!collection->table_mode)
		result = claim_cached(&claim);
	if (result == CLAIM_NO_MEMORY)
	{
		collection->table_mode = true;
		result = claim_from_tables(&claim);
	}
	switch (result)
	{
		case CLAIMED:
			break;
		case CLAIM_REFUSED:
			cfp_own_roll_back();
			if (missing_ok)
				return 0;
			raise_version_conflict(claim.current);
		case CLAIM_NO_VERSION:
			cfp_own_roll_back();
			raise_out_of_versions();
		default:
			cfp_own_roll_back();
			cfp_raise_concurrent_update();
	}

	Assert(rec->version > 0 && item->newest == rec);
	Assert(rec->node != NULL || collection->table_mode);
	fields->version = rec->version;
	fields->create = claim.create;
	fields->updated_at = GetCurrentTimestamp();
	cfp_own_set_body(rec, fields);
	cfp_counts.stores++;
	if (collection->table_mode)
		cfp_collection_resized(&collection->name, collection->hash,
							   (int64) CFP_RECORD_BYTES(rec->record) - (int64) claim.replaced);

	if (cfp_own.body_bytes > SPILL_BYTES)
		cfp_write_level();
	return fields->version;
}
