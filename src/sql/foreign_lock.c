/*-------------------------------------------------------------------------
 *
 * foreign_lock.c
 *		SELECT ... FOR UPDATE and the like on a foreign table of cfp.
 *
 * The executor locks a row when the plan has found that it is to be returned, so
 * a LIMIT locks no more than it returns.  The row's item is locked then, and read
 * anew: where it has changed since the statement read it, the executor asks the
 * conditions again.
 *
 * An item's names never change, so FOR KEY SHARE is as FOR SHARE, and FOR NO KEY
 * UPDATE as FOR UPDATE.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/executor.h"

#include "base/names.h"
#include "sql/foreign.h"
#include "sql/foreign_lock.h"
#include "sql/foreign_seen.h"
#include "store/lock.h"

RowMarkType
cfp_foreign_row_mark(RangeTblEntry *entry, LockClauseStrength strength)
{
	switch (strength)
	{
		case LCS_NONE:
			break;
		case LCS_FORKEYSHARE:
			return ROW_MARK_KEYSHARE;
		case LCS_FORSHARE:
			return ROW_MARK_SHARE;
		case LCS_FORNOKEYUPDATE:
			return ROW_MARK_NOKEYEXCLUSIVE;
		case LCS_FORUPDATE:
			return ROW_MARK_EXCLUSIVE;
	}
	return ROW_MARK_COPY;
}

void
cfp_foreign_lock_row(EState *estate, ExecRowMark *mark, Datum row_number,
					 TupleTableSlot *slot, bool *updated)
{
	CfpSeen    *seen = cfp_seen_of(estate, mark->rti);
	ItemPointer tid = (ItemPointer) DatumGetPointer(row_number);
	bool		exclusive = mark->markType == ROW_MARK_EXCLUSIVE ||
	mark->markType == ROW_MARK_NOKEYEXCLUSIVE;
	CfpItemName name;
	int32		version = cfp_seen_item(seen, tid, &name);
	CfpRecord  *record = NULL;
	uint64		txid;
	MemoryContext old;

	cfp_check_foreign_rights(cfp_foreign_table(mark->relid), ACL_UPDATE);
	ExecClearTuple(slot);

	/* The executor calls in the memory of the statement, for each row. */
	old = MemoryContextSwitchTo(cfp_seen_row_context(seen));
	if (cfp_item_lock(&name, exclusive, mark->waitPolicy))
		record = cfp_item_now(&name, estate, &txid);
	if (record != NULL)			/* else not to be had, or deleted meanwhile */
	{
		cfp_row_show(cfp_seen_map(seen), slot, &name, record, txid);
		slot->tts_tid = *tid;
		ExecMaterializeSlot(slot);
		*updated = record->version != version;
	}
	MemoryContextSwitchTo(old);
}
