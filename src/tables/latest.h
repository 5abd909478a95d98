/*-------------------------------------------------------------------------
 *
 * latest.h
 *		Bringing storage_latest up to the history, item by item.
 *
 * For fold.c, reconcile.c and rebuild.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_LATEST_H
#define CFP_LATEST_H

#include "base/names.h"
#include "tables/scan.h"
#include "tables/table_write.h"
#include "tables/tables.h"

typedef struct CfpLatestWriter
{
	CfpTableWriter *writer;
	TableScan	history;
	TableScan	latest;			/* looks for an item */
	TableScan	walk;			/* goes through latest from the first item on */
	ScanStart	start;
	bool		walking;
	bool		more;			/* walk.slot has a row */
	int			credit;			/* steps that the walk may still take */
} CfpLatestWriter;

/*
 * Between begin and end, in a transaction that has passed the gate, with the
 * active snapshot, items in the order of the primary key: put the item's newest record of the history into latest,
 * unless latest has a higher version.  With only_behind latest is not written
 * where it has that record already.   The names are text, and stay where they
 * are until the end; returns whether latest was written.  Throws what an INSERT or UPDATE of latest throws.
 */
extern void cfp_latest_begin(CfpLatestWriter *writer, const CfpTables *tables);
extern bool cfp_latest_bring(CfpLatestWriter *writer, const Datum *names, bool only_behind);
extern void cfp_latest_end(CfpLatestWriter *writer);

/*
 * Is the row of latest, of the same item, behind that of the history: of a
 * lower version, or of the same with other contents?
 */
extern bool cfp_latest_behind(TupleTableSlot *latest, TupleTableSlot *history);

#endif							/* CFP_LATEST_H */
