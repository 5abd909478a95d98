/*-------------------------------------------------------------------------
 *
 * foreign.h
 *		Foreign tables of cfp: what their columns are.
 *
 * See the head of foreign.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_FOREIGN_H
#define CFP_FOREIGN_H

#include "base/names.h"

#include "access/attnum.h"
#include "nodes/parsenodes.h"

#include "record/columns.h"

/*
 * The fields of an item that a column can be: the columns of the storage tables
 * (CFP_COL_...), and the value as jsonb.  storage_current has just these.
 */
#define CFP_FIELD_VALUE		CFP_NCOLS
#define CFP_NFIELDS			(CFP_NCOLS + 1)

/* A column that is a member of data, and one that has been dropped. */
#define CFP_FIELD_MEMBER	CFP_NFIELDS
#define CFP_FIELD_DROPPED	(CFP_NFIELDS + 1)

typedef struct CfpForeignColumn
{
	int			field;
	const char *member;			/* of data, where it is written to; NULL: none */
	int			member_len;
	bool		keep_null;		/* NULL is stored as JSON null */
} CfpForeignColumn;

typedef struct CfpForeignTable
{
	Oid			relid;
	Oid			owner;
	bool		is_current;		/* storage_current: the columns are the fields */
	const char *name[CFP_NAME_COLUMNS]; /* bound by the table's options, or
										 * NULL */
	AttrNumber	name_column[CFP_NAME_COLUMNS];	/* 0: has none */
	int			natts;
	CfpForeignColumn columns[FLEXIBLE_ARRAY_MEMBER];
} CfpForeignTable;

/*
 * What a foreign table is.  The caller has a lock on it, and may use the result to
 * the end of the transaction.  Throws HV000 and others for options that do not fit
 * its columns, 55000 for a storage_current that has been altered.
 */
extern const CfpForeignTable *cfp_foreign_table(Oid relid);

/*
 * For what is about to be done with the table, whose privileges the server has
 * checked: its owner must have the privilege on storage_current, as for a view
 * over it.  Throws 42501, and 0A000 when row security is active.
 */
extern void cfp_check_foreign_rights(const CfpForeignTable *table, AclMode mode);

/* Throws HV00D and HV024 for an option that what the catalog lists cannot have. */
extern void cfp_check_foreign_options(Oid catalog, List *options);

/* The field of this name; -1 when there is none. */
extern int	cfp_field_named(const char *name);

/* The type of a field. */
extern Oid	cfp_field_type(int field);

/* Called once by _PG_init. */
extern void cfp_foreign_init(void);

#endif							/* CFP_FOREIGN_H */
