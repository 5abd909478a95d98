/*-------------------------------------------------------------------------
 *
 * backup.c
 *		The backup of a date: both storage tables, in the date's directory.
 *
 * cfp_backup_job() is run by the job worker (job_worker.c) for the close of day
 * (close.c), so that flushing goes on meanwhile; cfp_backup_now_job() for who
 * wants a backup before the day ends.
 *
 * Both files are of one snapshot S.  Steps, with where a crash leaves things:
 *
 *	1. storage_history.backup.tmp and storage_latest.backup.tmp are written
 *	   and synced.  A crash: leftovers, written over by the next try.
 *	2. Both get their names; one that was made on demand loses its manifest
 *	   before.  A crash: files without a manifest, no backup; the next try
 *	   writes them anew.
 *	3. manifest.json is written under a temporary name and renamed.  Now the
 *	   backup is complete.
 *	4. S, date and time are saved in cfp_state, row 'backup'.  A crash before it:
 *	   the next try makes the backup anew.
 *
 * A manifest alone may be of a past that is not this database's: what it was
 * made in can have been undone since by point-in-time recovery, or by a copy
 * of the data directory put in its place.  So the row tells the backup that
 * counts, by its date and the time it was finished: only a date whose manifest
 * has both is not backed up again, and only on that manifest the next backup
 * builds.  The row keeps them when the chain is broken.  And all that S sees is
 * on the disk before the manifest is, so that a crash takes back nothing that
 * is in a backup.
 *
 * What of the history goes in (cfp.backup_history): all of it, nothing, or
 * what S sees and the snapshot of the last backup did not.  The last is found
 * as a flush finds what is new (new_rows.c), and is right only as long as the
 * backups it builds on are there, back to a full one, and nothing else than
 * stores has changed the history.  So whatever else does, marks the
 * database to be reconciled or calls cfp_state_break_chain(), which takes the
 * snapshot out of the row and raises its counter; then, and while the database
 * is marked, the backup is a full one.  The counter is compared when S is
 * saved: a change that came while the backup was written was after S, and is
 * not in it.  Pruning superseded records is no such change: nobody needs them,
 * and a restore may bring them back.  Pruning tombstones is: they would come
 * back into latest.
 *
 * One on demand has all of the history.  It is in the directory of the open
 * date, has no part in the chain, and does without step 4: so the close makes
 * the date's backup as if it were not there.
 *
 * Locks: ACCESS SHARE on both tables, before S is taken, so that a TRUNCATE
 * before it is seen.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/calendar.h"
#include "base/process.h"
#include "base/settings.h"
#include "base/waitpoint.h"
#include "files/day_dir.h"
#include "files/instance_lock.h"
#include "files/manifest.h"
#include "jobs/backup.h"
#include "record/encode.h"
#include "record/record.h"
#include "shared/database.h"
#include "shared/jobs.h"
#include "tables/days.h"
#include "tables/new_rows.h"
#include "tables/state.h"
#include "tables/statement.h"
#include "tables/tables.h"

/* A smaller history is backed up whole with cfp.backup_history = auto. */
#define AUTO_FULL_BELOW		((int64) 1024 * 1024 * 1024)
#define PROGRESS_ROWS		10000	/* between two reports */

/* The state of one backup. */
typedef struct Backup
{
	CfpTables	tables;
	CfpManifest manifest;
	char	   *snapshot;		/* S as text */
	int64		chain;			/* counter of the row 'backup', as S sees it */
	CfpNewTransactions new;		/* since the last backup's snapshot */
	int64		done;
	int64		total;			/* an estimate */
} Backup;

/*-------------------------------------------------------------------------
 * What goes in
 *-------------------------------------------------------------------------
 */

/* A time as a manifest has it. */
static void
encode_finished(char *text, TimestampTz finished)
{
	text[cfp_encode_timestamp(text, finished)] = '\0';
}

/*
 * Is all there that a backup of the day's records would build on?  The first
 * link is the backup that was finished then.
 */
static bool
can_build(CfpManifest *manifest, const char *finished)
{
	List	   *chain;
	bool		whole;

	manifest->history_kind = CFP_BACKUP_KIND_DAY;
	manifest->builds_on_sha256[0] = '\0';
	chain = cfp_backup_chain(manifest, &whole);
	if (list_length(chain) > 1 &&
		strcmp(((CfpManifest *) lsecond(chain))->finished, finished) != 0)
	{
		chain = list_make1(manifest);
		whole = false;
	}
	if (whole)
		strlcpy(manifest->builds_on_sha256, ((CfpManifest *) lsecond(chain))->history.sha256,
				CFP_SHA256_TEXT);
	else
		ereport(LOG,
				(errmsg("cfp: the backup of %s has all of storage_history, not only the new records",
						cfp_date_text(manifest->date)),
				 errdetail("It would need the backup of %s, which is missing, is damaged, is another one or has no history.",
						   cfp_date_text(((CfpManifest *) llast(chain))->builds_on))));
	return whole;
}

/* Look at the last backup, and decide what of the history goes in. */
static void
choose_kind(Backup *backup)
{
	CfpManifest *manifest = &backup->manifest;
	CfpStateBackup last;
	bool		chained;
	int64		size;
	char		finished[MAXDATELEN + 1] = "";

	cfp_state_read_backup(&last);
	backup->chain = last.chain;
	backup->snapshot = last.now;
	size = DatumGetInt64(OidFunctionCall1(F_PG_TABLE_SIZE,
										  ObjectIdGetDatum(backup->tables.history)));

	/*
	 * A row of the history from the future (restored without the triggers) is
	 * in no difference of snapshots.
	 */
	chained = last.of_ours &&
		!cfp_sees_rows_from(backup->tables.history, backup->tables.history_txid,
							last.now_xmax);
	if (chained)
	{
		backup->new.xmax = last.xmax;
		backup->new.below = PG_UINT64_MAX;
		backup->new.nxip = last.nxip;
		backup->new.xip = last.xip;
		manifest->builds_on = last.date;
		encode_finished(finished, last.at);
		chained = manifest->builds_on < manifest->date;
	}

	if (manifest->on_demand)
		manifest->history_kind = CFP_BACKUP_KIND_FULL;
	else if (cfp_backup_history == CFP_BACKUP_OFF)
		manifest->history_kind = CFP_BACKUP_KIND_OFF;
	else if (!chained || cfp_backup_history == CFP_BACKUP_FULL ||
			 (cfp_backup_history == CFP_BACKUP_AUTO && size < AUTO_FULL_BELOW) ||
			 !can_build(manifest, finished))
		manifest->history_kind = CFP_BACKUP_KIND_FULL;
	else
		manifest->history_kind = CFP_BACKUP_KIND_DAY;
}

/*-------------------------------------------------------------------------
 * Writing the rows
 *-------------------------------------------------------------------------
 */

static void
write_row(Backup *backup, CfpCopyWriter *writer, TupleTableSlot *slot)
{
	slot_getsomeattrs(slot, CFP_NCOLS);
	cfp_copy_row(writer, slot->tts_values, slot->tts_isnull);
	if (++backup->done % PROGRESS_ROWS == 0)
	{
		CHECK_FOR_INTERRUPTS();
		cfp_job_progress(backup->done, Max(backup->done, backup->total));
	}
}

/* All rows that S sees. */
static void
write_table(Backup *backup, CfpCopyWriter *writer, Relation rel)
{
	TupleTableSlot *slot = table_slot_create(rel, NULL);

	/* From the first page on, and not along with another scan. */
	TableScanDesc scan = table_beginscan_strat(rel, GetActiveSnapshot(), 0, NULL, true, false);

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
		write_row(backup, writer, slot);
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
}

/* The rows that S sees and the last backup's snapshot did not. */
static void
write_new(Backup *backup, CfpCopyWriter *writer)
{
	CfpNewRows *rows = cfp_new_rows_begin(backup->tables.history, backup->tables.history_txid,
										  &backup->new);
	TupleTableSlot *slot;

	while ((slot = cfp_new_rows_next(rows)) != NULL)
		write_row(backup, writer, slot);
	cfp_new_rows_end(rows);
}

/* The name of a file of the backup while it is written, and after. */
static char *
backup_path(const char *dir, const char *name, bool temporary)
{
	return psprintf("%s/%s%s", dir, name, temporary ? ".tmp" : "");
}

/*
 * One of the two files, under its temporary name.  Unknown numbers of rows
 * (never analyzed) are -1.
 */
static void
write_file(Backup *backup, const char *dir, const char *name, Oid relid, CfpCopySums *sums)
{
	Relation	rel = table_open(relid, NoLock);
	CfpCopyWriter *writer = cfp_copy_create(backup_path(dir, name, true));

	if (relid == backup->tables.history &&
		backup->manifest.history_kind == CFP_BACKUP_KIND_DAY)
		write_new(backup, writer);
	else
		write_table(backup, writer, rel);
	cfp_copy_finish(writer, sums);
	table_close(rel, NoLock);
}

static double
estimated_rows(Oid relid)
{
	Relation	rel = table_open(relid, NoLock);
	double		rows = Max(rel->rd_rel->reltuples, 0);

	table_close(rel, NoLock);
	return rows;
}

/* Both files, under their temporary names, in one transaction. */
static void
write_files(Backup *backup, const char *dir)
{
	CfpManifest *manifest = &backup->manifest;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	XactIsoLevel = XACT_REPEATABLE_READ;
	backup->tables = *cfp_tables();
	LockRelationOid(backup->tables.history, AccessShareLock);
	LockRelationOid(backup->tables.latest, AccessShareLock);
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();

	choose_kind(backup);
	backup->total = estimated_rows(backup->tables.latest);
	if (manifest->history_kind == CFP_BACKUP_KIND_FULL)
		backup->total += estimated_rows(backup->tables.history);
	cfp_job_progress(0, backup->total);

	if (manifest->history_kind != CFP_BACKUP_KIND_OFF)
		write_file(backup, dir, CFP_HISTORY_BACKUP, backup->tables.history,
				   &manifest->history);
	write_file(backup, dir, CFP_LATEST_BACKUP, backup->tables.latest, &manifest->latest);
	backup->snapshot = MemoryContextStrdup(cfp_worker_context, backup->snapshot);

	/* Its commit record comes after those of all that S sees. */
	(void) GetTopTransactionId();
	ForceSyncCommit();
	cfp_worker_commit();
	cfp_job_progress(backup->done, backup->done);
}

/*-------------------------------------------------------------------------
 * The job
 *-------------------------------------------------------------------------
 */

/* Has this database, in the past it knows, got as far as step 4 for this backup? */
static bool
is_saved(const CfpManifest *manifest)
{
	char		finished[MAXDATELEN + 1];
	TimestampTz at;

	if (!cfp_state_backup_done(manifest->date, &at))
		return false;
	encode_finished(finished, at);
	return strcmp(manifest->finished, finished) == 0;
}

/* Remove what there is of a backup, its manifest first. */
static void
remove_files(const char *dir, bool temporary)
{
	cfp_remove_file(backup_path(dir, CFP_MANIFEST_FILE, temporary));
	cfp_remove_file(backup_path(dir, CFP_HISTORY_BACKUP, temporary));
	cfp_remove_file(backup_path(dir, CFP_LATEST_BACKUP, temporary));
}

/*
 * The date's directory, made ready; NULL when it has the backup of the close,
 * of *bytes.
 */
static char *
begin_backup(DateADT date, int64 *bytes)
{
	CfpManifest manifest;
	char	   *problem;
	char	   *dir = NULL;
	bool		usable;

	cfp_worker_begin(false, false);
	usable = cfp_read_manifest(date, &manifest, &problem);
	if (usable && is_saved(&manifest))
		*bytes = cfp_backup_bytes(&manifest);
	else
	{
		if (manifest.other_incarnation)
			problem = "It was made before the extension was dropped and created again.";
		if (manifest.foreign || manifest.other_incarnation)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 manifest.foreign ?
					 errmsg("directory \"%s\" has a backup of another database", cfp_date_dir(date)) :
					 errmsg("directory \"%s\" has a backup of another incarnation of the extension", cfp_date_dir(date)),
					 errdetail_internal("%s", problem),
					 errhint("Move the directory away.")));
		cfp_require_instance_lock(date);
		dir = MemoryContextStrdup(cfp_worker_context, cfp_make_date_dir(date));
		/* Of an earlier try, which this one may not be able to write over. */
		remove_files(dir, true);
		if (!usable || !manifest.on_demand)
			remove_files(dir, false);
	}
	cfp_worker_commit();
	return dir;
}

/* Steps 3 and 4. */
static void
finish_backup(Backup *backup)
{
	TimestampTz now = GetCurrentTimestamp();

	cfp_worker_begin(false, false);
	encode_finished(backup->manifest.finished, now);
	backup->manifest.snapshot = backup->snapshot;
	cfp_write_manifest(&backup->manifest);
	if (!backup->manifest.on_demand)
		cfp_state_save_backup(backup->snapshot, backup->chain, backup->manifest.date, now);
	cfp_worker_commit();
}

static void
name_file(const char *dir, const char *name)
{
	(void) durable_rename(backup_path(dir, name, true), backup_path(dir, name, false), ERROR);
}

/* The backup in the date's directory, of backup->manifest; returns its bytes. */
static int64
write_backup(Backup *backup, const char *dir)
{
	backup->manifest.compressed = cfp_copy_compresses();
	write_files(backup, dir);
	cfp_waitpoint("backup_written", true);
	remove_files(dir, false);
	if (backup->manifest.history_kind != CFP_BACKUP_KIND_OFF)
		name_file(dir, CFP_HISTORY_BACKUP);
	name_file(dir, CFP_LATEST_BACKUP);
	cfp_waitpoint("backup_renamed", true);
	finish_backup(backup);
	return cfp_backup_bytes(&backup->manifest);
}

int64
cfp_backup_job(const CfpJobArgs *args)
{
	Backup		backup = {.manifest.date = args->from};
	int64		bytes = 0;
	char	   *dir;

	Assert(!IsTransactionState());
	dir = begin_backup(args->from, &bytes);
	return dir == NULL ? bytes : write_backup(&backup, dir);
}

/*
 * The open date's close cannot make its backup meanwhile, for this job has the
 * slot.
 */
int64
cfp_backup_now_job(const CfpJobArgs *args)
{
	Backup		backup = {.manifest.on_demand = true};
	int64		bytes = 0;
	char	   *dir;

	cfp_worker_begin(false, false);
	backup.manifest.date = cfp_open_date();
	cfp_worker_commit();
	dir = begin_backup(backup.manifest.date, &bytes);
	if (dir == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the open business date %s has the backup of its close",
						cfp_date_text(backup.manifest.date)),
				 errdetail("It was closed before, and was opened again by hand.")));
	(void) write_backup(&backup, dir);
	return backup.manifest.date;
}
