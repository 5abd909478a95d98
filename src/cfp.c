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
#include "cfp.h"
#include "cache.h"
#include "database.h"
#include "instance_lock.h"
#include "pending.h"
#include "settings.h"
#include "tables.h"
#include "worker.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

bool		cfp_preloaded = false;

static shmem_request_hook_type previous_shmem_request_hook = NULL;
static shmem_startup_hook_type previous_shmem_startup_hook = NULL;

static void
request_shared_memory(void)
{
	if (previous_shmem_request_hook)
		previous_shmem_request_hook();

	RequestAddinShmemSpace(cfp_database_shmem_size());
	RequestAddinShmemSpace(cfp_cache_shmem_size());
	RequestAddinShmemSpace(cfp_launcher_shmem_size());
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
	cfp_cache_shmem_init();
	cfp_launcher_shmem_init();
	cfp_instance_lock_shmem_init();
	cfp_waitpoint_shmem_init();
	LWLockRelease(AddinShmemInitLock);
}

void
cfp_require_preload(void)
{
	if (cfp_preloaded)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("cfp must be loaded through shared_preload_libraries"),
			 errhint("Add cfp to shared_preload_libraries in postgresql.conf and restart the server.")));
}

void
_PG_init(void)
{
	cfp_settings_init();
	cfp_tables_init();
	cfp_pending_init();

	if (!process_shared_preload_libraries_in_progress)
		return;

	cfp_preloaded = true;
	previous_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = request_shared_memory;
	previous_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = start_shared_memory;
	cfp_launcher_init();
}
