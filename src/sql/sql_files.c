/*-------------------------------------------------------------------------
 *
 * sql_files.c
 *		What SQL shows of the day files: cfp_wal_files and cfp_read_wal().
 *
 * Locks: those of reading cfp_state (wal_files.c).
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

#include "base/preload.h"
#include "files/day_dir.h"
#include "files/wal_files.h"

PG_FUNCTION_INFO_V1(cfp_read_wal);
PG_FUNCTION_INFO_V1(cfp_wal_files_rows);

/* Columns of the view. */
enum
{
	FILES_DATE,
	FILES_FILE,
	FILES_BYTES,
	FILES_RECORDS,
	FILES_COLUMNS
};

/* cfp_wal_files: the rows of the view */
Datum
cfp_wal_files_rows(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext scratch;
	CfpWalReader *reader;
	ListCell   *lc;

	cfp_require_preload();
	InitMaterializedSRF(fcinfo, 0);
	scratch = AllocSetContextCreate(CurrentMemoryContext, "cfp day files",
									ALLOCSET_DEFAULT_SIZES);
	reader = cfp_wal_reader_create();
	foreach(lc, cfp_list_date_dirs())
	{
		DateADT		date = lfirst_int(lc);
		int64		bytes;
		int64		records;

		cfp_wal_reader_start(reader, date, true);
		while (cfp_wal_reader_count_file(reader, scratch, &bytes, &records))
		{
			Datum		values[FILES_COLUMNS];
			bool		nulls[FILES_COLUMNS] = {0};

			values[FILES_DATE] = DateADTGetDatum(date);
			values[FILES_FILE] = CStringGetTextDatum(last_dir_separator(reader->path) + 1);
			values[FILES_BYTES] = Int64GetDatum(bytes);
			values[FILES_RECORDS] = Int64GetDatum(records);
			tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
		}
	}
	return (Datum) 0;
}

/* cfp_read_wal(date) */
Datum
cfp_read_wal(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext scratch;
	MemoryContext old;
	CfpWalReader *reader;
	Datum	   *values;
	bool	   *nulls;
	int			natts;

	cfp_require_preload();
	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0))
		return (Datum) 0;

	/* A user may have added columns. */
	natts = result->setDesc->natts;
	values = palloc0(natts * sizeof(Datum));
	nulls = palloc(natts * sizeof(bool));
	memset(nulls, true, natts * sizeof(bool));

	scratch = AllocSetContextCreate(CurrentMemoryContext, "cfp day file record",
									ALLOCSET_DEFAULT_SIZES);
	reader = cfp_wal_reader_create();
	cfp_wal_reader_start(reader, PG_GETARG_DATEADT(0), true);
	old = MemoryContextSwitchTo(scratch);
	while (cfp_wal_reader_next(reader, values, nulls))
	{
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
		MemoryContextReset(scratch);
	}
	MemoryContextSwitchTo(old);

	if (reader->bad_lines > CFP_WAL_REPORTED_LINES)
		ereport(WARNING,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg(INT64_FORMAT " lines of the day files are not used",
						reader->bad_lines),
				 errdetail("The first %d are reported above.", CFP_WAL_REPORTED_LINES)));
	return (Datum) 0;
}
