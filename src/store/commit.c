/*-------------------------------------------------------------------------
 *
 * commit.c
 *		Writing what a transaction has stored, and its end.
 *
 * Purpose: at pre-commit all records go into storage_history, and the newest of
 * each item into its node.  Then the transaction commits, and the callback marks
 * the nodes committed and unpins; or it aborts, and the callback removes them.
 * Where writing may run code of the user's own, it is done earlier in the commit,
 * see make_writer_portal().
 *
 * Called by claim.c and lock.c as a transaction begins to store, or to lock items,
 * and when it has stored very much; by jobs that remove rows; by the transaction
 * machinery through callbacks.
 *
 * The callbacks of commit and abort allocate nothing, look nothing up and cannot
 * throw: all they need hangs on the structures of own.c.
 *
 * Spilling: when the records in memory pass a limit (claim.c), those of the current
 * nesting level are written into the history, and into their nodes, at once,
 * and their bodies are dropped; rolling back the level takes back both.  What
 * belongs to outer levels must stay in memory, and counts: so a level above
 * much of it may write each record as it comes.
 *
 * Locks: storage_history and cfp_gate in ROW EXCLUSIVE mode, from the first store
 * to the end of the transaction, so that DDL and hand-made changes wait.  At most
 * one collection's LWLock is held, for so many items at a time, and never over a
 * wait or anything that can throw.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/waitpoint.h"
#include "cache/chain.h"
#include "cache/descriptor.h"
#include "cache/directory.h"
#include "cache/evict.h"
#include "cache/load.h"
#include "shared/database.h"
#include "store/commit.h"
#include "store/commit_int.h"
#include "store/own.h"
#include "store/own_int.h"
#include "store/own_locks_int.h"
#include "tables/given_up.h"
#include "tables/insert.h"
#include "tables/tables.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

/* Records inserted into the history by one call. */
#define WRITE_AT_ONCE		10000

static Portal writer_portal = NULL; /* see make_writer_portal() */

static void leave_all(bool committed);

/* ---------- the beginning of a transaction's stores ---------- */

/*
 * Lock history and gate for the whole transaction: a rolled-back
 * subtransaction takes neither its pins nor these locks along, so that what
 * is pinned stays true.
 */
static void
store_lock_tables(void)
{
	ResourceOwner owner = CurrentResourceOwner;

	CurrentResourceOwner = TopTransactionResourceOwner;
	for (;;)
	{
		Oid			history = cfp_tables()->history;
		Oid			gate = cfp_tables()->gate;
		const CfpTables *now;

		LockRelationOid(history, RowExclusiveLock);
		LockRelationOid(gate, RowExclusiveLock);
		now = cfp_tables();
		if (now->history == history && now->gate == gate)
		{
			if (cfp_own.collections == NULL)
				cfp_own.stored_into = history;
			break;
		}

		/* The extension was dropped and made anew while we waited. */
		UnlockRelationOid(gate, RowExclusiveLock);
		UnlockRelationOid(history, RowExclusiveLock);
	}
	CurrentResourceOwner = owner;
	cfp_own.tables_locked = true;
}

static bool
all_are_written(void)
{
	int			end = cfp_own.nrecords;

	for (int i = cfp_own.nlevels - 1; i >= 0; i--)
	{
		if (cfp_own.levels[i].unwritten < end)
			return false;
		end = cfp_own.levels[i].start;
	}
	return true;
}

/* Has the table been dropped that the transaction has stored into? */
static bool
table_is_gone(void)
{
	const CfpTables *tables = cfp_tables_if_installed();

	return tables == NULL || tables->history != cfp_own.stored_into;
}

/* The cleanup of the portal: the server closes it as it begins to commit. */
static void
write_at_commit(Portal portal)
{
	if (portal != writer_portal)
		return;					/* it has failed before */

	/* An abort closes it too, and so does CLOSE ALL, at any nesting level. */
	if (IsTransactionState() && cfp_own.nrecords > 0 &&
		cfp_own.levels[cfp_own.nlevels - 1].nesting == GetCurrentTransactionNestLevel() &&
		!table_is_gone())
	{
		/* A CLOSE ALL among what is run passes by a portal that is active. */
		portal->status = PORTAL_ACTIVE;
		PG_TRY();
		{
			cfp_waitpoint("precommit", true);
			cfp_write_level();
		}
		PG_CATCH();
		{
			portal->status = PORTAL_FAILED;
			writer_portal = NULL;
			PG_RE_THROW();
		}
		PG_END_TRY();
		portal->status = PORTAL_DONE;
	}
	writer_portal = NULL;
}

/*
 * Where writing the records may run code of the user's own, it has to be done
 * where the server runs deferred triggers: in the loop that a commit begins
 * with, which fires what they queue, closes the cursors that they open and
 * keeps those WITH HOLD.  In the pre-commit callback it is too late for that,
 * and for the callbacks of others that have been called, such as that of a
 * foreign data wrapper that commits on another server.  The one thing in that
 * loop that can be ours is a portal: closing it writes the records.
 *
 * It belongs to the top-level transaction, whatever subtransaction makes it.
 */
static void
make_writer_portal(void)
{
	if (InSecurityRestrictedOperation())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("cannot store within security-restricted operation"),
				 errdetail("Triggers, constraints or indexes of storage_history would run at COMMIT, outside of it.")));
	if (writer_portal != NULL)
		return;
	writer_portal = CreateNewPortal();
	writer_portal->visible = false;
	writer_portal->status = PORTAL_READY;
	writer_portal->cleanup = write_at_commit;
	ResourceOwnerDelete(writer_portal->resowner);
	writer_portal->resowner = NULL;
	writer_portal->createSubid = TopSubTransactionId;
	writer_portal->activeSubid = TopSubTransactionId;
	writer_portal->createLevel = 1;
}

void
cfp_pending_after_utility(void)
{
	/*
	 * A failed transaction block is given ROLLBACK TO while it has records.
	 * The statement may also be one of a script that makes the extension
	 * anew.
	 */
	if (cfp_pending_any && writer_portal == NULL && IsTransactionState() &&
		!all_are_written() && cfp_table_oid("storage_history") == cfp_own.stored_into &&
		!cfp_history_is_plain(cfp_own.stored_into))
		make_writer_portal();
}

/*
 * The extension is another than the one stored into: this transaction dropped
 * it or made it, or has rolled that back.  If nothing of what was stored is left
 * it begins anew.
 */
static void
store_begin_anew(void)
{
	if (cfp_own.nrecords > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this transaction has stored with the extension that it dropped"),
				 errhint("Store in a new transaction.")));
	cfp_own_locks_release();
	leave_all(false);
	cfp_own_forget();
	cfp_own_prepare();
	store_lock_tables();
}

/* Before the transaction's first collection, and before each store or lock. */
static inline void
store_begin_collections(void)
{
	if (unlikely(!cfp_own.ready))
		cfp_own_prepare();
	cfp_own.writer = GetTopFullTransactionId();

	if (!cfp_own.tables_locked)
		store_lock_tables();
	if (unlikely(cfp_tables()->history != cfp_own.stored_into))
		store_begin_anew();
}

void
cfp_begin_storing(void)
{
	store_begin_collections();
	if (unlikely(!cfp_history_is_plain(cfp_own.stored_into)))
		make_writer_portal();
}

void
cfp_begin_locking(void)
{
	store_begin_collections();
}

/* ---------- writing ---------- */

/* The order of the history's primary key. */
static int
compare_records(const void *a, const void *b)
{
	const PendingRecord *x = *(PendingRecord *const *) a;
	const PendingRecord *y = *(PendingRecord *const *) b;
	int			cmp = 0;

	if (x->item != y->item)
	{
		if (x->item->collection != y->item->collection)
		{
			const CfpCollectionName *in_x = &x->item->collection->name;
			const CfpCollectionName *in_y = &y->item->collection->name;

			cmp = cfp_compare_names(in_x->key, in_x->key_len, in_y->key, in_y->key_len);
			if (cmp == 0)
				cmp = cfp_compare_names(in_x->collection, in_x->collection_len,
										in_y->collection, in_y->collection_len);
		}
		if (cmp == 0)
			cmp = cfp_compare_names(x->item->name, x->item->name_len,
									y->item->name, y->item->name_len);
	}
	if (cmp == 0)
		cmp = x->version > y->version ? 1 : -1;
	return cmp;
}

/*
 * Put records into their nodes, which stay invisible until the commit.  Where
 * memory is short even after evicting others, readers of the collection are
 * sent to the tables.  Everything here may fail only before the commit.
 */
static void
link_records(PendingRecord **sorted, const CfpHistoryRow *rows, int n)
{
	int			i = 0;

	while (i < n)
	{
		PendingCollection *collection = sorted[i]->item->collection;
		CfpCollection *col = collection->shared;
		int			tries = 0;

		if (col == NULL)
		{
			while (i < n && sorted[i]->item->collection == collection)
				i++;
			continue;
		}
		while (i < n && sorted[i]->item->collection == collection)
		{
			bool		missing = false;

			LWLockAcquire(&col->lock, LW_EXCLUSIVE);
			for (int held = 0; held < ITEMS_AT_ONCE && i < n &&
				 sorted[i]->item->collection == collection; held++)
			{
				PendingRecord *rec = sorted[i];

				if (rec->node != NULL && !rec->linked)
				{
					if (!cfp_node_fill(col, rec->node, rows[i].record, false))
					{
						missing = true;
						break;
					}
					rec->linked = true;
					tries = 0;
				}
				i++;
			}
			LWLockRelease(&col->lock);
			if (!missing)
				continue;
			if (tries++ == CFP_STORE_ROOM_TRIES || !cfp_make_room_for(col, NULL))
			{
				cfp_collection_bypass(col);
				collection->table_mode = true;
				while (i < n && sorted[i]->item->collection == collection)
					i++;
			}
		}
	}
}

/* Write the records from `start` on that are not written yet, and link them. */
static void
write_records(int start)
{
	MemoryContext cxt;
	MemoryContext old;
	PendingRecord **sorted;
	CfpHistoryRow *rows;
	int			n = 0;

	for (int i = start; i < cfp_own.nrecords; i++)
		n += !cfp_own_record(i)->written;
	if (n == 0)
		return;

	cxt = AllocSetContextCreate(CurrentMemoryContext, "cfp write", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(cxt);
	sorted = MemoryContextAllocHuge(cxt, n * sizeof(PendingRecord *));
	rows = palloc(Min(n, WRITE_AT_ONCE) * sizeof(CfpHistoryRow));
	n = 0;
	for (int i = start; i < cfp_own.nrecords; i++)
	{
		if (!cfp_own_record(i)->written)
			sorted[n++] = cfp_own_record(i);
	}
	if (n > 1)
		qsort(sorted, n, sizeof(PendingRecord *), compare_records);

	for (int done = 0; done < n; done += WRITE_AT_ONCE)
	{
		PendingRecord **slice = &sorted[done];
		int			nslice = Min(n - done, WRITE_AT_ONCE);

		for (int i = 0; i < nslice; i++)
		{
			Assert(i == 0 || compare_records(&slice[i - 1], &slice[i]) < 0);
			Assert(slice[i]->record != NULL);
			rows[i].key = KEY_TEXT(slice[i]->item->collection);
			rows[i].collection = COLLECTION_TEXT(slice[i]->item->collection);
			rows[i].item = ITEM_TEXT(slice[i]->item);
			rows[i].record = slice[i]->record;
		}
		cfp_history_insert(rows, nslice);
		link_records(slice, rows, nslice);
		for (int i = 0; i < nslice; i++)
			slice[i]->written = true;
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(cxt);
}

void
cfp_write_level(void)
{
	Level	   *level = &cfp_own.levels[cfp_own.nlevels - 1];

	Assert(level->nesting == GetCurrentTransactionNestLevel());
	write_records(level->unwritten);
	for (int i = cfp_own.nrecords - 1; i >= level->unwritten; i--)
	{
		if (cfp_own_record(i)->record != NULL)
			cfp_own_drop_body(cfp_own_record(i));
	}
	level->unwritten = cfp_own.nrecords;
	/* So that this transaction sees its rows in the table from here on. */
	CommandCounterIncrement();
}

/*
 * Link the records that were written early, were superseded by others, which
 * took the node, and count again since those were rolled back.
 */
static void
link_again(void)
{
	for (int i = 0; i < cfp_own.nrecords; i++)
	{
		PendingRecord *rec = cfp_own_record(i);
		CfpHistoryRow row;

		if (rec->node == NULL || rec->linked || rec->item->collection->table_mode)
			continue;
		Assert(rec->record == NULL);
		row.record = cfp_own_fetch(rec);
		link_records(&rec, &row, 1);
		pfree(unconstify(CfpRecord *, row.record));
	}
}

/* ---------- rows removed behind the cache ---------- */

void
cfp_pending_bypass(const CfpCollectionName *name)
{
	PendingCollection *collection;

	/*
	 * Nothing is stored: what opening the history's indexes runs is not to
	 * run.
	 */
	store_begin_collections();
	collection = cfp_own_collection(name);
	if (collection->shared != NULL)
		return;
	collection->shared = cfp_collection_pin_bypassed(&collection->name,
													 collection->hash, cfp_own.writer);
	collection->table_mode = true;

	/* No memory for a pin: then all that is cached goes. */
	if (collection->shared == NULL)
		cfp_hand_change_begin();
}

/* ---------- the end of a transaction ---------- */

static void
pending_pre_commit(void)
{
	/* What it stored goes with the table that it dropped. */
	if (cfp_own.nrecords > 0 && table_is_gone())
	{
		while (cfp_own.nrecords > 0)
			cfp_own_pop();
	}
	if (cfp_own.nrecords > 0)
	{
		cfp_waitpoint("precommit", true);
		if (!all_are_written() && !cfp_history_is_plain(cfp_own.stored_into))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("storage_history has been altered since the transaction stored"),
					 errhint("Alter it in a transaction of its own.")));
		write_records(cfp_own.levels[0].unwritten);
		if (cfp_own.must_link_again && !cfp_hand_changed)
			link_again();
		cfp_waitpoint("linked", true);
	}
	/* Nor may what the owner of a table does now store anything. */
	cfp_own.past_precommit = true;
	cfp_given_up_save();
}

static void
pending_pre_prepare(void)
{
	if (cfp_own.nrecords > 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot PREPARE a transaction that has stored with cfp"),
				 errhint("Use COMMIT, or store in a transaction of its own.")));
	if (cfp_own_locks_any())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot PREPARE a transaction that has locked items of cfp"),
				 errhint("Use COMMIT.")));
	if (cfp_hand_changed)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot PREPARE a transaction that has changed the storage tables of cfp"),
				 errhint("Use COMMIT.")));
}

/*
 * Transactions before this one are seen by all: their versions hide what lies
 * below them.  After the transaction's own end; cannot throw.
 */
static FullTransactionId
seen_by_all(void)
{
	TransactionId oldest = GetOldestNonRemovableTransactionId(NULL);
	FullTransactionId next = ReadNextFullTransactionId();

	return FullTransactionIdFromU64(U64FromFullTransactionId(next) +
									(int32) (oldest - XidFromFullTransactionId(next)));
}

/*
 * The commit's hints for so many of a collection's items, from one on; returns
 * the item to go on with.  The collection's lock is held exclusively.  Cannot
 * throw, allocates nothing.
 */
static inline PendingItem *
mark_committed(CfpCollection *col, PendingItem *item, FullTransactionId oldest)
{
	Assert(LWLockHeldByMeInMode(&col->lock, LW_EXCLUSIVE));
	for (int held = 0; held < ITEMS_AT_ONCE && item != NULL; held++, item = item->next)
	{
		Assert(item->newest == NULL || item->newest->linked ||
			   col->state == CFP_COLLECTION_BYPASSED || cfp_hand_changed);
		for (PendingRecord *rec = item->newest; rec != NULL; rec = rec->older)
		{
			if (rec->node == NULL)
				continue;

			/*
			 * Also when memory was too short for the record: other writers
			 * who have the collection pinned must find the version.
			 */
			rec->node->flags |= CFP_NODE_COMMITTED;
		}
		if (FullTransactionIdIsValid(oldest) && item->shared != NULL)
			cfp_chain_prune_before(col, item->shared, oldest);
	}
	return item;
}

/*
 * Let go of a collection.  After a commit its new nodes are visible to those
 * whose snapshots say so: set the hints, of so many items under one hold of the
 * lock that readers do not wait for all.  In between the pin keeps the
 * collection.  Large records they have replaced are given back now if they can
 * be, rather than by the next store of the item: they would double what the
 * item takes.
 */
static void
leave_collection(PendingCollection *collection, bool committed)
{
	CfpCollection *col = collection->shared;
	PendingItem *item = committed ? collection->items : NULL;
	FullTransactionId oldest = InvalidFullTransactionId;
	uint64		generation;
	bool		drop;

	if (committed && collection->over_large)
		oldest = seen_by_all();
	LWLockAcquire(&col->lock, LW_EXCLUSIVE);
	while ((item = mark_committed(col, item, oldest)) != NULL)
	{
		LWLockRelease(&col->lock);
		LWLockAcquire(&col->lock, LW_EXCLUSIVE);
	}
	drop = cfp_collection_unpin(col, cfp_own.writer);
	generation = col->generation;
	LWLockRelease(&col->lock);
	if (drop)
		(void) cfp_collection_drop(col, generation);
}

static void
leave_all(bool committed)
{
	for (PendingCollection *col = cfp_own.collections; col != NULL; col = col->next)
	{
		if (col->shared != NULL)
			leave_collection(col, committed);
	}
}

/* Forget everything; also of a transaction that never stored. */
static void
pending_end_transaction(bool committed)
{
	Assert(cfp_own.nrecords == 0 || cfp_own.collections != NULL);
	if (cfp_own.collections != NULL)
	{
		if (committed)
		{
			cfp_waitpoint("commit", false);
			if (cfp_own.nrecords > 0)
				cfp_database_note_commit(cfp_my_database(), cfp_own.nrecords);
		}
		else
		{
			cfp_waitpoint("abort", false);
			while (cfp_own.nrecords > 0)
				cfp_own_pop();
		}
		cfp_own_locks_release();
		leave_all(committed);
	}
	if (cfp_hand_changed)
	{
		CfpDatabase *db = cfp_my_database();

		/*
		 * In this order: who finds no change running finds the generation
		 * raised.
		 */
		pg_atomic_fetch_add_u64(&db->generation, 1);
		pg_atomic_fetch_sub_u32(&db->hand_changes, 1);
		cfp_hand_changed = false;
		cfp_wake_worker(db);	/* it will have to reconcile */
	}
	cfp_own_forget();
	writer_portal = NULL;
	cfp_hits_flush();
	cfp_counts_flush();
}

static void
pending_xact_callback(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			pending_pre_commit();
			break;
		case XACT_EVENT_PRE_PREPARE:
			pending_pre_prepare();
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PREPARE:
			pending_end_transaction(true);
			break;
		case XACT_EVENT_ABORT:
			pending_end_transaction(false);
			break;
		default:
			break;
	}
}

static void
pending_subxact_callback(SubXactEvent event, SubTransactionId mySubid,
						 SubTransactionId parentSubid, void *arg)
{
	int			nesting = GetCurrentTransactionNestLevel();

	if (event == SUBXACT_EVENT_COMMIT_SUB || event == SUBXACT_EVENT_ABORT_SUB)
		cfp_own_locks_end_sub(nesting, event == SUBXACT_EVENT_COMMIT_SUB);
	if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		Assert(cfp_own.nlevels == 0 || cfp_own.levels[cfp_own.nlevels - 1].nesting <= nesting);
		if (cfp_own.nlevels > 0 && cfp_own.levels[cfp_own.nlevels - 1].nesting == nesting)
		{
			if (cfp_own.nlevels > 1 && cfp_own.levels[cfp_own.nlevels - 2].nesting == nesting - 1)
				cfp_own.nlevels--;
			else
				cfp_own.levels[cfp_own.nlevels - 1].nesting = nesting - 1;
		}
	}
	else if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		if (cfp_own.nlevels > 0 && cfp_own.levels[cfp_own.nlevels - 1].nesting >= nesting)
		{
			int			start = cfp_own.levels[cfp_own.nlevels - 1].start;

			while (cfp_own.nrecords > start)
				cfp_own_roll_back();
		}
	}
}

void
cfp_pending_init(void)
{
	RegisterXactCallback(pending_xact_callback, NULL);
	RegisterSubXactCallback(pending_subxact_callback, NULL);
}
