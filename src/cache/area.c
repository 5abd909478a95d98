/*-------------------------------------------------------------------------
 *
 * area.c
 *		An allocator for one fixed piece of shared memory.
 *
 * Purpose: the cache lives at the limit of its memory.  So a request that
 * finds none must leave everything as it was, what is given back must become
 * one piece with what is free beside it, and it must be known how much is free
 * in one piece.
 *
 * Called by the other files of the cache: for descriptors, names, arrays and the
 * chunks of the collections' arenas.  Most of what is stored comes from those
 * chunks, so this is not asked for each record.
 *
 * Layout: the area is divided into blocks without a gap, each with a header
 * that says how large it is and how large the one before it, in units of 16
 * bytes.  A free block is never beside another free one.  Free blocks are in
 * lists by size: one list a size up to 32 units, above that 16 lists a
 * doubling, with a bit for each list that has a block.  A request takes the
 * first block of the next list whose blocks are all large enough, after a look
 * at a few of its own list; what is left over stays free.  So both ways take a
 * bounded number of steps, however full the area is, and a request finds room
 * at the latest when a block is free that is a sixteenth larger.
 *
 * At the area's end is what is never given back; the blocks end before it.
 *
 * Lifecycle: made by the postmaster, empty, and made anew after a crash.  No
 * recovery is needed, since a backend that dies takes all of shared memory
 * with it.
 *
 * Lock: one LWLock, the last in the order of the cache's (cache.h), held for
 * the steps above and over nothing else.  Commit and abort callbacks give
 * memory back: nothing here throws, waits for anything else or looks for
 * interrupts.  The owner of a block is set while it is made and only a hint
 * afterwards: who uses it looks again.
 *
 * Invariants (with the lock not held):
 *	- The blocks' units sum up to `end`; each one's `before` is the units of
 *	  the block in front of it, 0 in the first.
 *	- Two free blocks are never neighbours.
 *	- A free block is in the list of its size; a list's bit tells whether it
 *	  has any.
 *	- `used` is the bytes of the blocks in use and of what was cut off the end.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/settings.h"
#include "cache/area.h"

#include "port/pg_bitutils.h"
#include "storage/shmem.h"

#define UNIT				16
#define NOWHERE				PG_UINT32_MAX
#define LEAST_UNITS			2	/* a free block's header and links */
#define LISTS				(32 + 27 * 16)	/* up to 2^32 units */
#define LISTS_A_WORD		64
#define LOOK_AT				16	/* of the list that may be too short */

/* A place is the number of units before it. */
typedef struct Block
{
	uint32		units;			/* this header included */
	uint32		before;			/* units of the block in front; 0: none */
	CfpRef		owner;			/* of one in use */
	bool		free;

	/* in a list; only of a free block */
	uint32		next;
	uint32		prev;
} Block;

StaticAssertDecl(offsetof(Block, next) == CFP_AREA_HEADER, "the links lie in what a block in use holds");
StaticAssertDecl(sizeof(Block) <= LEAST_UNITS * UNIT, "the least block has room for its links");

typedef struct AreaControl
{
	LWLock		lock;
	int			tranche;
	Size		size;
	uint32		end;			/* the blocks end here */
	uint32		last;			/* the place of the last */
	pg_atomic_uint64 used;		/* bytes */
	uint64		filled[(LISTS + LISTS_A_WORD - 1) / LISTS_A_WORD];
	uint32		lists[LISTS];
} AreaControl;

char	   *cfp_area_base = NULL;

static AreaControl *area = NULL;

static inline Block *
block_at(uint32 place)
{
	return (Block *) (cfp_area_base + (Size) place * UNIT);
}

static inline uint32
place_of(const Block *block)
{
	return (uint32) (((const char *) block - cfp_area_base) / UNIT);
}

static inline Block *
block_of(const void *p)
{
	return (Block *) ((char *) p - CFP_AREA_HEADER);
}

/* The size must be less than the area's. */
static inline uint32
units_of(Size size)
{
	return Max((size + CFP_AREA_HEADER + UNIT - 1) / UNIT, LEAST_UNITS);
}

static inline int
list_of(uint32 units)
{
	int			shift;

	if (units < 32)
		return units;
	shift = pg_leftmost_one_pos32(units);
	return 32 + (shift - 5) * 16 + ((units >> (shift - 4)) & 15);
}

/* The first list from that on that has a block; -1 none. */
static int
filled_list(int list)
{
	int			word = list / LISTS_A_WORD;
	uint64		bits = area->filled[word] & (~UINT64CONST(0) << (list % LISTS_A_WORD));

	while (bits == 0)
	{
		if (++word == lengthof(area->filled))
			return -1;
		bits = area->filled[word];
	}
	return word * LISTS_A_WORD + pg_rightmost_one_pos64(bits);
}

/* The last list up to that one that has a block; -1 none. */
static int
last_filled_list(int list)
{
	int			word = list / LISTS_A_WORD;
	uint64		bits;

	if (list < 0)
		return -1;
	bits = area->filled[word] & (~UINT64CONST(0) >> (LISTS_A_WORD - 1 - list % LISTS_A_WORD));
	while (bits == 0)
	{
		if (--word < 0)
			return -1;
		bits = area->filled[word];
	}
	return word * LISTS_A_WORD + pg_leftmost_one_pos64(bits);
}

static void
list_add(Block *block)
{
	int			list = list_of(block->units);
	uint32		place = place_of(block);

	block->free = true;
	block->owner = 0;
	block->prev = NOWHERE;
	block->next = area->lists[list];
	if (block->next != NOWHERE)
		block_at(block->next)->prev = place;
	area->lists[list] = place;
	area->filled[list / LISTS_A_WORD] |= UINT64CONST(1) << (list % LISTS_A_WORD);
}

static void
list_remove(Block *block)
{
	int			list = list_of(block->units);

	if (block->next != NOWHERE)
		block_at(block->next)->prev = block->prev;
	if (block->prev != NOWHERE)
		block_at(block->prev)->next = block->next;
	else
	{
		area->lists[list] = block->next;
		if (block->next == NOWHERE)
			area->filled[list / LISTS_A_WORD] &= ~(UINT64CONST(1) << (list % LISTS_A_WORD));
	}
	block->free = false;
}

/* Give the block a size, and tell its neighbour behind. */
static inline void
set_units(Block *block, uint32 units)
{
	uint32		behind = place_of(block) + units;

	block->units = units;
	if (behind < area->end)
		block_at(behind)->before = units;
	else
		area->last = place_of(block);
}

/* A free block of at least that many units; NULL none. */
static Block *
find_free_block(uint32 units)
{
	int			list = list_of(units);
	uint32		place = area->lists[list];

	for (int looked = 0; place != NOWHERE && looked < LOOK_AT; looked++)
	{
		if (block_at(place)->units >= units)
			return block_at(place);
		place = block_at(place)->next;
	}
	list = list + 1 < LISTS ? filled_list(list + 1) : -1;
	return list < 0 ? NULL : block_at(area->lists[list]);
}

void *
cfp_area_alloc(Size size, CfpRef owner)
{
	uint32		units;
	Block	   *block;

	if (size >= area->size)
		return NULL;
	units = units_of(size);
	LWLockAcquire(&area->lock, LW_EXCLUSIVE);
	block = find_free_block(units);
	if (block != NULL)
	{
		uint32		left = block->units - units;

		list_remove(block);
		if (left >= LEAST_UNITS)
		{
			Block	   *rest = block_at(place_of(block) + units);

			set_units(block, units);
			set_units(rest, left);
			list_add(rest);
		}
		block->owner = owner;
		pg_atomic_write_u64(&area->used, pg_atomic_read_u64(&area->used) +
							(Size) block->units * UNIT);
	}
	LWLockRelease(&area->lock);
	return block ? (char *) block + CFP_AREA_HEADER : NULL;
}

void
cfp_area_free(void *p)
{
	Block	   *block = block_of(p);
	uint32		place = place_of(block);
	uint32		units = block->units;

	LWLockAcquire(&area->lock, LW_EXCLUSIVE);
	Assert(!block->free);
	pg_atomic_write_u64(&area->used, pg_atomic_read_u64(&area->used) - (Size) units * UNIT);
	if (place + units < area->end && block_at(place + units)->free)
	{
		Block	   *behind = block_at(place + units);

		list_remove(behind);
		units += behind->units;
	}
	if (block->before != 0 && block_at(place - block->before)->free)
	{
		block = block_at(place - block->before);
		list_remove(block);
		units += block->units;
	}
	set_units(block, units);
	list_add(block);
	LWLockRelease(&area->lock);
}

void *
cfp_area_alloc_end(Size size)
{
	uint32		units = size / UNIT;
	Block	   *block;
	void	   *p = NULL;

	Assert(size % 64 == 0);
	LWLockAcquire(&area->lock, LW_EXCLUSIVE);
	block = block_at(area->last);
	if (block->free && block->units >= units + LEAST_UNITS)
	{
		list_remove(block);
		area->end -= units;
		set_units(block, block->units - units);
		list_add(block);
		pg_atomic_write_u64(&area->used, pg_atomic_read_u64(&area->used) + size);
		p = block_at(area->end);
	}
	LWLockRelease(&area->lock);
	return p;
}

Size
cfp_area_bytes(const void *p)
{
	return (Size) block_of(p)->units * UNIT;
}

Size
cfp_area_usable(const void *p)
{
	return cfp_area_bytes(p) - CFP_AREA_HEADER;
}

Size
cfp_area_size(void)
{
	return area->size;
}

Size
cfp_area_used(void)
{
	return pg_atomic_read_u64(&area->used);
}

bool
cfp_area_fits(Size size)
{
	bool		fits;

	if (size >= area->size)
		return false;
	LWLockAcquire(&area->lock, LW_SHARED);
	fits = find_free_block(units_of(size)) != NULL;
	LWLockRelease(&area->lock);
	return fits;
}

#ifdef USE_ASSERT_CHECKING
/* The invariants, by a walk over all blocks.  The lock is held. */
static void
check_blocks(void)
{
	Size		used = area->size - (Size) area->end * UNIT;
	uint32		before = 0;
	bool		before_free = false;

	for (uint32 place = 0; place < area->end; place += before)
	{
		Block	   *block = block_at(place);

		Assert(block->units >= LEAST_UNITS && block->units <= area->end - place);
		Assert(block->before == before);
		Assert(!(block->free && before_free));
		if (!block->free)
			used += (Size) block->units * UNIT;
		if (place + block->units == area->end)
			Assert(area->last == place);
		before = block->units;
		before_free = block->free;
	}
	Assert(used == pg_atomic_read_u64(&area->used));
	for (int list = 0; list < LISTS; list++)
	{
		uint32		prev = NOWHERE;

		Assert((area->lists[list] != NOWHERE) ==
			   ((area->filled[list / LISTS_A_WORD] >> (list % LISTS_A_WORD) & 1) != 0));
		for (uint32 place = area->lists[list]; place != NOWHERE;
			 place = block_at(place)->next)
		{
			Assert(block_at(place)->free && block_at(place)->prev == prev);
			Assert(list_of(block_at(place)->units) == list);
			prev = place;
		}
	}
}
#endif

Size
cfp_area_largest_free(void)
{
	uint32		largest = 0;
	int			list;

	LWLockAcquire(&area->lock, LW_SHARED);
#ifdef USE_ASSERT_CHECKING
	check_blocks();
#endif
	list = last_filled_list(LISTS - 1);
	for (uint32 place = list < 0 ? NOWHERE : area->lists[list]; place != NOWHERE;
		 place = block_at(place)->next)
		largest = Max(largest, block_at(place)->units);
	LWLockRelease(&area->lock);
	return (Size) largest * UNIT;
}

int
cfp_area_beside(CfpRef *owners, int max)
{
	int			n = 0;

	LWLockAcquire(&area->lock, LW_SHARED);
	for (int list = last_filled_list(LISTS - 1); list >= 0 && n + 2 <= max;
		 list = last_filled_list(list - 1))
	{
		for (uint32 place = area->lists[list]; place != NOWHERE && n + 2 <= max;
			 place = block_at(place)->next)
		{
			Block	   *block = block_at(place);

			owners[n++] = block->before == 0 ? 0 :
				block_at(place - block->before)->owner;
			owners[n++] = place + block->units == area->end ? 0 :
				block_at(place + block->units)->owner;
		}
	}
	LWLockRelease(&area->lock);
	return n;
}

CfpRef
cfp_area_last(void)
{
	CfpRef		owner;
	Block	   *block;

	LWLockAcquire(&area->lock, LW_SHARED);
	block = block_at(area->last);
	if (block->free && block->before != 0)
		block = block_at(area->last - block->before);
	owner = block->owner;
	LWLockRelease(&area->lock);
	return owner;
}

/* ---------- shared memory ---------- */

static Size
area_size(void)
{
	return TYPEALIGN(4096, (Size) cfp_cache_size * 1024);
}

Size
cfp_area_shmem_size(void)
{
	return add_size(MAXALIGN(sizeof(AreaControl)),
					add_size(area_size(), PG_CACHE_LINE_SIZE));
}

void
cfp_area_shmem_init(void)
{
	bool		found;

	area = ShmemInitStruct("cfp cache memory", sizeof(AreaControl), &found);
	if (!found)
	{
		memset(area, 0, sizeof(AreaControl));
		area->tranche = LWLockNewTrancheId();
		LWLockInitialize(&area->lock, area->tranche);
		area->size = area_size();
		area->end = area->size / UNIT;
		pg_atomic_init_u64(&area->used, 0);
		for (int i = 0; i < LISTS; i++)
			area->lists[i] = NOWHERE;
	}
	LWLockRegisterTranche(area->tranche, "cfp_area");

	cfp_area_base = ShmemInitStruct("cfp cache", area->size, &found);
	if (!found)
	{
		Block	   *block = block_at(0);

		block->before = 0;
		set_units(block, area->end);
		list_add(block);
	}
}
