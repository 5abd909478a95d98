/*-------------------------------------------------------------------------
 *
 * forget.c
 *		What is given up, noted for the day files.
 *
 * Records leave the tables on purpose: rows deleted by hand, a TRUNCATE, a
 * restore that goes back to a backup, a deleted item that is pruned.  The day
 * files must say so, or a later rebuild brings back what nobody wants, above
 * what was stored since.  So whoever gives something up puts a row into
 * cfp_forgotten in the same transaction; a flush takes the rows from there,
 * appends a line for each to the day files, and removes them (day_files.c).
 *
 * What a row is about comes before it in the day files, what is stored later
 * comes after it, whatever the clock says: `seen` is the snapshot that has
 * just what was committed before.  It is taken behind the gate, where no
 * store is in flight, and is the same for all rows of a transaction.  For the
 * same reason the order of id is that in which things were given up.
 *
 * Rows are written directly, as the table's owner (table_write.c): the role that
 * changes the storage tables needs no privilege on cfp_forgotten.
 *
 * Locks: ROW EXCLUSIVE on cfp_forgotten.  The caller holds the gate.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "access/xact.h"
#include "commands/sequence.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "record/forgotten.h"
#include "tables/forget.h"
#include "tables/statement.h"
#include "tables/tables.h"

/* Columns of cfp_forgotten. */
enum
{
	FORGOTTEN_ID,
	FORGOTTEN_KIND,
	FORGOTTEN_KEY,
	FORGOTTEN_COLLECTION,
	FORGOTTEN_ITEM,
	FORGOTTEN_FROM_VERSION,
	FORGOTTEN_VERSION,
	FORGOTTEN_DATE,
	FORGOTTEN_SNAPSHOT,
	FORGOTTEN_SEEN,
	FORGOTTEN_TXID,
	FORGOTTEN_AT,
	FORGOTTEN_FROM_ID,
	FORGOTTEN_TO_ID,
	FORGOTTEN_COLUMNS
};

/* A row to be. */
typedef struct Row
{
	Datum		values[FORGOTTEN_COLUMNS];
	bool		nulls[FORGOTTEN_COLUMNS];
} Row;

/* What the transaction sees, and the (sub)transaction that has taken it. */
static Datum seen_now = (Datum) 0;
static TransactionId seen_by = InvalidTransactionId;

/*
 * What has committed by now.  A ROLLBACK TO may have let go of the gate since
 * it was taken; then it is taken anew.
 */
static Datum
current_seen(void)
{
	TransactionId xid = GetCurrentTransactionId();
	MemoryContext old;

	if (TransactionIdIsValid(seen_by) && TransactionIdIsCurrentTransactionId(seen_by))
		return seen_now;
	seen_by = InvalidTransactionId;
	if (seen_now != (Datum) 0)
		pfree(DatumGetPointer(seen_now));
	seen_now = (Datum) 0;

	PushActiveSnapshot(GetLatestSnapshot());
	old = MemoryContextSwitchTo(TopMemoryContext);
	seen_now = OidFunctionCall0(F_PG_CURRENT_SNAPSHOT);
	MemoryContextSwitchTo(old);
	PopActiveSnapshot();
	seen_by = xid;
	return seen_now;
}

static void
row_begin(Row *row, CfpForgetKind kind)
{
	Assert(kind <= CFP_FORGET_GAP);

	memset(row->nulls, true, sizeof(row->nulls));
	row->values[FORGOTTEN_KIND] = CStringGetTextDatum(cfp_forget_kinds[kind]);
	row->nulls[FORGOTTEN_KIND] = false;
}

static void
row_name(Row *row, const CfpItemName *name)
{
	row->values[FORGOTTEN_KEY] =
		PointerGetDatum(cstring_to_text_with_len(name->in.key, name->in.key_len));
	row->values[FORGOTTEN_COLLECTION] =
		PointerGetDatum(cstring_to_text_with_len(name->in.collection, name->in.collection_len));
	row->values[FORGOTTEN_ITEM] =
		PointerGetDatum(cstring_to_text_with_len(name->item, name->item_len));
	row->nulls[FORGOTTEN_KEY] = row->nulls[FORGOTTEN_COLLECTION] = false;
	row->nulls[FORGOTTEN_ITEM] = false;
}

static void
row_versions(Row *row, int32 from_version, int32 version)
{
	row->values[FORGOTTEN_FROM_VERSION] = Int32GetDatum(from_version);
	row->values[FORGOTTEN_VERSION] = Int32GetDatum(version);
	row->nulls[FORGOTTEN_FROM_VERSION] = row->nulls[FORGOTTEN_VERSION] = false;
}

CfpTableWriter *
cfp_forget_begin(void)
{
	PushActiveSnapshot(GetLatestSnapshot());
	return cfp_writer_begin(cfp_required_oid("cfp_forgotten"), 1 << CMD_INSERT);
}

void
cfp_forget_end(CfpTableWriter *writer)
{
	cfp_writer_end(writer);
	PopActiveSnapshot();
}

static void
row_insert(CfpTableWriter *writer, Row *row)
{
	row->values[FORGOTTEN_ID] =
		Int64GetDatum(nextval_internal(cfp_required_oid("cfp_forgotten_id_seq"), false));
	row->values[FORGOTTEN_SEEN] = current_seen();
	row->values[FORGOTTEN_TXID] = FullTransactionIdGetDatum(GetTopFullTransactionId());
	row->values[FORGOTTEN_AT] = TimestampTzGetDatum(GetCurrentTimestamp());
	row->nulls[FORGOTTEN_ID] = row->nulls[FORGOTTEN_SEEN] = false;
	row->nulls[FORGOTTEN_TXID] = row->nulls[FORGOTTEN_AT] = false;
	cfp_writer_insert(writer, FORGOTTEN_COLUMNS, row->values, row->nulls);
}

/* The one row of a kind that comes alone. */
static void
row_insert_alone(Row *row)
{
	CfpTableWriter *writer = cfp_forget_begin();

	row_insert(writer, row);
	cfp_forget_end(writer);
}

void
cfp_forget_item(CfpTableWriter *writer, const CfpItemName *name, int32 from_version, int32 version)
{
	Row			row;

	Assert(from_version <= version);

	row_begin(&row, CFP_FORGET_ITEM);
	row_name(&row, name);
	row_versions(&row, from_version, version);
	row_insert(writer, &row);
}

void
cfp_forget_pruned(CfpTableWriter *writer, const CfpItemName *name, int32 version)
{
	Row			row;

	row_begin(&row, CFP_FORGET_PRUNE);
	row_name(&row, name);
	row_versions(&row, PG_INT32_MIN, version);
	row_insert(writer, &row);
}

void
cfp_forget_all(void)
{
	Row			row;

	row_begin(&row, CFP_FORGET_ALL);
	row_insert_alone(&row);
}

void
cfp_forget_restore(DateADT date, const char *snapshot)
{
	Row			row;

	row_begin(&row, CFP_FORGET_RESTORE);
	row.values[FORGOTTEN_DATE] = DateADTGetDatum(date);
	row.nulls[FORGOTTEN_DATE] = false;
	if (snapshot != NULL)
	{
		row.values[FORGOTTEN_SNAPSHOT] =
			OidFunctionCall1(F_PG_SNAPSHOT_IN, CStringGetDatum(snapshot));
		row.nulls[FORGOTTEN_SNAPSHOT] = false;
	}
	row_insert_alone(&row);
}

void
cfp_forget_lift(int64 from_id, int64 to_id)
{
	Row			row;

	row_begin(&row, CFP_FORGET_REBUILD);
	row.values[FORGOTTEN_FROM_ID] = Int64GetDatum(from_id);
	row.values[FORGOTTEN_TO_ID] = Int64GetDatum(to_id);
	row.nulls[FORGOTTEN_FROM_ID] = row.nulls[FORGOTTEN_TO_ID] = false;
	row_insert_alone(&row);
}

void
cfp_forget_gap(void)
{
	Row			row;

	row_begin(&row, CFP_FORGET_GAP);
	row_insert_alone(&row);
}

/*-------------------------------------------------------------------------
 * Reading
 *-------------------------------------------------------------------------
 */

static CfpStatement count_all = {
	.table = "cfp_forgotten",
	.sql = "SELECT last_value + is_called::int"
	" - (SELECT count(*) FROM @schema@.cfp_forgotten WHERE kind = 'gap')"
	" FROM @schema@.cfp_forgotten_id_seq",
};

int64
cfp_forget_count(void)
{
	bool		isnull;

	cfp_statement_run(&count_all, NULL, NULL);
	return DatumGetInt64(cfp_statement_value(1, &isnull));
}

/* A column of the row; 0 when it is NULL. */
static Datum
forgotten_column(uint64 row, int n, bool *isnull)
{
	Datum		value = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, n + 1, isnull);

	return *isnull ? (Datum) 0 : value;
}

void
cfp_forget_take(uint64 row, CfpForget *forget)
{
	bool		isnull;
	Datum		value;

	Assert(SPI_tuptable != NULL && row < SPI_tuptable->numvals);

	memset(forget, 0, sizeof(*forget));
	forget->id = DatumGetInt64(forgotten_column(row, FORGOTTEN_ID, &isnull));
	value = forgotten_column(row, FORGOTTEN_KIND, &isnull);
	if (!cfp_forget_kind(TextDatumGetCString(value), &forget->kind))
		elog(ERROR, "cfp_forgotten has a row of kind \"%s\"", TextDatumGetCString(value));
	for (int i = 0; i < 3; i++)
	{
		value = forgotten_column(row, FORGOTTEN_KEY + i, &isnull);
		if (!isnull)
			forget->name[i] = DatumGetTextPCopy(value);
	}
	forget->from_version = DatumGetInt32(forgotten_column(row, FORGOTTEN_FROM_VERSION, &isnull));
	forget->version = DatumGetInt32(forgotten_column(row, FORGOTTEN_VERSION, &isnull));
	forget->date = DatumGetDateADT(forgotten_column(row, FORGOTTEN_DATE, &isnull));
	value = forgotten_column(row, FORGOTTEN_SNAPSHOT, &isnull);
	if (!isnull)
		forget->snapshot = TextDatumGetCString(value);
	/* CFP_FORGET_READ is without `seen`. */
	forget->txid = DatumGetUInt64(forgotten_column(row, FORGOTTEN_TXID - 1, &isnull));
	forget->at = DatumGetTimestampTz(forgotten_column(row, FORGOTTEN_AT - 1, &isnull));
	forget->from_id = DatumGetInt64(forgotten_column(row, FORGOTTEN_FROM_ID - 1, &isnull));
	forget->to_id = DatumGetInt64(forgotten_column(row, FORGOTTEN_TO_ID - 1, &isnull));
}
