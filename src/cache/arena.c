/*-------------------------------------------------------------------------
 *
 * arena.c
 *		The memory of one collection.
 *
 * Purpose: items, nodes, records and texts of a collection come from chunks that
 * the collection owns, so that they go with it at once, and what is freed one by
 * one serves the same collection again.
 *
 * Called by items.c, chain.c and locks.c for what they make, by load.c for pins
 * and the list of the load's snapshot, by who keeps JSON texts, and by descriptor.c
 * when the collection is emptied.
 *
 * Layout: a chunk is a piece of the area (area.c); blocks are cut from the newest
 * chunk, and what is freed goes onto a free list by its size.  What is larger than
 * CFP_LARGE has a chunk of its own, which goes back to the area when it is freed.
 * The arrays of a collection are pieces without a chunk's header.
 *
 * Locks: the collection's, held exclusively, or the collection is LOADING by the
 * caller; the area's is taken inside.
 *
 * Invariants:
 * 	- `bytes` is what the collection takes of the area, descriptor included.
 * 	- A block on the free list of a class is at least as large as the class.
 * Running out of memory is an answer (NULL), after which `missing` says how large
 * a piece was wanted.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "cache/arena.h"

#include "port/pg_bitutils.h"

/* The least chunk, and what may lie on free lists in any case. */
#define CHUNK_LEAST			(1024 - CFP_AREA_HEADER)
#define WASTE_LEAST			(64 * 1024)

/* Sizes above 128 bytes begin with this class, eight classes a doubling. */
#define CLASS_ABOVE_128		16

StaticAssertDecl(CFP_LARGE == 128 << ((CFP_FREE_CLASSES - CLASS_ABOVE_128) / 8),
				 "the last class holds a block of CFP_LARGE");

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
	return CLASS_ABOVE_128 + (shift - 7) * 8 + (int) units - 1;
}

/* The largest class whose blocks a block of `size` bytes can serve. */
static inline int
class_served(Size size)
{
	Size		rounded;
	int			class = class_holding(size, &rounded);

	return rounded > size ? class - 1 : class;
}

Size
cfp_arena_step(const CfpCollection *col)
{
	return Min(col->bytes / 8, Min((Size) 1024 * 1024, cfp_area_size() / 32));
}

void *
cfp_piece_alloc(CfpCollection *col, Size size)
{
	void	   *p = cfp_area_alloc(size, cfp_ref(col));

	Assert(cfp_collection_is_mine(col));
	if (p == NULL)
		col->missing = size;
	else
		col->bytes += cfp_area_bytes(p);
	return p;
}

void
cfp_piece_free(CfpCollection *col, void *p)
{
	col->bytes -= cfp_area_bytes(p);
	cfp_area_free(p);
}

/* Add a chunk of `want` bytes, or of less, with room for `least`. */
static CfpChunk *
chunk_add(CfpCollection *col, Size least, Size want)
{
	CfpChunk   *chunk;

	least += MAXALIGN(sizeof(CfpChunk));
	want = Max(want, least);
	while ((chunk = cfp_piece_alloc(col, want)) == NULL)
	{
		if (want == least)
			return NULL;
		want = Max(want / 2, least);
	}
	chunk->prev = 0;
	chunk->next = col->chunks;
	if (col->chunks != 0)
		((CfpChunk *) cfp_ptr(col->chunks))->prev = cfp_ref(chunk);
	col->chunks = cfp_ref(chunk);
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
	cfp_piece_free(col, chunk);
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

/* Take a block off a free list that has one. */
static inline void *
block_take(CfpCollection *col, int class, Size size)
{
	void	   *p = cfp_ptr(col->free[class]);

	col->free[class] = *(CfpRef *) p;
	col->unused -= Min(col->unused, size);
	return p;
}

void *
cfp_arena_alloc(CfpCollection *col, Size size, bool exact)
{
	Size		rounded;
	int			class;
	void	   *p;

	Assert(cfp_collection_is_mine(col));
	size = MAXALIGN(size);
	if (size > CFP_LARGE)
	{
		CfpChunk   *chunk = chunk_add(col, size, size);

		return chunk ? (char *) chunk + MAXALIGN(sizeof(CfpChunk)) : NULL;
	}
	class = class_holding(size, &rounded);
	if (col->free[class] != 0)
		return block_take(col, class, rounded);
	if (!exact)
		size = rounded;
	if (col->bump_end - col->bump < size)
	{
		Size		want = Max(cfp_arena_step(col), CHUNK_LEAST);
		CfpChunk   *chunk;

		/*
		 * What is free may be in small pieces.  But of a small chunk a large
		 * part is left unused: not when that has added up, as long as others
		 * can be evicted.
		 */
		chunk = chunk_add(col, col->left > col->bytes / 8 && !col->small_chunks ?
						  Max(size, want / 4) : size, want);

		if (chunk == NULL)
		{
			/* A larger free block serves as well. */
			for (class++; class < CFP_FREE_CLASSES; class++)
			{
				if (col->free[class] != 0)
					return block_take(col, class, rounded);
			}
			return NULL;
		}
		/* What is left of the old chunk is not lost. */
		while (col->bump_end - col->bump >= 8)
		{
			Size		left = Min(col->bump_end - col->bump, CFP_LARGE);

			block_free(col, col->bump, left);
			col->bump += left;
			col->left += left;
		}
		col->bump = (char *) chunk + MAXALIGN(sizeof(CfpChunk));
		col->bump_end = (char *) chunk + cfp_area_usable(chunk);
	}
	p = col->bump;
	col->bump += size;
	return p;
}

void
cfp_arena_free(CfpCollection *col, void *p, Size size)
{
	Assert(cfp_collection_is_mine(col));
	size = MAXALIGN(size);
	if (size > CFP_LARGE)
		chunk_free(col, (CfpChunk *) ((char *) p - MAXALIGN(sizeof(CfpChunk))));
	else
	{
		block_free(col, p, size);
		col->unused += size;
	}
}

Size
cfp_arena_size(Size size)
{
	size = MAXALIGN(size);
	if (size <= CFP_LARGE)
		(void) class_holding(size, &size);
	return size;
}

bool
cfp_arena_wasteful(const CfpCollection *col)
{
	return col->unused > WASTE_LEAST && col->unused > col->bytes / 2;
}

void
cfp_arena_clear(CfpCollection *col)
{
	Assert(cfp_collection_is_mine(col));
	while (col->chunks != 0)
		chunk_free(col, cfp_ptr(col->chunks));
	col->bump = col->bump_end = NULL;
	memset(col->free, 0, sizeof(col->free));
	col->unused = col->left = 0;
	col->small_chunks = false;
}
