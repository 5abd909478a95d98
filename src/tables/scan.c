/*-------------------------------------------------------------------------
 *
 * scan.c
 *		What all direct scans of the storage tables begin with.
 *
 * Called by read_item.c, read_collection.c and state.c.  The scans use no SPI:
 * neither the caller's privileges nor row security may filter them.
 *
 * The history is part of whatever is read: where it has lost what the snapshot
 * saw, by TRUNCATE, a restore or an ALTER TABLE since, reading fails.
 *
 * Locks: ACCESS SHARE on what is read until the end of the transaction, as for
 * any query.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "access/sysattr.h"
#include "access/xact.h"
#include "utils/xid8.h"

#include "record/row.h"
#include "tables/rewritten.h"
#include "tables/scan.h"

/* The record in a slot of history or latest; in CurrentMemoryContext. */
CfpRecord *
cfp_slot_record(TupleTableSlot *slot, uint64 *txid)
{
	Assert(slot->tts_tupleDescriptor->natts >= CFP_NCOLS);

	slot_getsomeattrs(slot, CFP_NCOLS);
	if (txid)
		*txid = U64FromFullTransactionId(DatumGetFullTransactionId(slot->tts_values[CFP_COL_TXID]));
	return cfp_record_from_row(slot->tts_values, slot->tts_isnull);
}

/*
 * Has the history, in the file it has now, a row that the snapshot sees and
 * this transaction has not written?  Then it has all: a file made by VACUUM FULL
 * keeps them all, one made by TRUNCATE or ALTER TABLE none.
 */
static bool
history_kept(const CfpTables *tables, Snapshot snapshot)
{
	TableScan	scan;
	bool		found = false;

	scan_open(&scan, tables->history, tables->history_pkey, snapshot, 0);
	scan_start(&scan, NULL);
	while (!found && scan_next(&scan, ForwardScanDirection))
	{
		bool		isnull;
		Datum		xmin = slot_getsysattr(scan.slot, MinTransactionIdAttributeNumber, &isnull);

		found = !TransactionIdIsCurrentTransactionId(DatumGetTransactionId(xmin));
	}
	scan_close(&scan);
	return found;
}

/*
 * The tables for a reader with this snapshot, locked.  Throws 40001 when the
 * history has lost what the snapshot saw.
 */
CfpTables
cfp_tables_for(Snapshot snapshot)
{
	CfpTables	tables = cfp_tables_locked();

	if (unlikely(cfp_rewritten(tables.history, snapshot)) && !history_kept(&tables, snapshot))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not read storage_history: it was emptied or rewritten after the snapshot was taken"),
				 errdetail("What TRUNCATE, a restore and some forms of ALTER TABLE leave is not for older snapshots."),
				 errhint("Retry the transaction.")));
	return tables;
}
