/*-------------------------------------------------------------------------
 *
 * cache.c
 *		The shared-memory cache of collections: memory, descriptors, chains.
 *
 * Purpose: keep whole collections in shared memory, each item with a short
 * chain of versions, so that a reader finds the version its snapshot sees by
 * one hash look-up and a few comparisons.
 *
 * Called by collection.c (reading, loading, evicting) and pending.c (claiming
 * versions, linking records, the transaction callbacks).
 *
 * Layout: a control struct, and the area: one DSA made in place over
 * cfp.cache_size bytes of main shared memory, with an equal size limit.  So
 * no further segment is ever made or mapped, and plain addresses are good in
 * every process.  Descriptors (CfpCollection) are made a few at a time and
 * never given back, so that a remembered address may always be looked at; the
 * generation tells whether it still stands for the same thing.  Everything
 * else of a collection lives in chunks it owns (its arena) and goes with it.
 *
 * Lifecycle of a descriptor:
 *
 *		FREE -> EMPTY (in the directory) -> LOADING -> LOADED -> FREE
 *											LOADED -> BYPASSED -> FREE
 *
 * Only the holder of the heavyweight load lock (collection.c) makes LOADING
 * of EMPTY; while LOADING the contents are its own and need no lock.
 * BYPASSED means pinned, with claims of versions that matter, but not to be
 * read; the last pin to go drops it.
 *
 * Locks, in the order they are taken:
 *		partition of the directory (an LWLock by hash of the names)
 *		the collection's LWLock
 *		the lock of the free list of descriptors
 *		DSA's own locks
 * No lock is held over I/O, a wait or anything that looks for interrupts.
 *
 * Invariants:
 *	- A chain is sorted by version, highest first; versions in it differ.
 *	- A node's record is set before its writer commits, and never changes; in
 *	  a BYPASSED collection it may be missing for want of memory.
 *	- Nodes of transactions in progress are removed only by their writer.
 *	- A node is freed only under the exclusive lock; readers copy under the
 *	  shared one.
 *	- Only a committed node with a higher committed node in the chain is cut;
 *	  the item's PRUNED bit tells that some snapshot may miss it.
 *	- nempty counts the items whose chain is empty.
 *
 * Failure: a backend that dies takes all of shared memory with it (the
 * postmaster reinitialises it); one that ends with FATAL runs the abort
 * callback.  Running out of memory is an answer (NULL), not an error.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "cache.h"
#include "settings.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "storage/procarray.h"
#include "storage/shmem.h"
#include "utils/dsa.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define CFP_PARTITIONS		32
#define DESCRIPTORS_AT_ONCE ((int) (8192 / sizeof(CfpCollection)))

/* Committed versions kept for snapshots that may still need them. */
#define CFP_CHAIN_CAP		4

/* How many descriptors to look at for the least recently used one. */
#define CFP_EVICTION_SAMPLE 1024

/* A backend remembers this many addresses of collections (power of 2). */
#define CFP_REMEMBERED		1024

typedef struct CfpCacheControl
{
	LWLockPadded partitions[CFP_PARTITIONS];
	LWLock		free_lock;		/* the five that follow */
	CfpCollection *free;
	CfpCollection *made;		/* newest first */
	uint32		nmade;
	uint32		max_made;		/* descriptors take an eighth at most */
	CfpCollection *hand;		/* where the last eviction stopped looking */
	int			tranche;
	uint64		seed;
	Size		area_size;
	uint32		nbuckets;		/* a multiple of CFP_PARTITIONS */
	pg_atomic_uint64 used;		/* bytes taken from the area */
	CfpCollection *buckets[FLEXIBLE_ARRAY_MEMBER];
} CfpCacheControl;

typedef struct Remembered
{
	uint64		hash;
	CfpCollection *col;			/* NULL: nothing remembered */
	uint64		generation;
	Oid			history;
	uint32		hits;			/* not yet added to the descriptor's */
} Remembered;

char	   *cfp_area_base = NULL;

static CfpCacheControl *control = NULL;
static dsa_area *area = NULL;
static Remembered remembered[CFP_REMEMBERED];

/* Those with hits to be added; at the end of the transaction, or when full. */
static Remembered *hit[256];
static int	nhit = 0;

/* ---------- shared memory ---------- */

static Size
area_size(void)
{
	return TYPEALIGN(4096, (Size) cfp_cache_size * 1024);
}

/* One bucket for every 4 kB of cache. */
static uint32
bucket_count(void)
{
	Size		n = area_size() / 4096;

	n = Max(n, 1024);
	n = Min(n, 1024 * 1024);
	return TYPEALIGN(CFP_PARTITIONS, n);
}

static Size
control_size(void)
{
	return add_size(offsetof(CfpCacheControl, buckets),
					mul_size(bucket_count(), sizeof(CfpCollection *)));
}

Size
cfp_cache_shmem_size(void)
{
	return add_size(MAXALIGN(control_size()),
					add_size(area_size(), PG_CACHE_LINE_SIZE));
}

void
cfp_cache_shmem_init(void)
{
	bool		found;

	control = ShmemInitStruct("cfp cache control", control_size(), &found);
	if (!found)
	{
		memset(control, 0, control_size());
		control->tranche = LWLockNewTrancheId();
		for (int i = 0; i < CFP_PARTITIONS; i++)
			LWLockInitialize(&control->partitions[i].lock, control->tranche);
		LWLockInitialize(&control->free_lock, control->tranche);
		if (!pg_strong_random(&control->seed, sizeof(control->seed)))
			control->seed = (uint64) GetCurrentTimestamp();
		control->area_size = area_size();
		control->nbuckets = bucket_count();
		control->max_made = Max(control->area_size / 8 / sizeof(CfpCollection),
								2 * DESCRIPTORS_AT_ONCE);
		pg_atomic_init_u64(&control->used, 0);
	}
	LWLockRegisterTranche(control->tranche, "cfp_cache");

	cfp_area_base = ShmemInitStruct("cfp cache", control->area_size, &found);
	if (!found)
	{
		dsa_area   *made = dsa_create_in_place(cfp_area_base, control->area_size,
											   control->tranche, NULL);

		dsa_pin(made);
		dsa_set_size_limit(made, control->area_size);
		dsa_detach(made);
	}
}

void
cfp_cache_attach(void)
{
	MemoryContext old;

	if (likely(area != NULL))
		return;
	old = MemoryContextSwitchTo(TopMemoryContext);
	area = dsa_attach_in_place(cfp_area_base, NULL);
	dsa_pin_mapping(area);
	MemoryContextSwitchTo(old);
}

/*
 * DSA keeps a superblock of 64 kB for each size class in use up to 8 kB, and
 * whole pages above.  So few classes are used: powers of two, then pages.
 */
static inline Size
area_size_of(Size size)
{
	return size > 8192 ? TYPEALIGN(4096, size) : pg_nextpower2_size_t(Max(size, 64));
}

/* Take memory from the area; NULL when it is full. */
static void *
area_alloc(Size size)
{
	dsa_pointer dp;

	size = area_size_of(size);
	dp = dsa_allocate_extended(area, size, DSA_ALLOC_NO_OOM | DSA_ALLOC_HUGE);

	if (!DsaPointerIsValid(dp))
		return NULL;
	pg_atomic_fetch_add_u64(&control->used, size);
	return cfp_area_base + dp;
}

static void
area_free(void *p, Size size)
{
	dsa_free(area, (dsa_pointer) ((char *) p - cfp_area_base));
	pg_atomic_fetch_sub_u64(&control->used, area_size_of(size));
}

bool
cfp_size_fits(uint64 bytes)
{
	return bytes <= control->area_size / 4 * 3;
}

/* ---------- arenas ---------- */

/* The smallest class whose blocks hold `size` (at most CFP_LARGE) bytes. */
static inline int
class_holding(Size size, Size *rounded)
{
	int			shift;
	Size		step;
	Size		units;

	if (size <= 128)
	{
		units = (size + 7) / 8;
		*rounded = units * 8;
		return (int) units - 1;
	}
	/* (2^shift, 2^(shift+1)], eight steps */
	shift = pg_leftmost_one_pos64(size - 1);
	step = ((Size) 1 << shift) / 8;
	units = (size - ((Size) 1 << shift) + step - 1) / step;
	*rounded = ((Size) 1 << shift) + units * step;
	return 16 + (shift - 7) * 8 + (int) units - 1;
}

/* The largest class whose blocks a block of `size` bytes can serve. */
static inline int
class_served(Size size)
{
	Size		rounded;
	int			class = class_holding(size, &rounded);

	return rounded > size ? class - 1 : class;
}

/* Arenas grow by about an eighth, so that little is left unused at the end. */
static Size
arena_step(const CfpCollection *col)
{
	return Min(col->bytes / 8, Min((Size) 1024 * 1024, control->area_size / 32));
}

Size
cfp_growth(const CfpCollection *col)
{
	return Max(arena_step(col), col->nitems * 2 * (sizeof(CfpSlot) + sizeof(CfpRef)));
}

/*
 * Add a chunk with room for `size` bytes.  What is free in the area may be in
 * small pieces: then a smaller chunk serves as well.
 */
static CfpChunk *
chunk_add(CfpCollection *col, Size size)
{
	Size		least = area_size_of(Max(size + MAXALIGN(sizeof(CfpChunk)), 1024));
	Size		want = Max(area_size_of(arena_step(col)), least);
	CfpChunk   *chunk;

	while ((chunk = area_alloc(want)) == NULL)
	{
		if (want == least)
			return NULL;
		want = Max(area_size_of(want / 2), least);
	}
	chunk->size = want;
	chunk->prev = 0;
	chunk->next = col->chunks;
	if (col->chunks != 0)
		((CfpChunk *) cfp_ptr(col->chunks))->prev = cfp_ref(chunk);
	col->chunks = cfp_ref(chunk);
	col->bytes += want;
	return chunk;
}

static void
chunk_free(CfpCollection *col, CfpChunk *chunk)
{
	if (chunk->prev != 0)
		((CfpChunk *) cfp_ptr(chunk->prev))->next = chunk->next;
	else
		col->chunks = chunk->next;
	if (chunk->next != 0)
		((CfpChunk *) cfp_ptr(chunk->next))->prev = chunk->prev;
	col->bytes -= chunk->size;
	area_free(chunk, chunk->size);
}

/* Put a block on the free list it can serve; smaller ones are lost. */
static inline void
block_free(CfpCollection *col, void *p, Size size)
{
	int			class;

	if (size < 8)
		return;
	class = class_served(size);
	*(CfpRef *) p = col->free[class];
	col->free[class] = cfp_ref(p);
}

void *
cfp_arena_alloc(CfpCollection *col, Size size, bool exact)
{
	Size		rounded;
	int			class;
	void	   *p;

	size = MAXALIGN(size);
	if (size > CFP_LARGE)
	{
		CfpChunk   *chunk = chunk_add(col, size);

		return chunk ? (char *) chunk + MAXALIGN(sizeof(CfpChunk)) : NULL;
	}
	class = class_holding(size, &rounded);
	if (col->free[class] != 0)
	{
		p = cfp_ptr(col->free[class]);
		col->free[class] = *(CfpRef *) p;
		return p;
	}
	if (!exact)
		size = rounded;
	if (col->bump_end - col->bump < size)
	{
		CfpChunk   *chunk = chunk_add(col, size);

		if (chunk == NULL)
		{
			/* A larger free block serves as well. */
			for (class++; class < CFP_FREE_CLASSES; class++)
			{
				if (col->free[class] != 0)
				{
					p = cfp_ptr(col->free[class]);
					col->free[class] = *(CfpRef *) p;
					return p;
				}
			}
			return NULL;
		}
		/* What is left of the old chunk is not lost. */
		while (col->bump_end - col->bump >= 8)
		{
			Size		left = Min(col->bump_end - col->bump, CFP_LARGE);

			block_free(col, col->bump, left);
			col->bump += left;
		}
		col->bump = (char *) chunk + MAXALIGN(sizeof(CfpChunk));
		col->bump_end = (char *) chunk + chunk->size;
	}
	p = col->bump;
	col->bump += size;
	return p;
}

void
cfp_arena_free(CfpCollection *col, void *p, Size size)
{
	size = MAXALIGN(size);
	if (size > CFP_LARGE)
		chunk_free(col, (CfpChunk *) ((char *) p - MAXALIGN(sizeof(CfpChunk))));
	else
		block_free(col, p, size);
}

/* ---------- hashing ---------- */

/* Steps of 8 bytes: names are short, and this runs for every get. */
static inline uint64
hash_step(uint64 h, uint64 word)
{
	h ^= word;
	h *= UINT64CONST(0x9FB21C651E98DF25);
	return h ^ (h >> 32);
}

/* Every bit of the result depends on every bit of h (MurmurHash3's fmix64). */
static inline uint64
hash_finish(uint64 h)
{
	h ^= h >> 33;
	h *= UINT64CONST(0xff51afd7ed558ccd);
	h ^= h >> 33;
	h *= UINT64CONST(0xc4ceb9fe1a85ec53);
	return h ^ (h >> 33);
}

static inline uint64
hash_bytes64(uint64 h, const char *p, int len)
{
	uint64		word;

	h = hash_step(h, (uint64) len);
	if (len >= 8)
	{
		const char *last = p + len - 8;

		for (; p < last; p += 8)
		{
			memcpy(&word, p, 8);
			h = hash_step(h, word);
		}
		/* The last step overlaps the one before rather than be shorter. */
		memcpy(&word, last, 8);
	}
	else if (len >= 4)
	{
		uint32		low,
					high;

		memcpy(&low, p, 4);
		memcpy(&high, p + len - 4, 4);
		word = ((uint64) high << 32) | low;
	}
	else if (len > 0)
		word = (uint64) (uint8) p[0] | (uint64) (uint8) p[len / 2] << 8 |
			(uint64) (uint8) p[len - 1] << 16;
	else
		return h;
	return hash_step(h, word);
}

uint64
cfp_collection_hash(const CfpCollectionName *name)
{
	uint64		h = hash_bytes64(control->seed, name->key, name->key_len);

	return hash_finish(hash_bytes64(h, name->collection, name->collection_len));
}

uint32
cfp_item_hash(const char *name, int len)
{
	return (uint32) (hash_finish(hash_bytes64(control->seed, name, len)) >> 32);
}

/* ---------- the directory ---------- */

static inline LWLock *
partition_lock(uint64 hash)
{
	return &control->partitions[hash % CFP_PARTITIONS].lock;
}

/* The bucket of a hash lies in the hash's partition. */
static inline CfpCollection **
bucket_of(uint64 hash)
{
	return &control->buckets[hash % control->nbuckets];
}

bool
cfp_collection_is(const CfpCollection *col, uint64 generation,
				  const CfpCollectionName *name)
{
	return col->generation == generation &&
		col->key_len == name->key_len &&
		col->collection_len == name->collection_len &&
		memcmp(col->names, name->key, name->key_len) == 0 &&
		memcmp(col->names + name->key_len, name->collection,
			   name->collection_len) == 0;
}

static inline Size
names_bytes(int key_len, int collection_len)
{
	return MAXALIGN(key_len + collection_len + 1);
}

/* What a collection takes before it holds anything. */
static inline Size
own_bytes(const CfpCollection *col)
{
	return sizeof(CfpCollection) + names_bytes(col->key_len, col->collection_len);
}

/* Make descriptors; false when there are enough, or the area is full. */
static bool
make_descriptors(void)
{
	CfpCollection *made;
	bool		enough;

	LWLockAcquire(&control->free_lock, LW_SHARED);
	enough = control->nmade >= control->max_made;
	LWLockRelease(&control->free_lock);
	if (enough)
		return false;
	made = area_alloc(sizeof(CfpCollection) * DESCRIPTORS_AT_ONCE);
	if (made == NULL)
		return false;
	memset(made, 0, sizeof(CfpCollection) * DESCRIPTORS_AT_ONCE);
	for (int i = 0; i < DESCRIPTORS_AT_ONCE; i++)
	{
		LWLockInitialize(&made[i].lock, control->tranche);
		pg_atomic_init_u64(&made[i].hits, 0);
		pg_atomic_init_u64(&made[i].last_use, 0);
		made[i].state = CFP_COLLECTION_FREE;
	}
	LWLockAcquire(&control->free_lock, LW_EXCLUSIVE);
	for (int i = 0; i < DESCRIPTORS_AT_ONCE; i++)
	{
		made[i].next = control->free;
		control->free = &made[i];
		made[i].next_made = control->made;
		control->made = &made[i];
	}
	control->nmade += DESCRIPTORS_AT_ONCE;
	LWLockRelease(&control->free_lock);
	return true;
}

static CfpCollection *
pop_free_descriptor(void)
{
	CfpCollection *col;

	LWLockAcquire(&control->free_lock, LW_EXCLUSIVE);
	col = control->free;
	if (col != NULL)
		control->free = col->next;
	LWLockRelease(&control->free_lock);
	return col;
}

static void
push_free_descriptor(CfpCollection *col)
{
	LWLockAcquire(&control->free_lock, LW_EXCLUSIVE);
	col->next = control->free;
	control->free = col;
	LWLockRelease(&control->free_lock);
}

/* Caller holds the partition's lock in any mode. */
static CfpCollection *
bucket_search(const CfpCollectionName *name, uint64 hash, Oid history)
{
	for (CfpCollection *col = *bucket_of(hash); col != NULL; col = col->next)
	{
		if (col->hash == hash && col->history == history &&
			col->dboid == MyDatabaseId &&
			cfp_collection_is(col, col->generation, name))
			return col;
	}
	return NULL;
}

void
cfp_directory_forget(uint64 hash)
{
	remembered[hash & (CFP_REMEMBERED - 1)].col = NULL;
}

void
cfp_hits_flush(void)
{
	/*
	 * The descriptor may stand for another collection by now, whose hits then
	 * come out too high: not worth a lock.
	 */
	for (int i = 0; i < nhit; i++)
	{
		if (hit[i]->col != NULL)
			pg_atomic_fetch_add_u64(&hit[i]->col->hits, hit[i]->hits);
		hit[i]->hits = 0;
	}
	nhit = 0;
}

void
cfp_count_hit(uint64 hash)
{
	Remembered *mine = &remembered[hash & (CFP_REMEMBERED - 1)];

	if (mine->hits++ == 0)
	{
		if (nhit == lengthof(hit))
		{
			mine->hits = 0;
			cfp_hits_flush();
			mine->hits = 1;
		}
		hit[nhit++] = mine;
	}
}

CfpCollection *
cfp_directory_find(const CfpCollectionName *name, uint64 hash, Oid history,
				   bool create, uint64 *generation)
{
	Remembered *mine = &remembered[hash & (CFP_REMEMBERED - 1)];
	LWLock	   *lock;
	CfpCollection *col;
	CfpCollection *fresh = NULL;
	char	   *names = NULL;
	Size		names_size = names_bytes(name->key_len, name->collection_len);

	if (mine->col != NULL && mine->hash == hash && mine->history == history)
	{
		*generation = mine->generation;
		return mine->col;
	}

	cfp_cache_attach();
	lock = partition_lock(hash);
	LWLockAcquire(lock, LW_SHARED);
	col = bucket_search(name, hash, history);
	if (col != NULL)
		*generation = col->generation;
	LWLockRelease(lock);

	/* Too long to be stored: not worth memory, and more than a descriptor holds. */
	if (name->key_len + name->collection_len > CFP_MAX_NAME_BYTES)
		create = false;

	if (col == NULL && create)
	{
		/* Memory first: making room takes locks of its own. */
		for (;;)
		{
			if (names == NULL)
				names = area_alloc(names_size);
			if (names != NULL && fresh == NULL)
				fresh = pop_free_descriptor();
			if (names != NULL && fresh != NULL)
				break;
			if (names != NULL && make_descriptors())
				continue;
			if (cfp_make_room(names_size, NULL))
				continue;
			if (names != NULL)
				area_free(names, names_size);
			return NULL;
		}

		LWLockAcquire(lock, LW_EXCLUSIVE);
		col = bucket_search(name, hash, history);
		if (col == NULL)
		{
			col = fresh;
			fresh = NULL;
			LWLockAcquire(&col->lock, LW_EXCLUSIVE);
			memcpy(names, name->key, name->key_len);
			memcpy(names + name->key_len, name->collection, name->collection_len);
			col->names = names;
			names = NULL;
			col->key_len = name->key_len;
			col->collection_len = name->collection_len;
			col->dboid = MyDatabaseId;
			col->history = history;
			col->hash = hash;
			col->state = CFP_COLLECTION_EMPTY;
			col->generation++;
			col->uncacheable_until = 0;
			col->bytes = own_bytes(col);
			pg_atomic_write_u64(&col->hits, 0);
			pg_atomic_write_u64(&col->last_use, GetCurrentStatementStartTimestamp());
			col->next = *bucket_of(hash);
			*bucket_of(hash) = col;
			LWLockRelease(&col->lock);
		}
		*generation = col->generation;
		LWLockRelease(lock);
		if (names != NULL)
			area_free(names, names_size);
		if (fresh != NULL)
			push_free_descriptor(fresh);
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

void
cfp_collection_clear(CfpCollection *col)
{
	Assert(LWLockHeldByMeInMode(&col->lock, LW_EXCLUSIVE) ||
		   col->state == CFP_COLLECTION_LOADING);
	Assert(col->pins == 0);

	while (col->chunks != 0)
		chunk_free(col, cfp_ptr(col->chunks));
	if (col->slots != NULL)
		area_free(col->slots, col->nslots * sizeof(CfpSlot));
	if (col->order != NULL)
		area_free(col->order, col->order_size * sizeof(CfpRef));
	col->slots = NULL;
	col->order = NULL;
	col->nslots = col->nitems = col->nempty = 0;
	col->order_size = col->order_sorted = 0;
	col->bump = col->bump_end = NULL;
	memset(col->free, 0, sizeof(col->free));
	col->bytes = own_bytes(col);
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

	lock = partition_lock(hash);
	LWLockAcquire(lock, LW_EXCLUSIVE);
	LWLockAcquire(&col->lock, LW_EXCLUSIVE);
	if (col->generation == generation && col->hash == hash &&
		col->pins == 0 &&
		col->state != CFP_COLLECTION_LOADING &&
		col->state != CFP_COLLECTION_FREE)
	{
		CfpCollection **link = bucket_of(hash);

		while (*link != col)
			link = &(*link)->next;
		*link = col->next;
		cfp_collection_clear(col);
		area_free(col->names, names_bytes(col->key_len, col->collection_len));
		col->names = NULL;
		col->state = CFP_COLLECTION_FREE;
		dropped = true;
	}
	LWLockRelease(&col->lock);
	if (dropped)
		push_free_descriptor(col);
	LWLockRelease(lock);
	return dropped;
}

/*
 * The least recently used of the next descriptors that could be evicted.
 * Looks without locks: what is read may be stale, cfp_collection_drop looks
 * again.
 */
static CfpCollection *
find_victim(const CfpCollection *except, uint64 *generation)
{
	CfpCollection *best = NULL;
	CfpCollection *col;
	CfpCollection *first;
	uint64		best_use = 0;
	int			seen = 0;

	*generation = 0;
	LWLockAcquire(&control->free_lock, LW_SHARED);
	first = control->hand ? control->hand : control->made;
	LWLockRelease(&control->free_lock);

	col = first;
	while (col != NULL)
	{
		volatile CfpCollection *look = col;
		CfpCollectionState state = look->state;

		if (col != except && look->pins == 0 &&
			(state == CFP_COLLECTION_LOADED || state == CFP_COLLECTION_EMPTY))
		{
			uint64		use = pg_atomic_read_u64(&col->last_use);

			if (best == NULL || use < best_use)
			{
				best = col;
				best_use = use;
				*generation = look->generation;
			}
			seen++;
		}
		col = col->next_made ? col->next_made : control->made;
		if (col == first || seen >= CFP_EVICTION_SAMPLE)
			break;
	}
	LWLockAcquire(&control->free_lock, LW_EXCLUSIVE);
	control->hand = col;
	LWLockRelease(&control->free_lock);
	return best;
}

bool
cfp_make_room(Size bytes, const CfpCollection *except)
{
	uint64		goal;
	uint64		used = pg_atomic_read_u64(&control->used);
	bool		any = false;

	/* Free somewhat more than asked for: memory is not one piece. */
	bytes += Min(bytes + 16 * 1024, control->area_size / 32);
	goal = used > bytes ? used - bytes : 0;
	for (;;)
	{
		uint64		generation;
		CfpCollection *victim = find_victim(except, &generation);

		if (victim == NULL)
			return any;
		if (cfp_collection_drop(victim, generation))
		{
			cfp_counts.evictions++;
			any = true;
		}
		if (pg_atomic_read_u64(&control->used) <= goal)
			return any;
	}
}

void
cfp_cache_forget_database(Oid dboid)
{
	CfpCollection *col;

	cfp_cache_attach();
	LWLockAcquire(&control->free_lock, LW_SHARED);
	col = control->made;
	LWLockRelease(&control->free_lock);
	for (; col != NULL; col = col->next_made)
	{
		/* Without a lock: cfp_collection_drop looks again. */
		volatile CfpCollection *look = col;
		uint64		generation = look->generation;

		if (look->dboid == dboid && look->state != CFP_COLLECTION_FREE)
			(void) cfp_collection_drop(col, generation);
	}
}

/* ---------- items ---------- */

static inline uint32
slot_of(uint32 hash, uint32 nslots)
{
	return (uint32) (((uint64) hash * nslots) >> 32);
}

CfpItem *
cfp_item_find(const CfpCollection *col, uint32 hash, const char *name, int len)
{
	uint32		i;

	if (unlikely(col->nslots == 0))
		return NULL;
	i = slot_of(hash, col->nslots);
	while (col->slots[i].item != 0)
	{
		if (col->slots[i].hash == hash)
		{
			CfpItem    *item = cfp_ptr(col->slots[i].item);

			/*
			 * A get spends most of its time waiting for memory.  A load puts an
			 * item, its node and its record one behind the other: ask for all
			 * of them at once.
			 */
			for (int line = 0; line < 8; line++)
				__builtin_prefetch((const char *) item + line * 64);
			if (item->name_len == len && memcmp(item->name, name, len) == 0)
				return item;
		}
		if (++i == col->nslots)
			i = 0;
	}
	return NULL;
}

static void
slot_put(CfpSlot *slots, uint32 nslots, uint32 hash, CfpRef item)
{
	uint32		i = slot_of(hash, nslots);

	while (slots[i].item != 0)
	{
		if (++i == nslots)
			i = 0;
	}
	slots[i].hash = hash;
	slots[i].item = item;
}

/* Grow the hash slots (at most 4/5 full) and the order array by a quarter. */
static bool
items_grow(CfpCollection *col)
{
	if ((uint64) (col->nitems + 1) * 5 > (uint64) col->nslots * 4)
	{
		uint32		n = Max(16, col->nslots + col->nslots / 4);
		CfpSlot    *slots = area_alloc(n * sizeof(CfpSlot));

		if (slots == NULL)
			return false;
		memset(slots, 0, n * sizeof(CfpSlot));
		for (uint32 i = 0; i < col->nslots; i++)
		{
			if (col->slots[i].item != 0)
				slot_put(slots, n, col->slots[i].hash, col->slots[i].item);
		}
		if (col->slots != NULL)
		{
			area_free(col->slots, col->nslots * sizeof(CfpSlot));
			col->bytes -= col->nslots * sizeof(CfpSlot);
		}
		col->slots = slots;
		col->nslots = n;
		col->bytes += n * sizeof(CfpSlot);
	}
	if (col->nitems == col->order_size)
	{
		uint32		n = Max(16, col->order_size + col->order_size / 4);
		CfpRef	   *order = area_alloc(n * sizeof(CfpRef));

		if (order == NULL)
			return false;
		if (col->order != NULL)
		{
			memcpy(order, col->order, col->nitems * sizeof(CfpRef));
			area_free(col->order, col->order_size * sizeof(CfpRef));
			col->bytes -= col->order_size * sizeof(CfpRef);
		}
		col->order = order;
		col->order_size = n;
		col->bytes += n * sizeof(CfpRef);
	}
	return true;
}

CfpItem *
cfp_item_add(CfpCollection *col, uint32 hash, const char *name, int len)
{
	CfpItem    *item;

	if (!items_grow(col))
		return NULL;
	item = cfp_arena_alloc(col, offsetof(CfpItem, name) + len, true);
	if (item == NULL)
		return NULL;
	item->newest = 0;
	item->last_version = 0;
	item->name_len = len;
	item->flags = 0;
	memcpy(item->name, name, len);
	slot_put(col->slots, col->nslots, hash, cfp_ref(item));

	/* In order already, as in a load, it goes into the sorted part. */
	if (col->order_sorted == col->nitems &&
		(col->nitems == 0 ||
		 cfp_item_compare(cfp_ptr(col->order[col->nitems - 1]), name, len) < 0))
		col->order_sorted++;
	col->order[col->nitems++] = cfp_ref(item);
	col->nempty++;
	return item;
}

int
cfp_item_compare(const CfpItem *item, const char *name, int len)
{
	return cfp_compare_names(item->name, item->name_len, name, len);
}

static int
compare_item_refs(const void *a, const void *b)
{
	const CfpItem *y = cfp_ptr(*(const CfpRef *) b);

	return cfp_item_compare(cfp_ptr(*(const CfpRef *) a), y->name, y->name_len);
}

/* How many of the first n (sorted) items come before the name. */
static uint32
items_before(const CfpCollection *col, uint32 n, const char *name, int len)
{
	uint32		low = 0;

	while (low < n)
	{
		uint32		mid = low + (n - low) / 2;

		if (cfp_item_compare(cfp_ptr(col->order[mid]), name, len) < 0)
			low = mid + 1;
		else
			n = mid;
	}
	return low;
}

/*
 * The tail is sorted, and its items put in from the last to the first, each
 * moving the block behind it once.  Without memory for a copy of the tail the
 * whole array is sorted in place.
 */
void
cfp_items_sort(CfpCollection *col)
{
	uint32		sorted = col->order_sorted;
	uint32		ntail = col->nitems - sorted;
	CfpRef	   *tail;

	if (ntail == 0)
		return;
	qsort(col->order + sorted, ntail, sizeof(CfpRef), compare_item_refs);
	tail = area_alloc(ntail * sizeof(CfpRef));
	if (tail == NULL)
		qsort(col->order, col->nitems, sizeof(CfpRef), compare_item_refs);
	else
	{
		memcpy(tail, col->order + sorted, ntail * sizeof(CfpRef));
		for (uint32 i = ntail; i > 0; i--)
		{
			CfpItem    *item = cfp_ptr(tail[i - 1]);
			uint32		place = items_before(col, sorted, item->name, item->name_len);

			memmove(col->order + place + i, col->order + place,
					(sorted - place) * sizeof(CfpRef));
			col->order[place + i - 1] = tail[i - 1];
			sorted = place;
		}
		area_free(tail, ntail * sizeof(CfpRef));
	}
	col->order_sorted = col->nitems;
}

uint32
cfp_items_before(const CfpCollection *col, const char *name, int len)
{
	Assert(col->order_sorted == col->nitems);
	return items_before(col, col->nitems, name, len);
}

/* ---------- chains ---------- */

/* Put a node that is in no chain where its version belongs. */
static void
chain_insert(CfpItem *item, CfpNode *node)
{
	CfpRef	   *link = &item->newest;

	while (*link != 0 && ((CfpNode *) cfp_ptr(*link))->version > node->version)
		link = &((CfpNode *) cfp_ptr(*link))->next;
	node->next = *link;
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
	if (!exact && size <= CFP_LARGE)
		(void) class_holding(size, &size);
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
void
cfp_chain_prune(CfpCollection *col, CfpItem *item)
{
	CfpNode    *node;
	CfpNode    *seen_by_all = NULL;
	int			ncommitted = 0;

	for (CfpRef ref = item->newest; ref != 0; ref = node->next)
	{
		node = cfp_ptr(ref);
		if ((node->flags & CFP_NODE_COMMITTED) == 0)
			continue;
		ncommitted++;
		if (seen_by_all == NULL && node->next != 0 &&
			((node->flags & CFP_NODE_LOADED) != 0 ||
			 GlobalVisTestIsRemovableFullXid(GlobalVisTestFor(NULL), node->writer)))
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

/* ---------- looking at it ---------- */

void
cfp_cache_use(Oid dboid, CfpCacheUse *use)
{
	CfpCollection *col;

	cfp_cache_attach();
	memset(use, 0, sizeof(*use));
	use->size = control->area_size;
	use->used = pg_atomic_read_u64(&control->used);

	LWLockAcquire(&control->free_lock, LW_SHARED);
	col = control->made;
	LWLockRelease(&control->free_lock);
	for (; col != NULL; col = col->next_made)
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
	CfpCollection *col;
	char	   *names = palloc(CFP_MAX_NAME_BYTES + 1);

	cfp_cache_attach();
	LWLockAcquire(&control->free_lock, LW_SHARED);
	col = control->made;
	LWLockRelease(&control->free_lock);
	for (; col != NULL; col = col->next_made)
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
		use->state = state == CFP_COLLECTION_LOADED ? "cached" :
			state == CFP_COLLECTION_LOADING ? "loading" : "bypassed";
		use->items = nitems;
		use->bytes = bytes;
		use->hits = pg_atomic_read_u64(&col->hits);
		use->last_use = pg_atomic_read_u64(&col->last_use);
		list = lappend(list, use);
	}
	return list;
}
