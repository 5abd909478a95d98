/*-------------------------------------------------------------------------
 *
 * aside.c
 *		Commands that need a worker away, or that launcher and worker hear of.
 *
 * The utility hook, in every session, does three things.
 *
 * 1.  It notes statements whose commit the launcher or the worker must hear
 *	   of; the transaction callback tells them.
 * 2.  Before DROP DATABASE, ALTER DATABASE ... RENAME or SET TABLESPACE and
 *	   CREATE DATABASE ... TEMPLATE, which refuse a database with sessions,
 *	   and before the extension is dropped, it makes the worker step aside:
 *	   raises stepping_aside in the entry, terminates the worker and waits
 *	   until it has left.  The mark is taken back by the transaction callback,
 *	   which runs at commit, at abort and when the session is terminated, so
 *	   it cannot stay behind.
 * 3.  After ALTER TABLE it lets gate.c see whether triggers were switched.
 *
 * Locks: the entry's lock, for moments (database.c).  The transaction callback
 * allocates nothing, and nothing throws in it.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/latch.h"
#include "storage/procarray.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "shared/database.h"
#include "store/commit.h"
#include "tables/gate.h"
#include "tables/tables.h"
#include "worker/aside.h"

#define ASIDE_TIMEOUT		10000	/* ms to wait for a worker to leave */

/* What this session's transaction has to tell when it ends. */
static bool tell_install = false;	/* CREATE EXTENSION */
static bool tell_worker = false;	/* DROP EXTENSION, also by its schema or
									 * owner */
static bool tell_launcher = false;	/* CREATE DATABASE */
static Oid	aside_database = InvalidOid;	/* its worker steps aside */

static ProcessUtility_hook_type prev_ProcessUtility = NULL;

/*
 * May the current user give such a command on the database?  The command
 * checks for itself; this keeps others from chasing the worker away.
 */
static bool
may_command(Oid dboid, bool as_template)
{
	HeapTuple	tuple;
	bool		result = false;

	if (superuser())
		return true;
	if (as_template)
	{
		tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
		if (HeapTupleIsValid(tuple))
		{
			result = ((Form_pg_authid) GETSTRUCT(tuple))->rolcreatedb;
			ReleaseSysCache(tuple);
		}
		return result;
	}
	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(dboid));
	if (HeapTupleIsValid(tuple))
	{
		result = has_privs_of_role(GetUserId(),
								   ((Form_pg_database) GETSTRUCT(tuple))->datdba);
		ReleaseSysCache(tuple);
	}
	return result;
}

/* The name of the database that the statement needs without sessions. */
static const char *
database_to_clear(Node *statement, bool *as_template)
{
	*as_template = false;
	switch (nodeTag(statement))
	{
		case T_DropdbStmt:
			return ((DropdbStmt *) statement)->dbname;

		case T_RenameStmt:
			if (((RenameStmt *) statement)->renameType == OBJECT_DATABASE)
				return ((RenameStmt *) statement)->subname;
			return NULL;

		case T_AlterDatabaseStmt:
			{
				ListCell   *lc;

				foreach(lc, ((AlterDatabaseStmt *) statement)->options)
					if (strcmp(((DefElem *) lfirst(lc))->defname, "tablespace") == 0)
					return ((AlterDatabaseStmt *) statement)->dbname;
				return NULL;
			}

		case T_CreatedbStmt:
			{
				ListCell   *lc;

				*as_template = true;
				foreach(lc, ((CreatedbStmt *) statement)->options)
				{
					DefElem    *option = lfirst(lc);

					if (strcmp(option->defname, "template") == 0 && option->arg != NULL)
						return defGetString(option);
				}
				return "template1";
			}

		default:
			return NULL;
	}
}

/*
 * Is it there?  It puts its pid into the entry (*published) before it connects,
 * and takes it out before it leaves the list of processes, for which others
 * count it.
 */
static bool
is_there(CfpDatabase *db, const int *published, int pid)
{
	bool		there;

	LWLockAcquire(&db->lock, LW_SHARED);
	there = *published == pid;
	LWLockRelease(&db->lock);
	return there || BackendPidGetProc(pid) != NULL;
}

/* Wait until the process has left, or the time since is too long. */
static void
wait_for_exit(CfpDatabase *db, const int *published, int pid, TimestampTz since)
{
	while (pid != 0 && is_there(db, published, pid) &&
		   !TimestampDifferenceExceeds(since, GetCurrentTimestamp(), ASIDE_TIMEOUT))
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 2, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/* Send the database's worker and job worker away and wait until they have left. */
static void
send_worker_away(Oid dboid)
{
	CfpDatabase *db = cfp_find_database(dboid, true);
	TimestampTz since = GetCurrentTimestamp();
	int			pid;
	int			job_pid;

	/* One at a time: the callback takes back one mark. */
	Assert(!OidIsValid(aside_database));
	if (db == NULL)
		return;

	LWLockAcquire(&db->lock, LW_EXCLUSIVE);
	db->stepping_aside++;
	pid = db->worker_pid;
	if (pid != 0)
		kill(pid, SIGTERM);
	job_pid = db->job.worker_pid;
	if (job_pid != 0)
		kill(job_pid, SIGTERM);
	LWLockRelease(&db->lock);
	aside_database = dboid;

	wait_for_exit(db, &db->worker_pid, pid, since);
	wait_for_exit(db, &db->job.worker_pid, job_pid, since);
}

/*
 * Would the statement drop the extension of this database, if the current
 * user may?
 */
static bool
may_drop_extension(Node *statement)
{
	Oid			history;
	HeapTuple	tuple;
	Form_pg_class form;
	bool		named = false;
	bool		result;
	ListCell   *lc;

	if (!IsA(statement, DropStmt) && !IsA(statement, DropOwnedStmt))
		return false;
	if (IsA(statement, DropStmt) &&
		((DropStmt *) statement)->removeType != OBJECT_EXTENSION &&
		((DropStmt *) statement)->removeType != OBJECT_SCHEMA)
		return false;

	history = cfp_table_oid("storage_history");
	if (!OidIsValid(history))
		return false;
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(history));
	if (!HeapTupleIsValid(tuple))
		return false;
	form = (Form_pg_class) GETSTRUCT(tuple);
	result = has_privs_of_role(GetUserId(), form->relowner);
	if (IsA(statement, DropOwnedStmt))
		named = true;
	else
	{
		const char *wanted = ((DropStmt *) statement)->removeType == OBJECT_EXTENSION ?
		CFP_EXTENSION_NAME : get_namespace_name(form->relnamespace);

		foreach(lc, ((DropStmt *) statement)->objects)
			named = named || (wanted != NULL && strcmp(strVal(lfirst(lc)), wanted) == 0);
	}
	ReleaseSysCache(tuple);
	return result && named;
}

static void
cfp_ProcessUtility(PlannedStmt *pstmt, const char *query, bool read_only_tree,
				   ProcessUtilityContext context, ParamListInfo params,
				   QueryEnvironment *environment, DestReceiver *dest,
				   QueryCompletion *completion)
{
	Node	   *statement = pstmt->utilityStmt;
	NodeTag		tag = nodeTag(statement);
	const char *name;
	bool		as_template;
	bool		drops_extension = may_drop_extension(statement);

	name = database_to_clear(statement, &as_template);
	if (name != NULL && !OidIsValid(aside_database) && !RecoveryInProgress())
	{
		Oid			dboid = get_database_oid(name, true);

		if (OidIsValid(dboid) && may_command(dboid, as_template))
			send_worker_away(dboid);
	}

	/*
	 * Dropping the extension locks its tables in an order of its own, which
	 * may meet the worker's in a deadlock.
	 */
	if (drops_extension && !OidIsValid(aside_database) && !RecoveryInProgress())
		send_worker_away(MyDatabaseId);

	if (prev_ProcessUtility)
		prev_ProcessUtility(pstmt, query, read_only_tree, context, params,
							environment, dest, completion);
	else
		standard_ProcessUtility(pstmt, query, read_only_tree, context, params,
								environment, dest, completion);

	if (tag == T_AlterTableStmt)
		cfp_gate_altered((AlterTableStmt *) statement);
	cfp_pending_after_utility();

	/* CASCADE may have brought cfp with another extension: take any. */
	if (tag == T_CreateExtensionStmt)
		tell_install = true;
	if (tag == T_CreatedbStmt)
		tell_launcher = true;
	if (drops_extension)
		tell_worker = true;
}

/* Let the worker come back.  Cannot throw. */
static void
end_stepping_aside(void)
{
	CfpDatabase *db = cfp_find_database(aside_database, false);

	if (db != NULL)
	{
		LWLockAcquire(&db->lock, LW_EXCLUSIVE);
		if (db->stepping_aside > 0)
			db->stepping_aside--;
		LWLockRelease(&db->lock);
	}
	aside_database = InvalidOid;
	cfp_wake_launcher();
}

/* Tell of a committed CREATE EXTENSION.  Cannot throw. */
static void
note_install(void)
{
	CfpDatabase *db = cfp_find_database(MyDatabaseId, false);

	if (db != NULL)
	{
		LWLockAcquire(&db->lock, LW_EXCLUSIVE);
		db->installs++;
		db->not_installed = false;
		LWLockRelease(&db->lock);
	}
	cfp_wake_launcher();
}

static void
aside_xact_callback(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT &&
		event != XACT_EVENT_PREPARE)
		return;

	if (OidIsValid(aside_database))
		end_stepping_aside();

	/* A prepared transaction commits elsewhere: look, and find it or not. */
	if (event != XACT_EVENT_ABORT)
	{
		if (tell_install)
			note_install();
		if (tell_worker)
		{
			CfpDatabase *db = cfp_find_database(MyDatabaseId, false);

			if (db != NULL)
				cfp_wake_worker(db);
		}
		if (tell_launcher)
			cfp_wake_launcher();
	}
	tell_install = tell_worker = tell_launcher = false;
}

void
cfp_aside_init(void)
{
	prev_ProcessUtility = ProcessUtility_hook;
	ProcessUtility_hook = cfp_ProcessUtility;
	RegisterXactCallback(aside_xact_callback, NULL);
}
