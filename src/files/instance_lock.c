/*-------------------------------------------------------------------------
 *
 * instance_lock.c
 *		One server at a time writes below cfp.base_dir.
 *
 * The launcher holds flock() on <cfp.base_dir>/.lock from its start to its
 * end, and tries every few seconds while another server has it.  The system
 * releases it with the process, so a crash leaves nothing that blocks, and
 * the file itself is never deleted.  It names its holder, for messages only:
 * pid, system identifier and data directory, a line each.
 *
 * Whether this server holds the lock is in shared memory; those who write
 * files (day_files.c, backups) look there first.  The launcher ends after the
 * workers at a shutdown, so that their last flush still may write.
 *
 * A lock on a file that has been deleted or replaced excludes nobody: it is
 * taken for lost, and the lock on the new file is asked for.
 *
 * Locks: the shared state's own, for moments; nothing throws under it.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "common/file_perm.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "base/calendar.h"
#include "base/settings.h"
#include "files/day_dir.h"
#include "files/instance_lock.h"
#include "shared/database.h"

#define LOCK_FILE			".lock"
#define RETRY_INTERVAL		2000	/* ms between tries to get the lock */
#define CHECK_INTERVAL		30000	/* ms between looks at a lock that is held */

typedef enum LockState
{
	LOCK_NO_LAUNCHER,			/* nobody has tried */
	LOCK_HELD,
	LOCK_OTHERS,				/* `text` says whose, empty when unknown */
	LOCK_FAILED					/* `text` is the error */
} LockState;

typedef struct LockShared
{
	int			tranche;
	LWLock		lock;
	LockState	state;
	int			sqlerrcode;
	char		text[2 * MAXPGPATH];
} LockShared;

static LockShared *shared = NULL;

/* In the launcher. */
static int	lock_fd = -1;

Size
cfp_instance_lock_shmem_size(void)
{
	return MAXALIGN(sizeof(LockShared));
}

void
cfp_instance_lock_shmem_init(void)
{
	bool		found;

	shared = ShmemInitStruct("cfp instance lock", cfp_instance_lock_shmem_size(), &found);
	if (!found)
	{
		memset(shared, 0, sizeof(LockShared));
		shared->tranche = LWLockNewTrancheId();
		LWLockInitialize(&shared->lock, shared->tranche);
		shared->state = LOCK_NO_LAUNCHER;
	}
	LWLockRegisterTranche(shared->tranche, "cfp_instance_lock");
}

/*-------------------------------------------------------------------------
 * Asking
 *-------------------------------------------------------------------------
 */

bool
cfp_instance_lock_held(void)
{
	bool		held;

	LWLockAcquire(&shared->lock, LW_SHARED);
	held = shared->state == LOCK_HELD;
	LWLockRelease(&shared->lock);
	return held;
}

/* The lock file, as a DBA would look for it. */
static char *
full_lock_path(void)
{
	if (is_absolute_path(cfp_base_dir))
		return psprintf("%s/%s", cfp_base_dir, LOCK_FILE);
	return psprintf("%s/%s/%s", DataDir, cfp_base_dir, LOCK_FILE);
}

void
cfp_require_instance_lock(DateADT date)
{
	LockShared	copy;

	LWLockAcquire(&shared->lock, LW_SHARED);
	memcpy(&copy, shared, sizeof(copy));
	LWLockRelease(&shared->lock);

	switch (copy.state)
	{
		case LOCK_HELD:
			return;
		case LOCK_OTHERS:
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("Another instance is already running for date %s. Lock file exists at %s.",
							cfp_date_text(date), full_lock_path()),
					 copy.text[0] != '\0' ? errdetail_internal("%s", copy.text) : 0,
					 errhint("Give each server a cfp.base_dir of its own, or stop the other one. Stores and reads go on; the files are completed when the lock is free.")));
			break;
		case LOCK_FAILED:
			ereport(ERROR,
					(errcode(copy.sqlerrcode),
					 errmsg_internal("%s", copy.text),
					 errhint("The user that runs the server must be able to write below cfp.base_dir.")));
			break;
		case LOCK_NO_LAUNCHER:
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("lock file \"%s\" is not locked: the cfp launcher is not running",
							full_lock_path()),
					 errhint("The server starts the launcher again within seconds; if not, the server log says why.")));
			break;
	}
}

/*-------------------------------------------------------------------------
 * Holding, in the launcher
 *-------------------------------------------------------------------------
 */

static void
publish_lock(LockState state, int sqlerrcode, const char *text)
{
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	shared->state = state;
	shared->sqlerrcode = sqlerrcode;
	strlcpy(shared->text, text, sizeof(shared->text));
	LWLockRelease(&shared->lock);
}

/* Is the open file the one that has the name? */
static bool
is_lock_file(int fd, const char *path)
{
	struct stat by_fd;
	struct stat by_name;

	return fstat(fd, &by_fd) == 0 && stat(path, &by_name) == 0 &&
		by_fd.st_dev == by_name.st_dev && by_fd.st_ino == by_name.st_ino;
}

static void
close_lock_file(int fd)
{
	close(fd);
	ReleaseExternalFD();
}

/* Write down who holds the lock.  Nothing depends on it. */
static void
write_holder(int fd)
{
	char		text[MAXPGPATH + 64];
	int			len;

	len = snprintf(text, sizeof(text), "%d\n" UINT64_FORMAT "\n%s\n",
				   PostmasterPid, GetSystemIdentifier(), DataDir);
	if (ftruncate(fd, 0) != 0 || pg_pwrite(fd, text, len, 0) != len)
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not write lock file \"%s\": %m", full_lock_path())));
}

/* Who holds the lock, as a sentence, from its file; empty when it cannot be read. */
static void
read_holder(int fd, char *sentence, Size size)
{
	char		text[MAXPGPATH + 64];
	char	   *system_identifier;
	char	   *data_directory;
	char	   *end;
	int			len;

	sentence[0] = '\0';
	len = pg_pread(fd, text, sizeof(text) - 1, 0);
	if (len <= 0)
		return;
	text[len] = '\0';
	if ((system_identifier = strchr(text, '\n')) == NULL ||
		(data_directory = strchr(system_identifier + 1, '\n')) == NULL ||
		(end = strchr(data_directory + 1, '\n')) == NULL)
		return;
	*system_identifier++ = *data_directory++ = *end = '\0';
	snprintf(sentence, size,
			 "It is the server with process ID %s and system identifier %s, in data directory \"%s\".",
			 text, system_identifier, data_directory);
}

/* Try to get the lock and say what came of it.  Throws. */
static void
take_lock(void)
{
	char	   *path = psprintf("%s/%s", cfp_base_dir, LOCK_FILE);
	int			fd;

	cfp_make_base_dir();
	if (!AcquireExternalFD())
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open file \"%s\": %m", path)));
	fd = BasicOpenFilePerm(path, O_RDWR | O_CREAT | O_CLOEXEC | PG_BINARY, pg_file_create_mode);
	if (fd < 0)
	{
		ReleaseExternalFD();
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open file \"%s\": %m", path)));
	}

	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
	{
		/* Another server may have replaced the file since it was opened. */
		if (is_lock_file(fd, path))
		{
			write_holder(fd);
			lock_fd = fd;
			publish_lock(LOCK_HELD, 0, "");
			return;
		}
		close_lock_file(fd);
		publish_lock(LOCK_OTHERS, 0, "");
	}
	else if (errno == EWOULDBLOCK)
	{
		char		holder[2 * MAXPGPATH];

		read_holder(fd, holder, sizeof(holder));
		close_lock_file(fd);
		publish_lock(LOCK_OTHERS, 0, holder);
	}
	else
	{
		int			save_errno = errno;

		close_lock_file(fd);
		errno = save_errno;
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not lock file \"%s\": %m", path)));
	}
}

/* Try to get the lock; an error is published instead of thrown. */
static void
try_lock(void)
{
	MemoryContext context = CurrentMemoryContext;

	StartTransactionCommand();
	PG_TRY();
	{
		take_lock();
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		AbortCurrentTransaction();
		publish_lock(LOCK_FAILED, error->sqlerrcode, error->message);
		FreeErrorData(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
}

/* What waits for the lock can go on. */
static void
wake_workers(void)
{
	int			noids;
	Oid		   *oids = cfp_list_databases(&noids);

	for (int i = 0; i < noids; i++)
	{
		CfpDatabase *db = cfp_find_database(oids[i], false);

		if (db != NULL)
			cfp_wake_worker(db);
	}
	pfree(oids);
}

TimestampTz
cfp_instance_lock_attend(void)
{
	static TimestampTz next = 0;
	static bool waited = false;
	TimestampTz now = GetCurrentTimestamp();

	Assert(!IsTransactionState());
	if (next > now && next <= TimestampTzPlusMilliseconds(now, CHECK_INTERVAL))
		return next;

	if (lock_fd >= 0 && !is_lock_file(lock_fd, psprintf("%s/%s", cfp_base_dir, LOCK_FILE)))
	{
		ereport(LOG,
				(errmsg("cfp: lock file \"%s\" was deleted or replaced", full_lock_path())));
		cfp_instance_lock_release();
	}
	if (lock_fd < 0)
	{
		try_lock();
		if (lock_fd >= 0 && waited)
		{
			ereport(LOG,
					(errmsg("cfp: lock file \"%s\" is locked by this server now", full_lock_path())));
			wake_workers();
		}
		waited = lock_fd < 0;
	}
	next = TimestampTzPlusMilliseconds(now, lock_fd >= 0 ? CHECK_INTERVAL : RETRY_INTERVAL);
	return next;
}

void
cfp_instance_lock_release(void)
{
	publish_lock(LOCK_NO_LAUNCHER, 0, "");
	if (lock_fd >= 0)
		close_lock_file(lock_fd);
	lock_fd = -1;
}
