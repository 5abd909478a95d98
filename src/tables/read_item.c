/*-------------------------------------------------------------------------
 *
 * read_item.c
 *		Reading one item from the tables.
 *
 * read/ reads here what the cache may not answer; store/ looks up versions of
 * items that are not cached.
 *
 * What is true of an item is its newest record, of storage_history and
 * storage_latest together; of the same version in both the history's (they
 * differ only after a change by hand).  So: one look-up in latest, and one
 * backward descent of the history's primary key, down to the version that
 * latest has, under one snapshot.
 *
 * Locks: ACCESS SHARE on what is read until the end of the transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "utils/builtins.h"

#include "tables/read_item.h"
#include "tables/scan.h"
#include "tables/tables.h"

static void
item_keys(ScanKey keys, const CfpItemName *name)
{
	text_key(&keys[0], 1, BTEqualStrategyNumber,
			 cstring_to_text_with_len(name->in.key, name->in.key_len));
	text_key(&keys[1], 2, BTEqualStrategyNumber,
			 cstring_to_text_with_len(name->in.collection, name->in.collection_len));
	text_key(&keys[2], 3, BTEqualStrategyNumber,
			 cstring_to_text_with_len(name->item, name->item_len));
}

CfpRecord *
cfp_table_read_item(Snapshot snapshot, const CfpItemName *name, uint64 *txid)
{
	CfpTables	tables = cfp_tables_for(snapshot);
	ScanKeyData keys[4];
	TableScan	history;
	TableScan	latest;
	CfpRecord  *record = NULL;
	bool		in_latest;

	item_keys(keys, name);
	scan_open(&latest, tables.latest, tables.latest_pkey, snapshot, 3);
	scan_start(&latest, keys);
	in_latest = scan_next(&latest, ForwardScanDirection);

	version_bound(&keys[3], in_latest ? slot_version(latest.slot) : PG_INT32_MIN);
	scan_open(&history, tables.history, tables.history_pkey, snapshot, 4);
	scan_start(&history, keys);
	if (scan_next(&history, BackwardScanDirection))
		record = cfp_slot_record(history.slot, txid);
	else if (in_latest)
		record = cfp_slot_record(latest.slot, txid);
	Assert(!in_latest || record->version >= slot_version(latest.slot));
	scan_close(&history);
	scan_close(&latest);
	return record;
}

CfpRecord *
cfp_table_read_version(Snapshot snapshot, const CfpItemName *name, int32 version)
{
	CfpTables	tables = cfp_tables_locked();
	ScanKeyData keys[4];
	TableScan	history;
	CfpRecord  *record = NULL;

	item_keys(keys, name);
	ScanKeyInit(&keys[3], 4, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(version));
	scan_open(&history, tables.history, tables.history_pkey, snapshot, 4);
	scan_start(&history, keys);
	if (scan_next(&history, ForwardScanDirection))
		record = cfp_slot_record(history.slot, NULL);
	Assert(record == NULL || record->version == version);
	scan_close(&history);
	return record;
}

void
cfp_table_read_versions(Snapshot snapshot, const CfpItemName *name, int max_versions,
						CfpTableRowCallback callback, void *arg)
{
	CfpTables	tables = cfp_tables_for(snapshot);
	ScanKeyData keys[3];
	TableScan	history;
	int			given = 0;

	item_keys(keys, name);
	scan_open(&history, tables.history, tables.history_pkey, snapshot, 3);
	scan_start(&history, keys);
	while ((max_versions <= 0 || given < max_versions) &&
		   scan_next(&history, BackwardScanDirection))
	{
		uint64		txid;
		CfpRecord  *record = cfp_slot_record(history.slot, &txid);
		bool		go_on = callback(name->item, name->item_len, record, txid, arg);

		pfree(record);
		given++;
		if (!go_on)
			break;
	}
	scan_close(&history);
}
