/*-------------------------------------------------------------------------
 *
 * operation.h
 *		What a record did to its item: the enum cfp_operation.
 *
 * See the head of operation.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_OPERATION_H
#define CFP_OPERATION_H

#include "postgres.h"

typedef enum CfpOperation
{
	CFP_CREATE,					/* no live record of the item was there */
	CFP_UPDATE,
	CFP_DELETE					/* a tombstone */
} CfpOperation;

#define CFP_OPERATIONS			(CFP_DELETE + 1)
#define CFP_OPERATION_TYPE		"cfp_operation"

extern const char *const cfp_operation_names[CFP_OPERATIONS];

/*
 * The type in this database, InvalidOid: none.  Looks up its values; false when
 * one is missing.  Called whenever the tables are looked up, before records
 * become rows or rows records.
 */
extern bool cfp_operation_set_type(Oid type);
extern Oid	cfp_operation_type(void);

/* To a value of the type, and back; what is no value of it counts as update. */
extern Datum cfp_operation_datum(CfpOperation operation);
extern CfpOperation cfp_operation_of(Datum datum);

/* By its name; false when it is none. */
extern bool cfp_operation_named(const char *name, CfpOperation *operation);

/*
 * What a record's operation is that does not come with one, or with one that
 * cannot be: of a tombstone always delete, else create for the first version.
 */
static inline CfpOperation
cfp_operation_derived(bool tombstone, int32 version)
{
	return tombstone ? CFP_DELETE : version == 1 ? CFP_CREATE : CFP_UPDATE;
}

#endif							/* CFP_OPERATION_H */
