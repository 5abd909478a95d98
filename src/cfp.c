/*-------------------------------------------------------------------------
 *
 * cfp.c
 *		Loading the library: settings, shared memory, hooks, launcher.
 *
 * The postmaster calls _PG_init when cfp is in shared_preload_libraries, and
 * each process inherits the result.  A backend that loads the library later
 * (CREATE EXTENSION without preloading) gets the settings and the callbacks
 * that keep the tables right, but no shared memory: whatever needs it asks
 * cfp_require_preload() first.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"
#include "base/preload.h"
#include "base/settings.h"
#include "base/waitpoint.h"
#include "cache/descriptor.h"
#include "files/instance_lock.h"
#include "shared/database.h"
#include "shared/requests.h"
#include "sql/foreign.h"
#include "sql/foreign_conflict.h"
#include "store/commit.h"
#include "tables/given_up.h"
#include "tables/references.h"
#include "tables/tables.h"
#include "worker/aside.h"
#include "worker/launcher.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

static shmem_request_hook_type previous_shmem_request_hook = NULL;
static shmem_startup_hook_type previous_shmem_startup_hook = NULL;

static void
request_shared_memory(void)
{
	if (previous_shmem_request_hook)
		previous_shmem_request_hook();

	RequestAddinShmemSpace(cfp_database_shmem_size());
	RequestAddinShmemSpace(cfp_requests_shmem_size());
	RequestAddinShmemSpace(cfp_cache_shmem_size());
	RequestAddinShmemSpace(cfp_instance_lock_shmem_size());
	RequestAddinShmemSpace(cfp_waitpoint_shmem_size());
}

static void
start_shared_memory(void)
{
	if (previous_shmem_startup_hook)
		previous_shmem_startup_hook();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	cfp_database_shmem_init();
	cfp_requests_shmem_init();
	cfp_cache_shmem_init();
	cfp_instance_lock_shmem_init();
	cfp_waitpoint_shmem_init();
	LWLockRelease(AddinShmemInitLock);
}

void
_PG_init(void)
{
	cfp_waitpoint_init();
	cfp_settings_init();
	cfp_tables_init();
	cfp_pending_init();
	cfp_foreign_init();
	cfp_foreign_conflict_init();
	cfp_given_up_init();
	cfp_references_init();

	if (!process_shared_preload_libraries_in_progress)
		return;

	cfp_preloaded = true;
	previous_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = request_shared_memory;
	previous_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = start_shared_memory;
	cfp_aside_init();
	cfp_launcher_init();
}
