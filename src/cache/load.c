/*-------------------------------------------------------------------------
 *
 * load.c
 *		Collections come into the cache, stay there while pinned, and leave.
 *
 * Loading.  The load lock, a heavyweight lock visible to the deadlock
 * detector, makes one backend load and the others wait.  It is released on
 * publishing, so that two readers loading A then B and B then A cannot
 * deadlock.  The snapshot of the load is taken under it, when no writer has
 * the collection pinned: what commits later goes through the cache.  A load
 * that fails leaves the descriptor EMPTY, and the next waiter takes over.
 * A load is published only if no hand-made change of the tables ran meanwhile
 * (hand_changes and generation of the database).
 *
 * Table mode.  A writer whose collection cannot be cached takes the store
 * lock to the end of its transaction, waits until no load runs and no other
 * writer has the collection pinned, and finds versions in the tables.  Loaders
 * ask for the store lock without waiting, and leave it at that when a writer
 * has it; so there is never a load beside a writer in table mode.  Nor does the
 * writer's own transaction load what that lock is for.
 *
 * Order of locks: store lock, load lock (heavyweight), then the cache's own
 * (see cache.h), of which at most one collection's is held, and never over
 * a wait or I/O.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/compat.h"
#include "base/waitpoint.h"
#include "cache/arena.h"
#include "cache/chain.h"
#include "cache/descriptor.h"
#include "cache/directory.h"
#include "cache/evict.h"
#include "cache/items.h"
#include "cache/load.h"
#include "cache/locks.h"
#include "record/record.h"
#include "shared/database.h"
#include "tables/floors.h"
#include "tables/read_collection.h"
#include "tables/tables.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* How often to look whether one that did not fit would fit now (in us). */
#define LOOK_AGAIN			(10 * INT64CONST(1000000))

/* A load of unknown size evicts others from so much of the cache, not more. */
#define UNKNOWN_SHARE		8

/* How often a load makes room for one row: others may take it first. */
#define LOAD_MAX_TRIES		64

/* ---------- heavyweight locks ---------- */

#define LOAD_LOCK			1
#define STORE_LOCK			2

/*
 * Store locks last until the end of the transaction, and one transaction may
 * store into any number of collections; so they are shared, lest the lock
 * table runs out.  Whoever is given another's waits as for his own.
 */
#define STORE_LOCKS			1024

static inline void
set_lock_tag(LOCKTAG *tag, Oid history, uint64 hash, uint16 kind)
{
	uint32		object = kind == STORE_LOCK ? hash % STORE_LOCKS : hash;

	SET_LOCKTAG_OBJECT(*tag, MyDatabaseId, history, object, kind);
}

/* ---------- loading ---------- */

typedef struct Load
{
	CfpCollection *col;
	bool		counting;		/* there is no memory for it: only its size is
								 * wanted */
	uint64		size;			/* counted */
	uint32		nitems;			/* likewise */
	uint64		may_evict;		/* bytes of others */
	int			tries;
	CfpFloors	floors;
} Load;

/* Before throwing or exiting: the contents are no good. */
static void
load_failed(int code, Datum arg)
{
	CfpCollection *col = (CfpCollection *) DatumGetPointer(arg);

	LWLockAcquire(&col->lock, LW_EXCLUSIVE);
	cfp_collection_clear(col);
	LWLockRelease(&col->lock);
}

/*
 * There is no memory, or not for as much as this: give back what is loaded, and
 * go on counting.
 */
static void
load_count(Load *load)
{
	CfpCollection *col = load->col;

	load->counting = true;
	load->size = col->bytes;
	load->nitems = col->nitems;
	LWLockAcquire(&col->lock, LW_EXCLUSIVE);
	cfp_collection_clear(col);
	col->state = CFP_COLLECTION_LOADING;
	LWLockRelease(&col->lock);
}

/* After an allocation that failed: try again? */
static bool
load_room(Load *load)
{
	CHECK_FOR_INTERRUPTS();
	return ++load->tries <= LOAD_MAX_TRIES &&
		cfp_size_fits(load->col->bytes + load->col->missing) &&
		cfp_make_room_for(load->col, &load->may_evict);
}

/* False when there is no memory; the item may then be there in part. */
static bool
load_item(Load *load, const char *name, int len, const CfpRecord *record, uint64 txid)
{
	CfpCollection *col = load->col;
	FullTransactionId writer = FullTransactionIdFromU64(txid);
	CfpItem    *item;
	CfpNode    *node;

	load->tries = 0;
	while ((item = cfp_item_add(col, cfp_item_hash(name, len), name, len)) == NULL)
	{
		if (!load_room(load))
			return false;
	}
	while ((node = cfp_node_push(col, item, record->version, writer, true)) == NULL)
	{
		if (!load_room(load))
			return false;
	}
	while (!cfp_node_fill(col, node, record, true))
	{
		if (!load_room(load))
			return false;
	}
	node->flags = CFP_NODE_COMMITTED | CFP_NODE_LOADED;
	if (CFP_RECORD_IS_TOMBSTONE(record))
		node->flags |= CFP_NODE_TOMBSTONE;
	item->last_version = Max(record->version, load->floors.all_items);
	return true;
}

/*
 * Keeps a row, or counts it; false when it is clear that all will not fit.
 * That goes somewhat beyond what fits, so that it is not counted again each
 * time that a record becomes smaller.
 */
static bool
load_row(const char *name, int len, const CfpRecord *record, uint64 txid, void *arg)
{
	Load	   *load = arg;

	if (!load->counting)
	{
		if (load_item(load, name, len, record, txid) && cfp_size_fits(load->col->bytes))
			return true;
		load_count(load);
	}
	load->size += cfp_item_bytes(len, record);
	load->nitems++;
	return cfp_size_fits(load->size / 9 * 8);
}

/*
 * Fill a LOADING collection from the tables.  Returns with the snapshot's
 * bounds set in it, or load->counting and its size, as far as it matters.
 */
static void
load_contents(Load *load, const CfpCollectionName *name)
{
	CfpCollection *col = load->col;
	TransactionId own = GetTopTransactionIdIfAny();
	Snapshot	snapshot;
	CfpView		view;
	uint32		nxip;

	load->tries = 0;
	/* What rewrites a table must not come between snapshot and read. */
	(void) cfp_tables_locked();
	PushActiveSnapshot(GetLatestSnapshot());
	snapshot = GetActiveSnapshot();
	(void) cfp_view_make(&view, snapshot);
	nxip = snapshot->xcnt;
	while (!load->counting &&
		   ((col->load_xip = cfp_arena_alloc(col, (nxip + 1) * sizeof(TransactionId),
											 true)) == NULL ||
			!cfp_items_expect(col, load->nitems)))
	{
		if (!load_room(load))
			load_count(load);
	}
	if (!load->counting)
	{
		/*
		 * A snapshot does not list its own transaction.  This one has stored
		 * nothing here, so for others it is as good as left out.
		 */
		if (nxip > 0)
			memcpy(col->load_xip, snapshot->xip, nxip * sizeof(TransactionId));
		if (TransactionIdIsValid(own))
			col->load_xip[nxip++] = own;
		col->load_nxip = nxip;
		col->load_xmax = view.xmax;
		cfp_floors_read(snapshot, name, &load->floors);
		col->floor = load->floors.new_items;
	}
	cfp_table_read_collection(snapshot, name, NULL, load_row, load);
	PopActiveSnapshot();
	cfp_waitpoint("load", true);
}

/*
 * Fill a LOADING collection; false when it does not fit, with *needs then set
 * to what it takes.  A collection of unknown size may evict others from a part
 * of the cache only.  Where that is too little, and for one that did not fit
 * before (*needs says what it takes, about), its size is found first, and only
 * what fits then evicts what it needs.
 */
static bool
load_sized(CfpCollection *col, const CfpCollectionName *name, uint64 *needs)
{
	Load		load = {.col = col,.may_evict = cfp_area_size() / UNKNOWN_SHARE};

	if (*needs != 0)
		load_count(&load);
	load_contents(&load, name);
	if (load.counting)
	{
		uint64		room = load.size + load.size / 8;

		*needs = load.size;
		if (!cfp_size_fits(*needs) || !cfp_could_have(room))
			return false;

		/* At once, so that what becomes free is in few pieces. */
		(void) cfp_make_room(0, room, col, NULL);
		load.counting = false;
		load.may_evict = PG_UINT64_MAX;
		load_contents(&load, name);

		/* What was free was not in pieces that serve: it takes more. */
		if (load.counting)
			*needs += *needs / 8;
	}
	return !load.counting;
}

bool
cfp_collection_load(const CfpCollectionName *name, uint64 hash, bool anew)
{
	CfpDatabase *db = cfp_my_database();
	Oid			history = cfp_tables()->history;
	LOCKTAG		load_tag;
	LOCKTAG		store_tag;
	CfpCollection *col;
	uint64		db_generation;
	uint64		needs = 0;
	bool		ok = false;
	bool		begun = false;

	Assert(IsTransactionState());
	Assert(hash == cfp_collection_hash(name));
	set_lock_tag(&load_tag, history, hash, LOAD_LOCK);
	set_lock_tag(&store_tag, history, hash, STORE_LOCK);

	/*
	 * A store in table mode keeps out loads, those of its own transaction,
	 * too.
	 */
	if (IsInParallelMode() || cfp_hand_changed ||
		cfp_lock_held_by_me(&store_tag, ExclusiveLock))
		return false;
	(void) LockAcquire(&load_tag, ExclusiveLock, false, false);
	if (LockAcquire(&store_tag, ShareLock, false, true) == LOCKACQUIRE_NOT_AVAIL)
	{
		LockRelease(&load_tag, ExclusiveLock, false);
		return false;
	}

	db_generation = pg_atomic_read_u64(&db->generation);
	col = cfp_directory_lock(name, hash, history, true, LW_EXCLUSIVE);
	if (col != NULL)
	{
		if (col->state == CFP_COLLECTION_LOADED &&
			col->db_generation == db_generation)
			ok = true;			/* by the one we waited for */
		else if (col->pins == 0 && (anew || cfp_collection_worth_loading(col, db)) &&
				 col->state != CFP_COLLECTION_BYPASSED &&
				 pg_atomic_read_u32(&db->hand_changes) == 0)
		{
			if (col->state == CFP_COLLECTION_LOADED)
				cfp_collection_clear(col);
			else if (col->db_generation == db_generation)
				needs = col->needs;
			col->state = CFP_COLLECTION_LOADING;
			begun = true;
		}
		LWLockRelease(&col->lock);
	}

	if (begun)
	{
		volatile bool fits = false;

		PG_ENSURE_ERROR_CLEANUP(load_failed, PointerGetDatum(col));
		{
			/* Before its tables are read once more. */
			if (anew || needs == 0 || cfp_could_have(needs))
				fits = load_sized(col, name, &needs);
			ok = fits && cfp_tables()->cacheable;
		}
		PG_END_ENSURE_ERROR_CLEANUP(load_failed, PointerGetDatum(col));

		LWLockAcquire(&col->lock, LW_EXCLUSIVE);
		if (ok &&
			pg_atomic_read_u32(&db->hand_changes) == 0 &&
			pg_atomic_read_u64(&db->generation) == db_generation)
		{
			col->db_generation = db_generation;
			col->needs = 0;
			col->state = CFP_COLLECTION_LOADED;
			pg_atomic_write_u64(&col->last_use, GetCurrentStatementStartTimestamp());
			cfp_counts.loads++;
		}
		else
		{
			ok = false;
			cfp_collection_clear(col);
			if (!fits)
			{
				col->db_generation = db_generation;
				col->needs = needs;
				col->not_before = GetCurrentTimestamp() + LOOK_AGAIN;
			}
		}
		LWLockRelease(&col->lock);
	}
	LockRelease(&store_tag, ShareLock, false);
	LockRelease(&load_tag, ExclusiveLock, false);
	return ok;
}

/* ---------- evicting ---------- */

bool
cfp_collection_evict(const CfpCollectionName *name)
{
	uint64		hash = cfp_collection_hash(name);
	uint64		generation;
	CfpCollection *col;
	bool		was_cached;

	cfp_directory_forget(hash);
	col = cfp_directory_find(name, hash, cfp_tables()->history, false, &generation);
	if (col == NULL)
		return false;
	was_cached = col->state == CFP_COLLECTION_LOADED;
	return cfp_collection_drop(col, generation) && was_cached;
}

/* ---------- for storing ---------- */

/* The caller holds the lock exclusively.  False when memory is short. */
static inline bool
pin_add(CfpCollection *col, FullTransactionId writer)
{
	CfpPin	   *pin = cfp_arena_alloc(col, sizeof(CfpPin), false);

	Assert(FullTransactionIdIsValid(writer));
	if (pin == NULL)
		return false;
	pin->writer = writer;
	pin->next = col->pins;
	col->pins = cfp_ref(pin);
	return true;
}

CfpCollection *
cfp_collection_pin(const CfpCollectionName *name, uint64 hash, FullTransactionId writer)
{
	CfpDatabase *db = cfp_my_database();

	for (int tries = 0; tries < CFP_LOAD_TRIES; tries++)
	{
		const CfpTables *tables = cfp_tables();
		CfpCollection *col;
		bool		load;

		if (!tables->cacheable || cfp_hand_changed ||
			pg_atomic_read_u32(&db->hand_changes) != 0)
			return NULL;
		col = cfp_directory_lock(name, hash, tables->history, true, LW_EXCLUSIVE);
		if (col == NULL)
			return NULL;
		if (col->state == CFP_COLLECTION_LOADED &&
			col->db_generation == pg_atomic_read_u64(&db->generation))
		{
			if (pin_add(col, writer))
			{
				pg_atomic_write_u64(&col->last_use, GetCurrentStatementStartTimestamp());
				LWLockRelease(&col->lock);
				return col;
			}
			LWLockRelease(&col->lock);
			if (!cfp_make_room_for(col, NULL))
				return NULL;
			continue;
		}
		load = cfp_collection_worth_loading(col, db);
		LWLockRelease(&col->lock);
		if (!load || !cfp_collection_load(name, hash, false))
			return NULL;
	}
	return NULL;
}

bool
cfp_collection_unpin(CfpCollection *col, FullTransactionId writer)
{
	CfpRef	   *link;

	Assert(LWLockHeldByMeInMode(&col->lock, LW_EXCLUSIVE));
	for (link = &col->pins; *link != 0;)
	{
		CfpPin	   *pin = cfp_ptr(*link);

		if (FullTransactionIdEquals(pin->writer, writer))
		{
			*link = pin->next;
			cfp_arena_free(col, pin, sizeof(CfpPin));
			break;
		}
		link = &pin->next;
	}

	/*
	 * Items that only rolled-back stores made are not worth keeping, nor is
	 * memory that the records now have no use for: a load takes less.
	 */
	return col->pins == 0 &&
		(col->state == CFP_COLLECTION_BYPASSED || cfp_arena_wasteful(col) ||
		 (col->nempty > 64 && col->nempty > col->nitems / 2));
}

CfpCollection *
cfp_collection_pin_bypassed(const CfpCollectionName *name, uint64 hash,
							FullTransactionId writer)
{
	Oid			history = cfp_tables()->history;
	LOCKTAG		load_tag;
	CfpCollection *col;
	bool		pinned = false;

	/* A load under way ends; it cannot have seen what this transaction does. */
	set_lock_tag(&load_tag, history, hash, LOAD_LOCK);
	(void) LockAcquire(&load_tag, ExclusiveLock, false, false);
	for (int tries = 0;; tries++)
	{
		col = cfp_directory_lock(name, hash, history, true, LW_EXCLUSIVE);
		if (col == NULL)
			break;
		pinned = pin_add(col, writer);
		if (pinned)
			col->state = CFP_COLLECTION_BYPASSED;
		LWLockRelease(&col->lock);
		if (pinned || tries == CFP_LOAD_TRIES || !cfp_make_room_for(col, NULL))
			break;
	}
	LockRelease(&load_tag, ExclusiveLock, false);
	return pinned ? col : NULL;
}

void
cfp_collection_bypass(CfpCollection *col)
{
	LWLockAcquire(&col->lock, LW_EXCLUSIVE);
	Assert(col->pins != 0);
	if (col->state == CFP_COLLECTION_LOADED)
		col->state = CFP_COLLECTION_BYPASSED;
	LWLockRelease(&col->lock);
}

void
cfp_collection_resized(const CfpCollectionName *name, uint64 hash, int64 by)
{
	CfpCollection *col = cfp_directory_lock(name, hash, cfp_tables()->history, false,
											LW_EXCLUSIVE);

	if (col == NULL)
		return;
	if (col->needs != 0)
	{
		bool		fitted = cfp_size_fits(col->needs);

		col->needs = Max((int64) col->needs + by, 1);
		if (!fitted && cfp_size_fits(col->needs))
			col->not_before = 0;
	}
	LWLockRelease(&col->lock);
}

/*
 * Another writer's transaction that has the collection pinned, or invalid.  No
 * new pin is admitted from then on; without `keep_out`, only when there is none.
 */
static TransactionId
pin_of_another(const CfpCollectionName *name, uint64 hash, Oid history,
			   FullTransactionId writer, bool keep_out)
{
	TransactionId xid = InvalidTransactionId;
	uint64		generation;
	CfpCollection *col;
	bool		drop = false;

	cfp_directory_forget(hash);
	col = cfp_directory_lock(name, hash, history, false, LW_EXCLUSIVE);
	if (col == NULL)
		return InvalidTransactionId;
	generation = col->generation;
	if (col->state == CFP_COLLECTION_LOADED || col->state == CFP_COLLECTION_BYPASSED)
	{
		for (CfpRef ref = col->pins; ref != 0 && !TransactionIdIsValid(xid);)
		{
			CfpPin	   *pin = cfp_ptr(ref);

			if (!FullTransactionIdEquals(pin->writer, writer))
				xid = XidFromFullTransactionId(pin->writer);
			ref = pin->next;
		}
		if (col->pins == 0)
			drop = true;
		else if (keep_out || !TransactionIdIsValid(xid))
			col->state = CFP_COLLECTION_BYPASSED;
	}
	LWLockRelease(&col->lock);
	if (drop)
		(void) cfp_collection_drop(col, generation);
	return xid;
}

/*
 * Its owner is the top-level transaction: a rolled-back subtransaction shall not
 * take it along.
 */
static bool
take_store_lock(const LOCKTAG *tag, bool wait)
{
	ResourceOwner owner = CurrentResourceOwner;
	LockAcquireResult result;

	CurrentResourceOwner = TopTransactionResourceOwner;
	result = LockAcquire(tag, ExclusiveLock, false, !wait);
	CurrentResourceOwner = owner;
	return result != LOCKACQUIRE_NOT_AVAIL;
}

static void
release_store_lock(const LOCKTAG *tag)
{
	ResourceOwner owner = CurrentResourceOwner;

	CurrentResourceOwner = TopTransactionResourceOwner;
	(void) LockRelease(tag, ExclusiveLock, false);
	CurrentResourceOwner = owner;
}

bool
cfp_collection_table_mode(const CfpCollectionName *name, uint64 hash,
						  FullTransactionId writer, bool wait)
{
	Oid			history = cfp_tables()->history;
	LOCKTAG		store_tag;
	LOCKTAG		load_tag;
	TransactionId xid;

	Assert(IsTransactionState());
	Assert(FullTransactionIdIsValid(writer));
	set_lock_tag(&store_tag, history, hash, STORE_LOCK);
	set_lock_tag(&load_tag, history, hash, LOAD_LOCK);

	/* A load that began before us ends; none begins after. */
	if (wait)
	{
		(void) take_store_lock(&store_tag, true);
		(void) LockAcquire(&load_tag, ExclusiveLock, false, false);
		LockRelease(&load_tag, ExclusiveLock, false);
	}
	else
	{
		bool		taken;

		/*
		 * A load has the store lock as well, and is no reason to give up.  As
		 * in a load, the order does not matter where one does not wait.
		 */
		(void) LockAcquire(&load_tag, ExclusiveLock, false, false);
		taken = take_store_lock(&store_tag, false);
		LockRelease(&load_tag, ExclusiveLock, false);
		if (!taken)
			return false;
	}

	while (TransactionIdIsValid(xid = pin_of_another(name, hash, history, writer, wait)))
	{
		if (!cfp_wait_for_writer(xid, wait))
		{
			release_store_lock(&store_tag);
			return false;
		}
	}
	return true;
}
