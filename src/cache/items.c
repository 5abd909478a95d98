/*-------------------------------------------------------------------------
 *
 * items.c
 *		The items of a cached collection.
 *
 * Purpose: an item is found by one look-up in a hash of open slots, and the items
 * of a collection come in order of name from an array that is sorted when it is
 * asked for.
 *
 * Called by readers and stores to find an item, by load.c and stores to add one.
 * cfp_items_sort() comes before cfp_items_before(), under the same lock or while
 * `order_sorted` still says that all are sorted.
 *
 * Locks: the collection's, in any mode to find, exclusively to add and to sort, or
 * the collection is LOADING by the caller.
 *
 * Invariants:
 * 	- At most 4/5 of the slots are taken, so that a search ends.
 * 	- The first `order_sorted` items of the array are in order of name; the
 * 	  others came later.
 * 	- Items leave only with the whole collection.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "cache/arena.h"
#include "cache/items.h"

/* Items sorted under one hold of a collection's lock. */
#define CFP_SORT_AT_ONCE	16384

static inline uint32
slot_of(uint32 hash, uint32 nslots)
{
	return (uint32) (((uint64) hash * nslots) >> 32);
}

CfpItem *
cfp_item_find(const CfpCollection *col, uint32 hash, const char *name, int len)
{
	uint32		i;

	Assert(cfp_collection_is_steady(col));
	if (unlikely(col->nslots == 0))
		return NULL;
	i = slot_of(hash, col->nslots);
	while (col->slots[i].item != 0)
	{
		if (col->slots[i].hash == hash)
		{
			CfpItem    *item = cfp_ptr(col->slots[i].item);

			/*
			 * A get spends most of its time waiting for memory.  A load puts
			 * an item, its node and its record one behind the other: ask for
			 * all of them at once.
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

/*
 * Have room for so many items: the hash slots are at most 4/5 full, and they
 * and the order array grow by a quarter at least.
 */
static bool
items_grow(CfpCollection *col, uint32 nitems)
{
	if ((uint64) nitems * 5 > (uint64) col->nslots * 4)
	{
		uint32		n = Max(Max(16, col->nslots + col->nslots / 4), nitems + nitems / 4 + 1);
		CfpSlot    *slots = cfp_piece_alloc(col, n * sizeof(CfpSlot));

		if (slots == NULL)
			return false;
		memset(slots, 0, n * sizeof(CfpSlot));
		for (uint32 i = 0; i < col->nslots; i++)
		{
			if (col->slots[i].item != 0)
				slot_put(slots, n, col->slots[i].hash, col->slots[i].item);
		}
		if (col->slots != NULL)
			cfp_piece_free(col, col->slots);
		col->slots = slots;
		col->nslots = n;
	}
	if (nitems > col->order_size)
	{
		uint32		n = Max(Max(16, col->order_size + col->order_size / 4), nitems);
		CfpRef	   *order = cfp_piece_alloc(col, n * sizeof(CfpRef));

		if (order == NULL)
			return false;
		if (col->order != NULL)
		{
			memcpy(order, col->order, col->nitems * sizeof(CfpRef));
			cfp_piece_free(col, col->order);
		}
		col->order = order;
		col->order_size = n;
	}
	return true;
}

bool
cfp_items_expect(CfpCollection *col, uint32 nitems)
{
	return items_grow(col, nitems);
}

CfpItem *
cfp_item_add(CfpCollection *col, uint32 hash, const char *name, int len)
{
	CfpItem    *item;

	Assert(cfp_collection_is_mine(col));
	Assert(len >= 0 && len <= CFP_MAX_NAME_BYTES);
	if (!items_grow(col, col->nitems + 1))
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

Size
cfp_item_bytes(int name_len, const CfpRecord *record)
{
	Size		size = MAXALIGN(CFP_RECORD_BYTES(record));

	if (size > CFP_LARGE)
		size += CFP_AREA_HEADER + sizeof(CfpChunk);

	/*
	 * its part of the arrays, which are a tenth to a third larger than need
	 * be
	 */
	return size + MAXALIGN(offsetof(CfpItem, name) + name_len) + sizeof(CfpNode) +
		(sizeof(CfpSlot) + sizeof(CfpRef)) * 3 / 2;
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
	uint32		ntail = Min(col->nitems - sorted, CFP_SORT_AT_ONCE);
	CfpRef	   *tail;

	Assert(LWLockHeldByMeInMode(&col->lock, LW_EXCLUSIVE));
	Assert(sorted <= col->nitems && col->nitems <= col->order_size);
	if (ntail == 0)
		return;
	qsort(col->order + sorted, ntail, sizeof(CfpRef), compare_item_refs);
	tail = cfp_area_alloc(ntail * sizeof(CfpRef), cfp_ref(col));
	if (tail == NULL)
		qsort(col->order, sorted + ntail, sizeof(CfpRef), compare_item_refs);
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
		cfp_area_free(tail);
	}
	col->order_sorted += ntail;
}

uint32
cfp_items_before(const CfpCollection *col, const char *name, int len)
{
	Assert(col->order_sorted == col->nitems);
	return items_before(col, col->nitems, name, len);
}
