/*-------------------------------------------------------------------------
 *
 * directory.c
 *		Finding the descriptor of a collection.
 *
 * Purpose: from a name to the descriptor that stands for it, by an address that the
 * backend remembers or the bucket of the directory.
 *
 * Called at the beginning of every read and store.  What is returned is not
 * locked: the caller locks it and asks cfp_collection_is(), or has
 * cfp_directory_lock() do so.
 *
 * Locks: the partition's is taken inside; see cache.h for their order.
 *
 * Invariants:
 * 	- A name has at most one descriptor in the directory.
 * 	- A remembered address is a hint: the generation tells whether it is good.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "cache/descriptor.h"
#include "cache/descriptor_int.h"
#include "cache/directory.h"
#include "cache/evict.h"

#include "access/xact.h"
#include "miscadmin.h"

/* How often to try again for memory that others may have taken. */
#define CFP_ROOM_TRIES		64

/* How often to look again for a collection that others evict. */
#define CFP_LOCK_TRIES		3

/* A backend remembers this many addresses of collections (power of 2). */
#define CFP_REMEMBERED		1024

StaticAssertDecl((CFP_REMEMBERED & (CFP_REMEMBERED - 1)) == 0, "a hash is cut by a mask");

typedef struct Remembered
{
	uint64		hash;
	CfpCollection *col;			/* NULL: nothing remembered */
	uint64		generation;
	Oid			history;
	uint32		hits;			/* not yet added to the descriptor's */
} Remembered;

static Remembered remembered[CFP_REMEMBERED];

/* Those with hits to be added; at the end of the transaction, or when full. */
static Remembered *with_hits[256];
static int	nwith_hits = 0;

static inline Remembered *
remembered_of(uint64 hash)
{
	return &remembered[hash & (CFP_REMEMBERED - 1)];
}

void
cfp_directory_forget(uint64 hash)
{
	remembered_of(hash)->col = NULL;
}

/* ---------- hits ---------- */

void
cfp_hits_flush(void)
{
	/*
	 * The descriptor may stand for another collection by now, whose hits then
	 * come out too high: not worth a lock.
	 */
	for (int i = 0; i < nwith_hits; i++)
	{
		if (with_hits[i]->col != NULL)
			pg_atomic_fetch_add_u64(&with_hits[i]->col->hits, with_hits[i]->hits);
		with_hits[i]->hits = 0;
	}
	nwith_hits = 0;
}

void
cfp_count_hit(uint64 hash)
{
	Remembered *mine = remembered_of(hash);

	if (mine->hits++ == 0)
	{
		if (nwith_hits == lengthof(with_hits))
		{
			mine->hits = 0;
			cfp_hits_flush();
			mine->hits = 1;
		}
		with_hits[nwith_hits++] = mine;
	}
}

/* ---------- finding ---------- */

static inline Size
names_bytes(int key_len, int collection_len)
{
	return MAXALIGN(key_len + collection_len + 1);
}

/* The partition's lock is held in any mode. */
static CfpCollection *
bucket_search(const CfpCollectionName *name, uint64 hash, Oid history)
{
	for (CfpCollection *col = *cfp_bucket_of(hash); col != NULL; col = col->next)
	{
		if (col->hash == hash && col->history == history &&
			col->dboid == MyDatabaseId &&
			cfp_collection_is(col, col->generation, name))
			return col;
	}
	return NULL;
}

/*
 * A descriptor for a new collection, and memory for its names; NULL when there
 * is none, even after evicting.  No lock is held: making room takes its own.
 */
static CfpCollection *
take_descriptor(Size names_size, char **names)
{
	CfpCollection *fresh = NULL;

	for (int tries = 0; tries <= CFP_ROOM_TRIES; tries++)
	{
		if (fresh == NULL)
			fresh = cfp_descriptor_pop();
		if (fresh == NULL)
		{
			/* Each that is evicted leaves its descriptor. */
			if (tries == CFP_ROOM_TRIES || (!cfp_make_descriptors() && !cfp_evict_one()))
				return NULL;
			continue;
		}
		*names = cfp_area_alloc(names_size, cfp_ref(fresh));
		if (*names != NULL)
			return fresh;
		if (tries == CFP_ROOM_TRIES || !cfp_make_room(names_size, names_size, NULL, NULL))
			break;
	}
	cfp_descriptor_push(fresh);
	return NULL;
}

/* Put a new collection into the directory.  The partition's lock is held exclusively. */
static void
fill_descriptor(CfpCollection *col, char *names, const CfpCollectionName *name,
				uint64 hash, Oid history)
{
	Assert(LWLockHeldByMeInMode(cfp_partition_lock(hash), LW_EXCLUSIVE));
	LWLockAcquire(&col->lock, LW_EXCLUSIVE);
	memcpy(names, name->key, name->key_len);
	memcpy(names + name->key_len, name->collection, name->collection_len);
	col->names = names;
	col->key_len = name->key_len;
	col->collection_len = name->collection_len;
	col->dboid = MyDatabaseId;
	col->history = history;
	col->hash = hash;
	col->state = CFP_COLLECTION_EMPTY;
	col->generation++;
	col->needs = 0;
	col->not_before = 0;
	col->bytes = cfp_collection_own_bytes(col);
	pg_atomic_write_u64(&col->hits, 0);
	pg_atomic_write_u64(&col->last_use, GetCurrentStatementStartTimestamp());
	col->next = *cfp_bucket_of(hash);
	*cfp_bucket_of(hash) = col;
	LWLockRelease(&col->lock);
}

/* The descriptor from the directory, made if wanted; it is remembered. */
static CfpCollection *
find_in_directory(const CfpCollectionName *name, uint64 hash, Oid history,
				  bool create, uint64 *generation)
{
	Remembered *mine = remembered_of(hash);
	LWLock	   *lock = cfp_partition_lock(hash);
	CfpCollection *col;

	LWLockAcquire(lock, LW_SHARED);
	col = bucket_search(name, hash, history);
	if (col != NULL)
		*generation = col->generation;
	LWLockRelease(lock);

	/*
	 * Too long to be stored: not worth memory, and more than a descriptor
	 * holds.
	 */
	if (name->key_len + name->collection_len > CFP_MAX_NAME_BYTES)
		create = false;

	if (col == NULL && create)
	{
		char	   *names;
		Size		size = names_bytes(name->key_len, name->collection_len);
		CfpCollection *fresh = take_descriptor(size, &names);

		if (fresh == NULL)
			return NULL;
		LWLockAcquire(lock, LW_EXCLUSIVE);
		col = bucket_search(name, hash, history);
		if (col == NULL)
		{
			fill_descriptor(fresh, names, name, hash, history);
			col = fresh;
		}
		*generation = col->generation;
		LWLockRelease(lock);
		if (col != fresh)		/* another backend was faster */
		{
			cfp_area_free(names);
			cfp_descriptor_push(fresh);
		}
	}

	if (col != NULL)
	{
		mine->hash = hash;
		mine->history = history;
		mine->generation = *generation;
		mine->col = col;
	}
	return col;
}

static inline CfpCollection *
find_remembered(const CfpCollectionName *name, uint64 hash, Oid history,
				bool create, uint64 *generation)
{
	const Remembered *mine = remembered_of(hash);

	if (likely(mine->col != NULL && mine->hash == hash && mine->history == history))
	{
		*generation = mine->generation;
		return mine->col;
	}
	return find_in_directory(name, hash, history, create, generation);
}

CfpCollection *
cfp_directory_find(const CfpCollectionName *name, uint64 hash, Oid history,
				   bool create, uint64 *generation)
{
	return find_remembered(name, hash, history, create, generation);
}

CfpCollection *
cfp_directory_lock(const CfpCollectionName *name, uint64 hash, Oid history,
				   bool create, LWLockMode mode)
{
	for (int tries = 0; tries < CFP_LOCK_TRIES; tries++)
	{
		uint64		generation;
		CfpCollection *col = find_remembered(name, hash, history, create, &generation);

		if (unlikely(col == NULL))
			return NULL;
		LWLockAcquire(&col->lock, mode);
		if (likely(cfp_collection_is(col, generation, name)))
			return col;
		LWLockRelease(&col->lock);
		cfp_directory_forget(hash);
	}
	return NULL;
}
