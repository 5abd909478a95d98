/* Stand-ins until each job's branch is merged; goes then. */
#include "cfp.h"
#include "jobs.h"

#define MISSING(name) \
	int64 name(const CfpJobArgs *args) pg_attribute_weak; \
	int64 name(const CfpJobArgs *args) \
	{ \
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg(#name " is missing"))); \
		return 0; \
	}
#define pg_attribute_weak __attribute__((weak))

MISSING(cfp_backup_job)
MISSING(cfp_verify_backup_job)
MISSING(cfp_restore_backup_job)
MISSING(cfp_prune_history_job)
MISSING(cfp_rebuild_history_job)
MISSING(cfp_rebuild_latest_job)
