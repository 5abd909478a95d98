/*-------------------------------------------------------------------------
 *
 * waitpoint.h
 *		Places in the code where a test can park a session.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_WAITPOINT_H
#define CFP_WAITPOINT_H

#include "base/names.h"

/*
 * A session that has `cfp.debug_waitpoint` (superuser
 * only, default empty, GUC_NOT_IN_SAMPLE | GUC_NO_SHOW_ALL) set to the name
 * of a waitpoint stops there until some session sets
 * `cfp.debug_release` to that name.  cfp_waitpoint() costs one test of a
 * pointer when the setting is empty.  With can_throw it looks for
 * interrupts; without (commit and abort callbacks) it just sleeps.
 */
extern char *cfp_debug_waitpoint;
extern void cfp_waitpoint_slow(const char *name, bool can_throw);
#define cfp_waitpoint(name, can_throw) \
	do { \
		if (unlikely(cfp_debug_waitpoint[0] != '\0')) \
			cfp_waitpoint_slow((name), (can_throw)); \
	} while (0)
/* Define their settings; called once by _PG_init. */
extern void cfp_waitpoint_init(void);
extern Size cfp_waitpoint_shmem_size(void);
extern void cfp_waitpoint_shmem_init(void);

#endif							/* CFP_WAITPOINT_H */
