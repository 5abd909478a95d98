/*-------------------------------------------------------------------------
 *
 * tables.h
 *		Where the extension's tables are in this database, and who may use them.
 *
 * Everything here is remembered per backend and forgotten on invalidation
 * (relcache for the tables, pg_extension, pg_namespace, roles), so a call is
 * a few comparisons.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_TABLES_H
#define CFP_TABLES_H

#include "base/names.h"

#include "access/attnum.h"
#include "commands/trigger.h"
#include "utils/acl.h"
#include "utils/relcache.h"

typedef struct CfpTables
{
	Oid			extension;
	Oid			schema;
	Oid			owner;			/* of storage_history */
	Oid			history;
	Oid			history_pkey;
	Oid			history_txid;	/* btree on txid */
	Oid			latest;
	Oid			latest_pkey;
	Oid			dirty;
	Oid			dirty_pkey;
	Oid			floors;
	Oid			floors_index;	/* on the names */
	Oid			days;
	Oid			state;
	Oid			state_pkey;
	Oid			gate;
	Oid			current;		/* the foreign table storage_current */
	bool		cacheable;		/* gate triggers enabled on history, latest
								 * and floors, no subscription writes to the
								 * first two */
	bool		triggers_origin;	/* enabled on all three, but not for
									 * session_replication_role = replica */
} CfpTables;

/*
 * The tables of this database.  The pointer stays good until the next time
 * invalidations are accepted (so: copy what must outlive a lock acquisition).
 * Needs a transaction.  Throws 55000 with a hint when the extension is not
 * installed here, or a storage table is missing or altered (names the table
 * and the column).
 */
static inline const CfpTables *cfp_tables(void);

/* How the message of the latter begins. */
#define CFP_TABLE_UNUSABLE	"cfp cannot use table "

/* The tables of this database without an error about that: NULL when the extension is not installed here. */
extern const CfpTables *cfp_tables_if_installed(void);

/* Not to be used directly: what cfp_tables() remembers, and how it looks up. */
extern CfpTables cfp_tables_found;
extern bool cfp_tables_valid;
extern const CfpTables *cfp_tables_look_up(void);

static inline const CfpTables *
cfp_tables(void)
{
	return likely(cfp_tables_valid) ? &cfp_tables_found : cfp_tables_look_up();
}

/*
 * The tables that readers read, locked in ACCESS SHARE to the end of the
 * transaction.  A lock accepts what a REINDEX CONCURRENTLY has changed; what
 * was copied before would name an index that is gone.
 */
extern CfpTables cfp_tables_locked(void);

/*
 * A valid btree of the table that begins with these columns; InvalidOid when
 * there is none.  For those who must get along with tables in any state.
 */
extern Oid	cfp_index_on(Relation rel, const AttrNumber *columns, int ncolumns);

/*
 * The oid of one of the extension's tables, whatever state the tables are
 * in; InvalidOid when there is none of this name.  Throws nothing.
 */
extern Oid	cfp_table_oid(const char *name);

/* The same of any relation of the extension.  Throws 55000 when there is none. */
extern Oid	cfp_required_oid(const char *name);

/*
 * Throws 39P01 unless a trigger function was called for one of these relations
 * of the extension: on one of somebody else's it could be given rows of any
 * shape, or stop all stores.  Call it once it is known to be a trigger's call.
 */
extern void cfp_check_trigger_relation(FunctionCallInfo fcinfo, const char *function,
									   const char *const *relations, int nrelations);

/*
 * In a row trigger of history or latest before an UPDATE that leaves no name
 * NULL: do the names stay?
 */
extern bool cfp_updates_same_item(const TriggerData *trigger);

/*
 * The current user must hold the privilege (ACL_SELECT, ACL_INSERT |
 * ACL_UPDATE meaning either, ACL_UPDATE, ACL_DELETE) on storage_current, and row
 * security must not be active for it on a storage table.  Throws 42501 whose
 * hint prints the GRANT, or 0A000.  Cheap when asked again by the same user.
 */
extern void cfp_check_privilege(AclMode mode);

/* Has the current user the privilege to read items? */
extern bool cfp_may_read(void);

/* Asks for SELECT on storage_history (cfp_history), as cfp_check_privilege() does. */
extern void cfp_check_history_privilege(void);

/* Row security alone: throws 0A000 when it is active on a storage table. */
extern void cfp_check_row_security(void);

/* Register the invalidation callbacks; called once by _PG_init. */
extern void cfp_tables_init(void);

#endif							/* CFP_TABLES_H */
