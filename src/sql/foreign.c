/*-------------------------------------------------------------------------
 *
 * foreign.c
 *		The foreign table storage_current: its columns.
 *
 * Called when a statement on it is planned, and when it begins.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "access/table.h"
#include "catalog/pg_type_d.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "sql/foreign.h"
#include "tables/tables.h"

static const CfpColumn value_column = {"value", JSONBOID};

void
cfp_check_foreign_table(Oid table)
{
	Relation	rel;
	TupleDesc	desc;
	int			wrong = -1;

	if (table != cfp_tables()->current)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("foreign table \"%s\" is not one of cfp's", get_rel_name(table)),
				 errhint("Use storage_current, or a view over it.")));
	rel = table_open(table, NoLock);
	desc = RelationGetDescr(rel);
	for (int i = 0; i < desc->natts && wrong < 0; i++)
	{
		const CfpColumn *column = i < CFP_NCOLS ? &cfp_columns[i] : &value_column;
		Form_pg_attribute form = TupleDescAttr(desc, i);

		if (i >= CURRENT_NCOLS ? !form->attisdropped :
			form->attisdropped || form->atttypid != column->type ||
			strcmp(NameStr(form->attname), column->name) != 0)
			wrong = i;
	}
	if (wrong >= 0 || desc->natts < CURRENT_NCOLS)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("foreign table storage_current has been altered"),
				 wrong >= CURRENT_NCOLS ?
				 errdetail("Column \"%s\" is none of its own.", NameStr(TupleDescAttr(desc, wrong)->attname)) :
				 errdetail("Column \"%s\" is not as it was.",
						   wrong >= 0 && wrong < CFP_NCOLS ? cfp_columns[wrong].name : value_column.name),
				 errhint("Undo the change.")));
	table_close(rel, NoLock);
}
