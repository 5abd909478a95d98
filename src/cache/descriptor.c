/*-------------------------------------------------------------------------
 *
 * descriptor.c
 *		Descriptors of collections: where they are, how they come and go.
 *
 * Purpose: a descriptor (CfpCollection) stands for a collection of the cache, or
 * is free.  Those that stand for one are in the buckets of the directory.
 *
 * Called by directory.c, which looks for a collection and makes it; by evict.c and
 * load.c, which empty and drop it; by the launcher when a database is no more; by
 * the statistics functions.
 *
 * Layout: a control struct, and the descriptors, made a few at a time at the end
 * of the area and never given back, so that a remembered address may always be
 * looked at; the generation tells whether it still stands for the same thing.
 * What a collection owns goes with it.
 *
 * Locks: see cache.h.  All descriptors ever made can be walked without one: the
 * list only grows at its beginning.
 *
 * Invariants:
 * 	- A descriptor is in the bucket of its hash, or on the free list, or in the
 * 	  hands of the one backend that has taken it off that list.
 * 	- `generation` is raised whenever the contents are dropped or the descriptor
 * 	  changes hands, under the descriptor's lock.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/settings.h"
#include "cache/arena.h"
#include "cache/descriptor.h"
#include "cache/descriptor_int.h"

#include "miscadmin.h"
#include "storage/shmem.h"

CfpDescriptors *cfp_descriptors = NULL;

/* What cfp_stat_collections calls the states that it shows. */
static const char *const state_names[] = {
	[CFP_COLLECTION_FREE] = NULL,
	[CFP_COLLECTION_EMPTY] = NULL,
	[CFP_COLLECTION_LOADING] = "loading",
	[CFP_COLLECTION_LOADED] = "cached",
	[CFP_COLLECTION_BYPASSED] = "bypassed",
};

StaticAssertDecl(lengthof(state_names) == CFP_COLLECTION_BYPASSED + 1,
				 "each state of a collection has its place");

/* ---------- shared memory ---------- */

/* One bucket for every 4 kB of cache. */
static uint32
bucket_count(void)
{
	Size		n = (Size) cfp_cache_size * 1024 / 4096;

	n = Max(n, 1024);
	n = Min(n, 1024 * 1024);
	return TYPEALIGN(CFP_PARTITIONS, n);
}

static Size
control_size(void)
{
	return add_size(offsetof(CfpDescriptors, buckets),
					mul_size(bucket_count(), sizeof(CfpCollection *)));
}

Size
cfp_cache_shmem_size(void)
{
	return add_size(MAXALIGN(control_size()), cfp_area_shmem_size());
}

void
cfp_cache_shmem_init(void)
{
	bool		found;

	cfp_area_shmem_init();
	cfp_descriptors = ShmemInitStruct("cfp cache control", control_size(), &found);
	if (!found)
	{
		memset(cfp_descriptors, 0, control_size());
		cfp_descriptors->tranche = LWLockNewTrancheId();
		for (int i = 0; i < CFP_PARTITIONS; i++)
			LWLockInitialize(&cfp_descriptors->partitions[i].lock, cfp_descriptors->tranche);
		LWLockInitialize(&cfp_descriptors->free_lock, cfp_descriptors->tranche);
		cfp_hash_make_keys(&cfp_descriptors->keys);
		cfp_descriptors->nbuckets = bucket_count();
		cfp_descriptors->max_made = Max(cfp_area_size() / 8, 2 * DESCRIPTORS_BYTES) /
			sizeof(CfpCollection);
	}
	LWLockRegisterTranche(cfp_descriptors->tranche, "cfp_cache");
	cfp_hash_use_keys(&cfp_descriptors->keys);
}

/* ---------- coming and going ---------- */

void
cfp_descriptors_add(void *memory, Size bytes)
{
	CfpCollection *made = memory;
	int			n = bytes / sizeof(CfpCollection);

	Assert(((uintptr_t) memory) % 64 == 0);
	memset(made, 0, bytes);
	for (int i = 0; i < n; i++)
	{
		LWLockInitialize(&made[i].lock, cfp_descriptors->tranche);
		pg_atomic_init_u64(&made[i].hits, 0);
		pg_atomic_init_u64(&made[i].last_use, 0);
		made[i].state = CFP_COLLECTION_FREE;
	}
	LWLockAcquire(&cfp_descriptors->free_lock, LW_EXCLUSIVE);
	for (int i = 0; i < n; i++)
	{
		made[i].next = cfp_descriptors->free;
		cfp_descriptors->free = &made[i];
		made[i].next_made = cfp_descriptors->made;
		cfp_descriptors->made = &made[i];
	}
	cfp_descriptors->nmade += n;
	LWLockRelease(&cfp_descriptors->free_lock);
}

CfpCollection *
cfp_descriptors_made(void)
{
	CfpCollection *col;

	LWLockAcquire(&cfp_descriptors->free_lock, LW_SHARED);
	col = cfp_descriptors->made;
	LWLockRelease(&cfp_descriptors->free_lock);
	return col;
}

CfpCollection *
cfp_descriptor_pop(void)
{
	CfpCollection *col;

	LWLockAcquire(&cfp_descriptors->free_lock, LW_EXCLUSIVE);
	col = cfp_descriptors->free;
	if (col != NULL)
		cfp_descriptors->free = col->next;
	LWLockRelease(&cfp_descriptors->free_lock);
	Assert(col == NULL || col->state == CFP_COLLECTION_FREE);
	return col;
}

void
cfp_descriptor_push(CfpCollection *col)
{
	Assert(col->state == CFP_COLLECTION_FREE);
	LWLockAcquire(&cfp_descriptors->free_lock, LW_EXCLUSIVE);
	col->next = cfp_descriptors->free;
	cfp_descriptors->free = col;
	LWLockRelease(&cfp_descriptors->free_lock);
}

void
cfp_collection_clear(CfpCollection *col)
{
	Assert(LWLockHeldByMeInMode(&col->lock, LW_EXCLUSIVE));
	Assert(col->state != CFP_COLLECTION_FREE);
	Assert(col->pins == 0);
	Assert(col->nlocks == 0 && col->lock_buckets == NULL && col->few_locks == 0);

	cfp_arena_clear(col);
	if (col->slots != NULL)
		cfp_area_free(col->slots);
	if (col->order != NULL)
		cfp_area_free(col->order);
	col->slots = NULL;
	col->order = NULL;
	col->nslots = col->nitems = col->nempty = 0;
	col->order_size = col->order_sorted = 0;
	col->bytes = cfp_collection_own_bytes(col);
	col->load_xip = NULL;
	col->load_nxip = 0;
	col->state = CFP_COLLECTION_EMPTY;
	col->generation++;
}

bool
cfp_collection_drop(CfpCollection *col, uint64 generation)
{
	LWLock	   *lock;
	uint64		hash = col->hash;
	bool		dropped = false;

	Assert(!LWLockHeldByMe(&col->lock));
	lock = cfp_partition_lock(hash);
	LWLockAcquire(lock, LW_EXCLUSIVE);
	LWLockAcquire(&col->lock, LW_EXCLUSIVE);
	if (col->generation == generation && col->hash == hash &&
		col->pins == 0 &&
		col->state != CFP_COLLECTION_LOADING &&
		col->state != CFP_COLLECTION_FREE)
	{
		CfpCollection **link = cfp_bucket_of(hash);

		while (*link != col)
			link = &(*link)->next;
		*link = col->next;
		cfp_collection_clear(col);
		cfp_area_free(col->names);
		col->names = NULL;
		col->state = CFP_COLLECTION_FREE;
		dropped = true;
	}
	LWLockRelease(&col->lock);
	if (dropped)
		cfp_descriptor_push(col);
	LWLockRelease(lock);
	return dropped;
}

void
cfp_cache_forget_database(Oid dboid)
{
	for (CfpCollection *col = cfp_descriptors_made(); col != NULL; col = col->next_made)
	{
		/* Without a lock: cfp_collection_drop looks again. */
		volatile CfpCollection *look = col;
		uint64		generation = look->generation;

		if (look->dboid == dboid && look->state != CFP_COLLECTION_FREE)
			(void) cfp_collection_drop(col, generation);
	}
}

/* ---------- looking at it ---------- */

void
cfp_cache_use(Oid dboid, CfpCacheUse *use)
{
	memset(use, 0, sizeof(*use));
	use->size = cfp_area_size();
	use->used = cfp_area_used();
	use->largest_free = cfp_area_largest_free();

	for (CfpCollection *col = cfp_descriptors_made(); col != NULL; col = col->next_made)
	{
		LWLockAcquire(&col->lock, LW_SHARED);
		if (col->dboid == dboid && col->state >= CFP_COLLECTION_LOADED)
		{
			use->collections++;
			use->bytes += col->bytes;
		}
		LWLockRelease(&col->lock);
	}
}

List *
cfp_cache_list(Oid dboid)
{
	List	   *list = NIL;
	char	   *names = palloc(CFP_MAX_NAME_BYTES + 1);

	for (CfpCollection *col = cfp_descriptors_made(); col != NULL; col = col->next_made)
	{
		CfpCollectionUse *use;
		CfpCollectionState state;
		int			key_len;
		int			collection_len;
		uint32		nitems;
		uint64		bytes;

		LWLockAcquire(&col->lock, LW_SHARED);
		state = col->state;
		if (col->dboid != dboid || state == CFP_COLLECTION_FREE ||
			state == CFP_COLLECTION_EMPTY)
		{
			LWLockRelease(&col->lock);
			continue;
		}
		key_len = col->key_len;
		collection_len = col->collection_len;
		memcpy(names, col->names, key_len + collection_len);
		/* A load counts as it goes, without the lock. */
		nitems = state == CFP_COLLECTION_LOADING ? 0 : col->nitems - col->nempty;
		bytes = state == CFP_COLLECTION_LOADING ? 0 : col->bytes;
		LWLockRelease(&col->lock);

		use = palloc(sizeof(CfpCollectionUse));
		use->key = pnstrdup(names, key_len);
		use->collection = pnstrdup(names + key_len, collection_len);
		use->state = state_names[state];
		use->items = nitems;
		use->bytes = bytes;
		use->hits = pg_atomic_read_u64(&col->hits);
		use->last_use = pg_atomic_read_u64(&col->last_use);
		list = lappend(list, use);
	}
	return list;
}
