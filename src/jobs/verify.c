/*-------------------------------------------------------------------------
 *
 * verify.c
 *		Reading all of a backup as a restore does.
 *
 * cfp_verify_backup() asks the job worker (jobs.c), which runs the job here; a
 * restore (restore.c) begins with the same.
 *
 * Every row is read, and each of its columns goes through the receive function
 * of its type, which checks encodings and how deeply jsonb is nested.  For a
 * restore the version that each item has in the files is noted in a sort,
 * which gives them back in the order of the names once all is verified.
 *
 * The history of a backup that builds on others is the history of all of them
 * back to a full one.  Where that chain is broken, what there is counts.
 *
 * Locks: none.  All of it is in one transaction, in which the client's encoding
 * is the database's.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "catalog/pg_collation_d.h"
#include "catalog/pg_operator_d.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/tuplesort.h"

#include "base/calendar.h"
#include "base/transcode.h"
#include "files/day_dir.h"
#include "jobs/verify.h"
#include "jobs/verify_int.h"
#include "record/columns.h"
#include "record/record.h"
#include "shared/jobs.h"
#include "tables/statement.h"

#define PROGRESS_ROWS		10000	/* between two reports */

/* The receive functions of a row's columns. */
typedef struct Receive
{
	FmgrInfo	functions[CFP_NCOLS];
	Oid			params[CFP_NCOLS];
	MemoryContext context;		/* of one row */
	int			column;			/* being received */
} Receive;

/*-------------------------------------------------------------------------
 * Which files
 *-------------------------------------------------------------------------
 */

/* The dates that have a backup, for an error's DETAIL. */
static char *
backups_there_are(void)
{
	StringInfoData text;
	List	   *dates = cfp_list_backups(true);
	ListCell   *lc;

	if (dates == NIL)
		return pstrdup("There is no backup of this database.");
	initStringInfo(&text);
	appendStringInfoString(&text, "There are backups of:");
	foreach(lc, dates)
		appendStringInfo(&text, " %s", cfp_date_text(lfirst_int(lc)));
	appendStringInfoChar(&text, '.');
	return text.data;
}

/* The manifest of the date asked for.  Throws 58P01 or XX001. */
static void
required_manifest(DateADT date, CfpManifest *manifest)
{
	char	   *problem;

	if (cfp_read_manifest(date, manifest, &problem))
		return;
	if (problem == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FILE),
				 errmsg("there is no complete backup of %s", cfp_date_text(date)),
				 errdetail_internal("%s", backups_there_are())));
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("cannot use manifest \"%s\"", cfp_date_file(date, CFP_MANIFEST_FILE)),
			 errdetail_internal("%s", problem),
			 errhint("Use the backup of another date, or restore its files by hand with COPY.")));
}

void
cfp_verify_warn(const CfpVerify *verify, bool restoring)
{
	const CfpManifest *first;

	if (!verify->broken)
		return;
	if (verify->history == NIL)
	{
		if (restoring)
			cfp_job_warn("the backup has no storage_history: the history keeps what it has");
		return;
	}
	first = llast(verify->history);
	cfp_job_warn(psprintf("the backup builds on that of %s, which is missing or damaged: "
						  "its history begins with the records of %s%s",
						  cfp_date_text(first->builds_on), cfp_date_text(first->date),
						  restoring ? "; of earlier ones the table keeps what it has" : ""));
}

void
cfp_verify_begin(CfpVerify *verify, DateADT date)
{
	bool		whole;

	Assert(IsTransactionState());
	memset(verify, 0, sizeof(*verify));
	cfp_set_local("client_encoding", GetDatabaseEncodingName());
	required_manifest(date, &verify->manifest);
	verify->history = cfp_backup_chain(&verify->manifest, &whole);
	verify->broken = !whole;
}

/* Files that are damaged may have more rows than their manifests say. */
void
cfp_verify_progress(const CfpVerify *verify)
{
	cfp_job_progress(verify->done, Max(verify->done, verify->total));
}

void
cfp_verified_row(CfpVerify *verify)
{
	if (++verify->done % PROGRESS_ROWS == 0)
		cfp_verify_progress(verify);
}

/*-------------------------------------------------------------------------
 * Verifying
 *-------------------------------------------------------------------------
 */

/* Note the item of a row in the sort. */
static void
know_item(CfpVerify *verify, const CfpCopyField *fields)
{
	TupleTableSlot *slot = verify->known_slot;
	uint32		version;

	Assert(fields[CFP_COL_VERSION].len == sizeof(version));
	ExecClearTuple(slot);
	for (int i = 0; i < 3; i++)
	{
		slot->tts_values[i] =
			PointerGetDatum(cstring_to_text_with_len(fields[CFP_COL_KEY + i].data,
													 fields[CFP_COL_KEY + i].len));
		slot->tts_isnull[i] = false;
	}
	memcpy(&version, fields[CFP_COL_VERSION].data, sizeof(version));
	slot->tts_values[3] = Int32GetDatum((int32) pg_ntoh32(version));
	slot->tts_isnull[3] = false;
	ExecStoreVirtualTuple(slot);
	tuplesort_puttupleslot(verify->known, slot);
	for (int i = 0; i < 3; i++)
		pfree(DatumGetPointer(slot->tts_values[i]));
}

/* Is NULL where the tables have it only? */
static bool
has_what_it_must(const CfpCopyField *fields)
{
	return fields[CFP_COL_KEY].len >= 0 && fields[CFP_COL_COLLECTION].len >= 0 &&
		fields[CFP_COL_ITEM].len >= 0 && fields[CFP_COL_UPDATED_AT].len >= 0 &&
		fields[CFP_COL_VERSION].len >= 0 && fields[CFP_COL_TXID].len >= 0 &&
		(fields[CFP_COL_VALUE_INT].len >= 0) + (fields[CFP_COL_VALUE_FLOAT].len >= 0) +
		(fields[CFP_COL_VALUE_STRING].len >= 0) <= 1;
}

static void
begin_receiving(Receive *receive)
{
	static const Oid types[] = {
		TEXTOID, TEXTOID, TEXTOID, JSONBOID, INT8OID, FLOAT8OID, TEXTOID, TIMESTAMPTZOID,
		TEXTOID, INT4OID, TEXTOID, TIMESTAMPTZOID, INT4OID, InvalidOid, XID8OID
	};

	StaticAssertStmt(lengthof(types) == CFP_NCOLS, "a type for each column");

	for (int i = 0; i < CFP_NCOLS; i++)
	{
		Oid			function;

		if (i == CFP_COL_OPERATION)
			continue;
		getTypeBinaryInputInfo(types[i], &function, &receive->params[i]);
		fmgr_info(function, &receive->functions[i]);
	}
	receive->context = AllocSetContextCreate(CurrentMemoryContext, "cfp verify row",
											 ALLOCSET_DEFAULT_SIZES);
}

/* By name: the backup may be of a database that has another type of this name. */
static void
receive_operation(const CfpCopyField *field)
{
	CfpOperation operation;
	char	   *name = pnstrdup(field->data, field->len);

	if (!cfp_operation_named(name, &operation))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("\"%s\" is no operation", cfp_valid_text(name))));
}

/* What COPY does with a row.  Throws what the types throw. */
static void
receive_row(Receive *receive, const CfpCopyField *fields)
{
	MemoryContext old = MemoryContextSwitchTo(receive->context);

	for (receive->column = 0; receive->column < CFP_NCOLS; receive->column++)
	{
		const CfpCopyField *field = &fields[receive->column];
		StringInfoData bytes = {.data = (char *) field->data,.len = field->len};

		if (field->len < 0)
			continue;
		if (receive->column == CFP_COL_OPERATION)
		{
			receive_operation(field);
			continue;
		}
		(void) ReceiveFunctionCall(&receive->functions[receive->column], &bytes,
								   receive->params[receive->column], -1);
		if (bytes.cursor != bytes.len)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
					 errmsg("incorrect binary data format")));
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(receive->context);
}

/* Receive a row; what the types throw becomes XX001 with the file's name. */
static void
verify_row(Receive *receive, const CfpCopyField *fields, const char *path, int64 row)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		receive_row(receive, fields);
	}
	PG_CATCH();
	{
		int			class = ERRCODE_TO_CATEGORY(geterrcode());
		ErrorData  *error;

		if (class == ERRCODE_OPERATOR_INTERVENTION || class == ERRCODE_INSUFFICIENT_RESOURCES)
			PG_RE_THROW();
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		cfp_copy_damaged(path, psprintf("Column %d of row %lld: %s.", receive->column + 1,
										(long long) row, error->message));
	}
	PG_END_TRY();
}

/* Throws 58P01 or XX001 with the file's name. */
static void
verify_file(CfpVerify *verify, const CfpManifest *manifest, const char *name,
			const CfpCopySums *sums)
{
	char	   *path = cfp_date_file(manifest->date, name);
	CfpCopyReader *reader = cfp_copy_open(path, manifest->compressed);
	CfpCopyField fields[CFP_NCOLS];
	Receive		receive;
	int64		rows = 0;

	begin_receiving(&receive);
	while (cfp_copy_next_row(reader, fields))
	{
		rows++;
		verify_row(&receive, fields, path, rows);
		if (!has_what_it_must(fields))
			cfp_copy_damaged(path, psprintf("Row %lld has no name, no version or no time, or two values.",
											(long long) rows));
		if (verify->known != NULL)
			know_item(verify, fields);
		cfp_verified_row(verify);
	}
	cfp_copy_check(reader, rows, sums);
	MemoryContextDelete(receive.context);
}

TupleDesc
cfp_item_version_columns(int ncolumns)
{
	static const int columns[] = {CFP_COL_KEY, CFP_COL_COLLECTION, CFP_COL_ITEM, CFP_COL_VERSION};
	TupleDesc	desc = CreateTemplateTupleDesc(ncolumns);

	for (int i = 0; i < lengthof(columns); i++)
	{
		const CfpColumn *column = &cfp_columns[columns[i]];

		TupleDescInitEntry(desc, i + 1, column->name, column->type, -1, 0);
	}
	return desc;
}

void
cfp_verify_all(CfpVerify *verify)
{
	TupleDesc	desc = cfp_item_version_columns(4);
	AttrNumber	columns[] = {1, 2, 3, 4};
	Oid			operators[] = {TextLessOperator, TextLessOperator, TextLessOperator, Int4LessOperator};
	Oid			collations[] = {C_COLLATION_OID, C_COLLATION_OID, C_COLLATION_OID, InvalidOid};
	bool		nulls_first[4] = {0};
	ListCell   *lc;

	Assert(verify->known == NULL);
	verify->known_slot = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
	verify->known_next = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	verify->known = tuplesort_begin_heap(desc, 4, columns, operators, collations,
										 nulls_first, maintenance_work_mem, NULL,
										 TUPLESORT_NONE);
	verify_file(verify, &verify->manifest, CFP_LATEST_BACKUP, &verify->manifest.latest);
	foreach(lc, verify->history)
	{
		const CfpManifest *manifest = lfirst(lc);

		verify_file(verify, manifest, CFP_HISTORY_BACKUP, &manifest->history);
	}
	tuplesort_performsort(verify->known);
}

bool
cfp_verified_next(CfpVerify *verify, CfpItemVersion *item)
{
	TupleTableSlot *slot = verify->known_next;

	Assert(verify->known != NULL);
	if (!tuplesort_gettupleslot(verify->known, true, false, slot, NULL))
		return false;
	slot_getallattrs(slot);
	for (int i = 0; i < 3; i++)
		item->name[i] = DatumGetTextPP(slot->tts_values[i]);
	item->version = DatumGetInt32(slot->tts_values[3]);
	return true;
}

int64
cfp_verify_backup_job(const CfpJobArgs *args)
{
	CfpVerify	verify;
	CfpManifest *manifest = &verify.manifest;

	cfp_worker_begin(false, false);
	cfp_verify_begin(&verify, args->from);
	verify.total = manifest->latest.rows + manifest->history.rows;
	cfp_verify_progress(&verify);

	verify_file(&verify, manifest, CFP_LATEST_BACKUP, &manifest->latest);
	if (manifest->history_kind != CFP_BACKUP_KIND_OFF)
		verify_file(&verify, manifest, CFP_HISTORY_BACKUP, &manifest->history);
	cfp_verify_warn(&verify, false);
	cfp_worker_commit();
	return verify.done;
}
