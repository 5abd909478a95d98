/*-------------------------------------------------------------------------
 *
 * new_rows.c
 *		The rows of the history that were committed since a snapshot.
 *
 * What a snapshot S sees and an older one did not are the rows of the
 * transactions from xmax of the older one on, and of those that ran then and
 * have ended by S.  The index on txid finds both; a transaction that still
 * runs is not asked for, so a long one that has written much costs nothing
 * until it ends.
 *
 * Eight clients fill eight pages at a time, so neighbours in the index lie on
 * different pages, which those who insert are locking too.  So the index
 * fills a bitmap, and each page is looked at once.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"
#include "base/compat.h"
#include "record/record.h"
#include "tables/new_rows.h"
#include "tables/scan.h"

#include "access/genam.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "miscadmin.h"
#include "nodes/tidbitmap.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

struct CfpNewRows
{
	const CfpNewTransactions *transactions;
	Relation	history;
	TIDBitmap  *bitmap;
	CfpBitmapScan scan;
	TupleTableSlot *slot;
};

static void
add_range(TIDBitmap *bitmap, IndexScanDesc scan, uint64 from, uint64 below)
{
	ScanKeyData keys[2];

	ScanKeyInit(&keys[0], 1, BTGreaterEqualStrategyNumber, F_XID8GE, UInt64GetDatum(from));
	ScanKeyInit(&keys[1], 1, BTLessStrategyNumber, F_XID8LT, UInt64GetDatum(below));
	index_rescan(scan, keys, lengthof(keys), NULL, 0);
	(void) index_getbitmap(scan, bitmap);
}

CfpNewRows *
cfp_new_rows_begin(Oid history, Oid txid_index, const CfpNewTransactions *transactions)
{
	CfpNewRows *rows = palloc(sizeof(CfpNewRows));
	Relation	index = index_open(txid_index, AccessShareLock);
	IndexScanDesc scan = cfp_index_beginscan_bitmap(index, GetActiveSnapshot(), 2);

	rows->transactions = transactions;
	rows->history = table_open(history, NoLock);
	Assert(CheckRelationLockedByMe(rows->history, AccessShareLock, true));
	Assert(transactions->xmax <= transactions->below);
	rows->bitmap = tbm_create((long) work_mem * 1024L, NULL);
	for (int i = 0; i < transactions->nxip; i++)
	{
		uint64		xid = DatumGetUInt64(transactions->xip[i]);

		add_range(rows->bitmap, scan, xid, xid + 1);
	}
	add_range(rows->bitmap, scan, transactions->xmax, transactions->below);
	index_endscan(scan);
	index_close(index, NoLock);

	rows->slot = table_slot_create(rows->history, NULL);
	cfp_bitmap_scan_begin(&rows->scan, rows->history, GetActiveSnapshot(), rows->bitmap);
	return rows;
}

static bool
is_wanted(const CfpNewTransactions *transactions, TupleTableSlot *slot)
{
	bool		isnull;
	uint64		txid = DatumGetUInt64(slot_getattr(slot, CFP_COL_TXID + 1, &isnull));

	if (txid >= transactions->xmax)
		return txid < transactions->below;
	for (int i = 0; i < transactions->nxip; i++)
	{
		if (DatumGetUInt64(transactions->xip[i]) == txid)
			return true;
	}
	return false;
}

TupleTableSlot *
cfp_new_rows_next(CfpNewRows *rows)
{
	bool		recheck;

	while (cfp_bitmap_scan_next(&rows->scan, rows->slot, &recheck))
	{
		CHECK_FOR_INTERRUPTS();
		if (!recheck || is_wanted(rows->transactions, rows->slot))
			return rows->slot;
	}
	return NULL;
}

void
cfp_new_rows_end(CfpNewRows *rows)
{
	cfp_bitmap_scan_end(&rows->scan);
	ExecDropSingleTupleTableSlot(rows->slot);
	tbm_free(rows->bitmap);
	table_close(rows->history, NoLock);
	pfree(rows);
}

bool
cfp_sees_rows_from(Oid history, Oid txid_index, uint64 txid)
{
	TableScan	scan;
	ScanKeyData key;
	bool		found;

	ScanKeyInit(&key, 1, BTGreaterEqualStrategyNumber, F_XID8GE, UInt64GetDatum(txid));
	scan_open(&scan, history, txid_index, GetActiveSnapshot(), 1);
	scan_start(&scan, &key);
	found = scan_next(&scan, ForwardScanDirection);
	scan_close(&scan);
	return found;
}
