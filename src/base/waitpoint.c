/*-------------------------------------------------------------------------
 *
 * waitpoint.c
 *		Places in the code where a test can park a session.
 *
 * A session whose cfp.debug_waitpoint names a waitpoint stops there until
 * some session sets cfp.debug_release to the same name.  Any room may call
 * cfp_waitpoint(), commit and abort callbacks included.
 *
 * Shared memory holds, for each name ever used, how often it was released.
 * A session notes that count when it arrives and leaves when the count has
 * changed, so a release wakes everybody who waits and nobody who comes
 * later.  One spinlock protects the array; no other lock is taken under it.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "access/parallel.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "storage/pmsignal.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "utils/guc.h"
#include "utils/wait_event.h"

#include "base/waitpoint.h"

#define WAITPOINTS			32
#define WAITPOINT_NAPTIME	10	/* ms */

typedef struct Waitpoint
{
	char		name[NAMEDATALEN];	/* empty: not used yet */
	uint64		releases;
} Waitpoint;

typedef struct WaitpointShared
{
	slock_t		mutex;
	Waitpoint	points[WAITPOINTS];
} WaitpointShared;

static WaitpointShared *shared = NULL;

char	   *cfp_debug_waitpoint = "";

static char *debug_release = "";

Size
cfp_waitpoint_shmem_size(void)
{
	return MAXALIGN(sizeof(WaitpointShared));
}

void
cfp_waitpoint_shmem_init(void)
{
	bool		found;

	shared = ShmemInitStruct("cfp waitpoints", cfp_waitpoint_shmem_size(), &found);
	if (!found)
	{
		memset(shared, 0, sizeof(WaitpointShared));
		SpinLockInit(&shared->mutex);
	}
}

/*
 * How often the waitpoint was released so far, after adding `more`.  When
 * the array is full the name counts as never released.
 */
static uint64
waitpoint_releases(const char *name, uint64 more)
{
	uint64		releases = 0;

	SpinLockAcquire(&shared->mutex);
	for (int i = 0; i < WAITPOINTS; i++)
	{
		Waitpoint  *point = &shared->points[i];

		if (point->name[0] == '\0')
			strlcpy(point->name, name, NAMEDATALEN);
		if (strncmp(point->name, name, NAMEDATALEN - 1) == 0)
		{
			point->releases += more;
			releases = point->releases;
			break;
		}
	}
	SpinLockRelease(&shared->mutex);
	return releases;
}

static void
assign_debug_release(const char *newval, void *extra)
{
	if (shared != NULL && newval[0] != '\0' && !InitializingParallelWorker)
		waitpoint_releases(newval, 1);
}

void
cfp_waitpoint_init(void)
{
	DefineCustomStringVariable("cfp.debug_waitpoint",
							   "Waitpoint at which this session stops (for tests).",
							   NULL,
							   &cfp_debug_waitpoint,
							   "",
							   PGC_SUSET, GUC_NOT_IN_SAMPLE | GUC_NO_SHOW_ALL,
							   NULL, NULL, NULL);

	DefineCustomStringVariable("cfp.debug_release",
							   "Lets go on all sessions that wait at this waitpoint (for tests).",
							   NULL,
							   &debug_release,
							   "",
							   PGC_SUSET, GUC_NOT_IN_SAMPLE | GUC_NO_SHOW_ALL,
							   NULL, assign_debug_release, NULL);
}

void
cfp_waitpoint_slow(const char *name, bool can_throw)
{
	uint64		before;

	if (shared == NULL || strcmp(name, cfp_debug_waitpoint) != 0)
		return;

	before = waitpoint_releases(name, 0);
	while (waitpoint_releases(name, 0) == before)
	{
		if (can_throw)
		{
			(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
							 WAITPOINT_NAPTIME, PG_WAIT_EXTENSION);
			ResetLatch(MyLatch);
			CHECK_FOR_INTERRUPTS();
		}
		else
		{
			if (!PostmasterIsAlive())
				break;
			pgstat_report_wait_start(PG_WAIT_EXTENSION);
			pg_usleep(WAITPOINT_NAPTIME * 1000L);
			pgstat_report_wait_end();
		}
	}
}
