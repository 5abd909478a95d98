/*-------------------------------------------------------------------------
 *
 * foreign_analyze.c
 *		ANALYZE of a foreign table: a sample of its rows.
 *
 * All items are read, a random part of them kept, as for a table of a file.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "commands/vacuum.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/sampling.h"
#include "utils/snapmgr.h"

#include "base/preload.h"
#include "read/scope.h"
#include "sql/foreign.h"
#include "sql/foreign_analyze.h"
#include "sql/foreign_row.h"
#include "sql/foreign_scan.h"
#include "tables/tables.h"

static int
sample_items(Relation rel, int level, HeapTuple *rows, int wanted, double *total, double *dead)
{
	const CfpForeignTable *table = cfp_foreign_table(RelationGetRelid(rel));
	CfpScopeScan *scan = cfp_foreign_begin_all(table);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsVirtual);
	CfpRowMap  *map = cfp_row_map(table, rel);
	const CfpScopeRow *row;
	ReservoirStateData reservoir;
	double		skip = -1;
	double		seen = 0;
	int			kept = 0;
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "cfp sample",
												  ALLOCSET_DEFAULT_SIZES);

	reservoir_init_selection_state(&reservoir, wanted);
	while ((row = cfp_scope_next(scan)) != NULL)
	{
		int			place = -1;

		if (kept < wanted)
			place = kept++;
		else
		{
			if (skip < 0)
				skip = reservoir_get_next_S(&reservoir, seen, wanted);
			if (skip <= 0)
			{
				place = (int) (wanted * sampler_random_fract(&reservoir.randstate));
				heap_freetuple(rows[place]);
			}
			skip--;
		}
		if (place >= 0)
		{
			MemoryContext old = MemoryContextSwitchTo(context);

			cfp_row_show(map, slot, &row->name, row->record, row->txid);
			MemoryContextSwitchTo(old);
			rows[place] = ExecCopySlotHeapTuple(slot);
			MemoryContextReset(context);
		}
		seen++;
		CHECK_FOR_INTERRUPTS();
	}
	cfp_scope_end(scan);
	ExecDropSingleTupleTableSlot(slot);
	MemoryContextDelete(context);
	*total = seen;
	*dead = 0;
	ereport(level,
			(errmsg("\"%s\": %.0f items, %d of them in the sample",
					RelationGetRelationName(rel), seen, kept)));
	return kept;
}

bool
cfp_foreign_analyze(Relation rel, AcquireSampleRowsFunc *sample, BlockNumber *pages)
{
	Relation	latest;

	cfp_require_preload();
	cfp_check_foreign_rights(cfp_foreign_table(RelationGetRelid(rel)), ACL_SELECT);
	latest = table_open(cfp_tables()->latest, AccessShareLock);
	*pages = RelationGetNumberOfBlocks(latest);
	table_close(latest, AccessShareLock);
	*sample = sample_items;
	return true;
}
