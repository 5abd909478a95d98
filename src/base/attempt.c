/*-------------------------------------------------------------------------
 *
 * attempt.c
 *		A step whose error does not end the transaction.
 *
 * For what may fail by the state of the disk or of a table, where there is
 * something else to do then.  The step is a subtransaction.
 *
 * Locks: none of its own; those of a step that fails are released.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "access/xact.h"
#include "utils/resowner.h"

#include "base/attempt.h"

ErrorData *
cfp_attempt(void (*step) (void *arg), void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		step(arg);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;

	if (error != NULL && error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		ReThrowError(error);
	return error;
}
