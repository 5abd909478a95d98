/*-------------------------------------------------------------------------
 *
 * latest.c
 *		Bringing storage_latest up to the history, item by item.
 *
 * Called by what goes through the items: those in storage_dirty (fold.c), those
 * of the history (rebuild.c).  The history decides unless latest has a higher
 * version; at the same one latest may have been changed by hand.
 *
 * The items come in order, so where many of latest are asked for one walk
 * through it finds them, and what it has passed is not there.  A walk that
 * passes too many others is given up for a descent an item.
 *
 * Nobody else writes latest meanwhile: changes by hand are kept out by the gate,
 * and the two who call this by its lock (statement.c).
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"
#include "tables/latest.h"

#include "utils/datum.h"
#include "utils/snapmgr.h"

/*
 * Steps of a walk: what one may waste, and what an item is worth.  A descent
 * takes as long as some four steps.
 */
#define FIRST_CREDIT	400
#define ITEM_CREDIT		4

void
cfp_latest_begin(CfpLatestWriter *writer, const CfpTables *tables)
{
	writer->writer = cfp_writer_begin(tables->latest, 1 << CMD_INSERT | 1 << CMD_UPDATE);
	scan_open(&writer->latest, tables->latest, tables->latest_pkey, GetActiveSnapshot(), 3);
	scan_open(&writer->walk, tables->latest, tables->latest_pkey, GetActiveSnapshot(), 1);
	writer->walking = false;
	writer->credit = FIRST_CREDIT;
	scan_open(&writer->history, tables->history, tables->history_pkey, GetActiveSnapshot(), 4);
}

void
cfp_latest_end(CfpLatestWriter *writer)
{
	scan_close(&writer->history);
	scan_close(&writer->walk);
	scan_close(&writer->latest);
	cfp_writer_end(writer->writer);
}

bool
cfp_latest_behind(TupleTableSlot *latest, TupleTableSlot *history)
{
	int32		version = slot_version(history);

	Assert(compare_slots(latest, history) == 0);

	if (slot_version(latest) != version)
		return slot_version(latest) < version;
	slot_getsomeattrs(latest, CFP_COL_TXID);
	slot_getsomeattrs(history, CFP_COL_TXID);
	for (int i = CFP_COL_DATA; i < CFP_COL_TXID; i++)
	{
		Form_pg_attribute form = TupleDescAttr(history->tts_tupleDescriptor, i);

		if (latest->tts_isnull[i] != history->tts_isnull[i])
			return true;
		if (!latest->tts_isnull[i] &&
			!datum_image_eq(latest->tts_values[i], history->tts_values[i],
							form->attbyval, form->attlen))
			return true;
	}
	return false;
}

/* The item's row of latest; NULL when there is none. */
static TupleTableSlot *
find_in_latest(CfpLatestWriter *writer, const Datum *names)
{
	ScanKeyData keys[3];

	if (!writer->walking)
	{
		scan_start_at(&writer->walk, &writer->start, names);
		writer->more = scan_next(&writer->walk, ForwardScanDirection);
		writer->walking = true;
	}
	writer->credit += ITEM_CREDIT;
	while (writer->credit > 0 && writer->more)
	{
		int			cmp = compare_slot_names(writer->walk.slot, names);

		if (cmp >= 0)
			return cmp == 0 ? writer->walk.slot : NULL;
		writer->credit--;
		writer->more = scan_next(&writer->walk, ForwardScanDirection);
	}
	if (!writer->more)
		return NULL;

	/* No credit is earned from here on: the walk is where it is. */
	writer->credit = PG_INT32_MIN / 2;
	names_keys(keys, names);
	scan_start(&writer->latest, keys);
	return scan_next(&writer->latest, ForwardScanDirection) ? writer->latest.slot : NULL;
}

bool
cfp_latest_bring(CfpLatestWriter *writer, const Datum *names, bool only_behind)
{
	TupleTableSlot *row = find_in_latest(writer, names);
	TupleTableSlot *record = writer->history.slot;
	ScanKeyData keys[4];

	names_keys(keys, names);
	version_bound(&keys[3], row != NULL ? slot_version(row) : PG_INT32_MIN);
	scan_start(&writer->history, keys);
	if (!scan_next(&writer->history, BackwardScanDirection))
		return false;

	slot_getsomeattrs(record, CFP_NCOLS);
	if (row == NULL)
		cfp_writer_insert(writer->writer, CFP_NCOLS, record->tts_values, record->tts_isnull);
	else if (!only_behind || cfp_latest_behind(row, record))
		cfp_writer_update(writer->writer, row, CFP_NCOLS, record->tts_values, record->tts_isnull);
	else
		return false;
	return true;
}
