/*-------------------------------------------------------------------------
 *
 * preload.c
 *		Is cfp in shared_preload_libraries, so that its shared memory is there?
 *
 * A backend that loads the library by itself has the settings and the
 * callbacks that keep the tables right, and no shared memory.  Whatever needs
 * that asks here first.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "base/preload.h"

bool		cfp_preloaded = false;

void
cfp_require_preload(void)
{
	if (cfp_preloaded)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("cfp must be loaded through shared_preload_libraries"),
			 errhint("Add cfp to shared_preload_libraries in postgresql.conf and restart the server.")));
}
