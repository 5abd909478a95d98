/*-------------------------------------------------------------------------
 *
 * sql_triggers.c
 *		The triggers of the extension's tables.
 *
 * They check that they are called as such, on one of the extension's own
 * tables; what they do is in gate.c, and replication.c says why a subscription
 * applies nothing to the tables of the worker.
 *
 * Locks: as gate.c.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "commands/trigger.h"
#include "replication/logicalworker.h"

#include "tables/gate.h"
#include "tables/tables.h"

PG_FUNCTION_INFO_V1(cfp_gate_trigger);
PG_FUNCTION_INFO_V1(cfp_stamp_trigger);
PG_FUNCTION_INFO_V1(cfp_floor_trigger);
PG_FUNCTION_INFO_V1(cfp_local_trigger);

static const char *const storage_tables[] = {"storage_history", "storage_latest"};
static const char *const gate_tables[] = {"storage_history", "storage_latest", "storage_floors"};
static const char *const floors_table[] = {"storage_floors"};

/* Tables that the worker alone writes. */
static const char *const local_tables[] = {
	"storage_dirty", "storage_days", "cfp_state", "cfp_pruned", "cfp_forgotten"
};

Datum
cfp_gate_trigger(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo) ||
		!TRIGGER_FIRED_FOR_STATEMENT(((TriggerData *) fcinfo->context)->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be called as a statement trigger",
						"cfp_gate_trigger")));
	cfp_check_trigger_relation(fcinfo, "cfp_gate_trigger",
							   gate_tables, lengthof(gate_tables));
	cfp_gate_statement((TriggerData *) fcinfo->context);
	return PointerGetDatum(NULL);
}

/* Is it called before any change of a row of one of these tables? */
static void
check_before_row(FunctionCallInfo fcinfo, const char *function,
				 const char *const *tables, int ntables)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		!TRIGGER_FIRED_BEFORE(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be called as a row trigger before the change",
						function)));
	cfp_check_trigger_relation(fcinfo, function, tables, ntables);
}

Datum
cfp_stamp_trigger(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	check_before_row(fcinfo, "cfp_stamp_trigger", storage_tables, lengthof(storage_tables));
	return PointerGetDatum(cfp_gate_row(trigger));
}

Datum
cfp_floor_trigger(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		!TRIGGER_FIRED_BEFORE(trigger->tg_event) || TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be called as a row trigger before an INSERT or UPDATE",
						"cfp_floor_trigger")));
	cfp_check_trigger_relation(fcinfo, "cfp_floor_trigger",
							   floors_table, lengthof(floors_table));
	return PointerGetDatum(cfp_gate_floor(trigger));
}

Datum
cfp_local_trigger(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	check_before_row(fcinfo, "cfp_local_trigger", local_tables, lengthof(local_tables));

	if (IsLogicalWorker())
		return PointerGetDatum(NULL);
	return PointerGetDatum(TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ?
						   trigger->tg_newtuple : trigger->tg_trigtuple);
}
