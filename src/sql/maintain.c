/*-------------------------------------------------------------------------
 *
 * maintain.c
 *		Running cfp: flush, fold, what is cached, when the date ends.
 *
 * Called by the executor only.  cfp_flush() and cfp_fold() ask the worker and wait
 * (requests.c); their privilege is EXECUTE, as that of all functions here.
 *
 * Takes no lock of its own.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/calendar.h"
#include "base/preload.h"
#include "base/settings.h"
#include "cache/load.h"
#include "read/collection.h"
#include "shared/requests.h"
#include "sql/common.h"

PG_FUNCTION_INFO_V1(cfp_flush);
PG_FUNCTION_INFO_V1(cfp_fold);
PG_FUNCTION_INFO_V1(cfp_warm);
PG_FUNCTION_INFO_V1(cfp_evict);
PG_FUNCTION_INFO_V1(cfp_next_end_of_day);

Datum
cfp_flush(PG_FUNCTION_ARGS)
{
	cfp_require_preload();
	PG_RETURN_INT64(cfp_request(CFP_REQUEST_FLUSH));
}

Datum
cfp_fold(PG_FUNCTION_ARGS)
{
	cfp_require_preload();
	PG_RETURN_INT64(cfp_request(CFP_REQUEST_FOLD));
}

/* cfp_warm(key, collection_name): items loaded; NULL when it cannot be cached. */
Datum
cfp_warm(PG_FUNCTION_ARGS)
{
	CfpCollectionName name;
	int64		nitems;

	cfp_require_preload();
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	cfp_collection_arguments(fcinfo, &name);
	nitems = cfp_collection_warm(&name);
	if (nitems < 0)
		PG_RETURN_NULL();
	PG_RETURN_INT64(nitems);
}

/* cfp_evict(key, collection_name) */
Datum
cfp_evict(PG_FUNCTION_ARGS)
{
	CfpCollectionName name;

	cfp_require_preload();
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	cfp_collection_arguments(fcinfo, &name);
	PG_RETURN_BOOL(cfp_collection_evict(&name));
}

Datum
cfp_next_end_of_day(PG_FUNCTION_ARGS)
{
	TimestampTz now;

	cfp_require_preload();
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	now = PG_GETARG_TIMESTAMPTZ(0);
	if (TIMESTAMP_NOT_FINITE(now))
		PG_RETURN_TIMESTAMPTZ(now);
	PG_RETURN_TIMESTAMPTZ(cfp_calendar_next(now, cfp_calendar_zone(),
											cfp_end_of_day_seconds()));
}
