/*-------------------------------------------------------------------------
 *
 * lock.c
 *		Locking items: cfp_lock().
 *
 * Called by the executor only.  It checks in this order: that cfp was preloaded,
 * its arguments, the caller's privilege; then it hands over to store/lock.c.
 *
 * Takes no lock of its own.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "access/xact.h"
#include "utils/acl.h"
#include "utils/snapmgr.h"

#include "base/preload.h"
#include "read/item.h"
#include "sql/common.h"
#include "store/lock.h"
#include "tables/tables.h"

PG_FUNCTION_INFO_V1(cfp_lock);

/* NULL is false. */
static bool
flag_argument(FunctionCallInfo fcinfo, int n)
{
	return !PG_ARGISNULL(n) && PG_GETARG_BOOL(n);
}

/* cfp_lock(key, item_name, collection_name, shared, nowait, skip_locked) */
Datum
cfp_lock(PG_FUNCTION_ARGS)
{
	CfpItemName name;
	CfpRecord  *record;
	LockWaitPolicy policy;
	int32		version;

	cfp_require_preload();
	cfp_require_key(fcinfo);
	cfp_item_arguments(fcinfo, 0, 1, 2, &name);
	cfp_check_names(&name);
	if (flag_argument(fcinfo, 4) && flag_argument(fcinfo, 5))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("nowait and skip_locked cannot both be true"),
				 errhint("Of an item that is locked nowait makes an error, skip_locked NULL.")));
	policy = flag_argument(fcinfo, 4) ? LockWaitError :
		flag_argument(fcinfo, 5) ? LockWaitSkip : LockWaitBlock;
	cfp_check_privilege(ACL_SELECT);
	cfp_check_privilege(ACL_UPDATE);

	if (!cfp_item_lock(&name, !flag_argument(fcinfo, 3), policy))
		PG_RETURN_NULL();

	/* The statement's snapshot may be older than what was waited for. */
	PushActiveSnapshot(IsolationUsesXactSnapshot() ? GetActiveSnapshot() : GetLatestSnapshot());
	record = cfp_read_item(&name, NULL);
	version = record == NULL || CFP_RECORD_IS_TOMBSTONE(record) ? 0 : record->version;
	PopActiveSnapshot();
	PG_RETURN_INT32(version);
}
