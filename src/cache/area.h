/*-------------------------------------------------------------------------
 *
 * area.h
 *		The fixed piece of shared memory that the cache lives in.
 *
 * See the head of area.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_AREA_H
#define CFP_AREA_H

#include "base/names.h"

/*
 * The area is in main shared memory, so an address is the same in every
 * process.  A reference is the offset from the area's start in units of 8
 * bytes; 0 is none.
 */
typedef uint32 CfpRef;

extern char *cfp_area_base;

static inline void *
cfp_ptr(CfpRef ref)
{
	return cfp_area_base + ((Size) ref << 3);
}

static inline CfpRef
cfp_ref(const void *p)
{
	return (CfpRef) (((const char *) p - cfp_area_base) >> 3);
}

/* In front of every piece. */
#define CFP_AREA_HEADER		16

/*
 * A piece of memory, aligned to 16 bytes; NULL when none is free that is large
 * enough.  The owner is whom cfp_area_beside() names.  Cannot throw.
 */
extern void *cfp_area_alloc(Size size, CfpRef owner);

/* Cannot throw, allocates nothing. */
extern void cfp_area_free(void *p);

/*
 * A piece that is never given back, aligned to 64 bytes like its size.  It is
 * cut from the end of the area, so that what is in front of it stays one;
 * NULL when something else is there (cfp_area_last).  Cannot throw.
 */
extern void *cfp_area_alloc_end(Size size);

/* What a piece takes of the area, and what of that can be used. */
extern Size cfp_area_bytes(const void *p);
extern Size cfp_area_usable(const void *p);

/* The whole area, and what is in use of it (may be that of a moment ago). */
extern Size cfp_area_size(void);
extern Size cfp_area_used(void);

/* Is there a free piece of that size? */
extern bool cfp_area_fits(Size size);

/* The largest free piece, as bytes of the area. */
extern Size cfp_area_largest_free(void);

/*
 * The owners of the pieces before and behind the largest free ones, in about
 * the order of their sizes, two each and 0 where there is none: if they go, that
 * piece grows.  Returns how many, at most `max`.
 */
extern int	cfp_area_beside(CfpRef *owners, int max);

/* The owner of the last piece that can be given back; 0 none. */
extern CfpRef cfp_area_last(void);

extern Size cfp_area_shmem_size(void);
extern void cfp_area_shmem_init(void);

#endif							/* CFP_AREA_H */
