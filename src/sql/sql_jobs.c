/*-------------------------------------------------------------------------
 *
 * sql_jobs.c
 *		The SQL functions that ask for a job: pruning, rebuilding, backups.
 *
 * They check their arguments, have the job worker do the rest, and wait.  What
 * has changed the tables is reconciled before they return.
 *
 * Locks: none of their own.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "utils/date.h"
#include "utils/timestamp.h"

#include "base/preload.h"
#include "shared/jobs.h"
#include "shared/requests.h"
#include "sql/common.h"

PG_FUNCTION_INFO_V1(cfp_prune_history);
PG_FUNCTION_INFO_V1(cfp_rebuild_history_from_wal);
PG_FUNCTION_INFO_V1(cfp_rebuild_history_from_wal_range);
PG_FUNCTION_INFO_V1(cfp_rebuild_latest_from_history);
PG_FUNCTION_INFO_V1(cfp_backup);
PG_FUNCTION_INFO_V1(cfp_verify_backup);
PG_FUNCTION_INFO_V1(cfp_restore_backup);

/* Put the names, as far as given, into the arguments of the job. */
static void
take_names(FunctionCallInfo fcinfo, CfpJobArgs *args)
{
	text	   *key = PG_ARGISNULL(2) ? NULL : PG_GETARG_TEXT_PP(2);
	text	   *collection = PG_ARGISNULL(3) ? NULL : PG_GETARG_TEXT_PP(3);
	CfpItemName name = {0};

	if (key != NULL)
		name.in.key_len = VARSIZE_ANY_EXHDR(key);
	if (collection != NULL)
		name.in.collection_len = VARSIZE_ANY_EXHDR(collection);
	cfp_check_names(&name);

	args->key_len = args->collection_len = -1;
	if (key != NULL)
	{
		args->key_len = name.in.key_len;
		memcpy(args->names, VARDATA_ANY(key), name.in.key_len);
	}
	if (collection != NULL)
	{
		args->collection_len = name.in.collection_len;
		memcpy(args->names + name.in.key_len, VARDATA_ANY(collection), name.in.collection_len);
	}
}

/* cfp_prune_history(older_than, keep_versions, key, collection_name, dry_run) */
Datum
cfp_prune_history(PG_FUNCTION_ARGS)
{
	CfpJobArgs	args = {0};

	cfp_require_preload();
	args.has_older_than = !PG_ARGISNULL(0);
	if (args.has_older_than)
		args.older_than = PG_GETARG_TIMESTAMPTZ(0);
	args.keep_versions = PG_ARGISNULL(1) ? -1 : PG_GETARG_INT32(1);
	if (PG_ARGISNULL(4))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("dry_run must not be NULL")));
	args.dry_run = PG_GETARG_BOOL(4);
	if (!args.has_older_than && PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("older_than or keep_versions must be given"),
				 errhint("With both, a record goes when it is old enough and has enough newer versions.")));
	if (!PG_ARGISNULL(1) && args.keep_versions < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("keep_versions must not be negative"),
				 errhint("The newest version of an item is kept in any case.")));
	take_names(fcinfo, &args);

	PG_RETURN_INT64(cfp_job_run(CFP_JOB_PRUNE_HISTORY, &args));
}

static int64
rebuild_history(DateADT first, DateADT last, bool include_forgotten)
{
	CfpJobArgs	args = {.from = first,.to = last,.include_forgotten = include_forgotten};
	int64		added = cfp_job_run(CFP_JOB_REBUILD_HISTORY, &args);

	(void) cfp_request(CFP_REQUEST_RECONCILE);
	return added;
}

/* cfp_rebuild_history_from_wal(date) */
Datum
cfp_rebuild_history_from_wal(PG_FUNCTION_ARGS)
{
	DateADT		date;

	cfp_require_preload();
	date = cfp_date_argument(fcinfo, 0);
	PG_RETURN_INT64(rebuild_history(date, date, false));
}

/* cfp_rebuild_history_from_wal(from_date, to_date, include_forgotten) */
Datum
cfp_rebuild_history_from_wal_range(PG_FUNCTION_ARGS)
{
	DateADT		first;
	DateADT		last;

	cfp_require_preload();
	first = cfp_date_argument(fcinfo, 0);
	last = cfp_date_argument(fcinfo, 1);
	if (first > last)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the first date must not be later than the last")));
	PG_RETURN_INT64(rebuild_history(first, last, !PG_ARGISNULL(2) && PG_GETARG_BOOL(2)));
}

/* cfp_rebuild_latest_from_history() */
Datum
cfp_rebuild_latest_from_history(PG_FUNCTION_ARGS)
{
	CfpJobArgs	args = {0};

	cfp_require_preload();
	PG_RETURN_INT64(cfp_job_run(CFP_JOB_REBUILD_LATEST, &args));
}

/* cfp_backup(): the date it is of */
Datum
cfp_backup(PG_FUNCTION_ARGS)
{
	CfpJobArgs	args = {0};

	cfp_require_preload();
	PG_RETURN_DATEADT((DateADT) cfp_job_run(CFP_JOB_BACKUP_NOW, &args));
}

/* cfp_verify_backup(date): rows */
Datum
cfp_verify_backup(PG_FUNCTION_ARGS)
{
	CfpJobArgs	args = {0};

	cfp_require_preload();
	args.from = cfp_date_argument(fcinfo, 0);
	PG_RETURN_INT64(cfp_job_run(CFP_JOB_VERIFY_BACKUP, &args));
}

/*
 * What the restore will discard should be in the day files, as far as the
 * tables can still be read.
 */
static void
flush_before_discarding(void)
{
	CfpOutcome	outcome;

	cfp_request_outcome(CFP_REQUEST_FLUSH, &outcome);
	if (outcome.failed)
		ereport(WARNING,
				(errmsg("could not flush before restoring: %s", outcome.message),
				 errdetail("What was committed since the last flush is in no day file, and is discarded.")));
}

/* cfp_restore_backup(date, discard_newer): rows */
Datum
cfp_restore_backup(PG_FUNCTION_ARGS)
{
	CfpJobArgs	args = {0};
	int64		rows;

	cfp_require_preload();
	args.from = cfp_date_argument(fcinfo, 0);
	args.discard_newer = !PG_ARGISNULL(1) && PG_GETARG_BOOL(1);
	if (args.discard_newer)
		flush_before_discarding();
	rows = cfp_job_run(CFP_JOB_RESTORE_BACKUP, &args);
	(void) cfp_request(CFP_REQUEST_RECONCILE);
	PG_RETURN_INT64(rows);
}
