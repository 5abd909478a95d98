/*-------------------------------------------------------------------------
 *
 * operation.c
 *		What a record did to its item: the enum cfp_operation.
 *
 * The claim of a version finds it out (store/claim.c); it is a column of the
 * tables, a member of a day file's lines, and a bit of a cached record.
 *
 * The oids of the type and its values are other ones in each database; they are
 * remembered in this backend, and tables.c looks them up with the tables.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_enum.h"
#include "utils/syscache.h"

#include "record/operation.h"

const char *const cfp_operation_names[CFP_OPERATIONS] = {
	[CFP_CREATE] = "create",
	[CFP_UPDATE] = "update",
	[CFP_DELETE] = "delete"
};

static Oid	operation_type = InvalidOid;
static Oid	operation_values[CFP_OPERATIONS];

bool
cfp_operation_set_type(Oid type)
{
	operation_type = InvalidOid;
	if (!OidIsValid(type))
		return false;
	for (int i = 0; i < CFP_OPERATIONS; i++)
	{
		operation_values[i] = GetSysCacheOid2(ENUMTYPOIDNAME, Anum_pg_enum_oid,
											  ObjectIdGetDatum(type),
											  CStringGetDatum(cfp_operation_names[i]));
		if (!OidIsValid(operation_values[i]))
			return false;
	}
	operation_type = type;
	return true;
}

Oid
cfp_operation_type(void)
{
	return operation_type;
}

Datum
cfp_operation_datum(CfpOperation operation)
{
	if (unlikely(!OidIsValid(operation_type)))
		elog(ERROR, "type " CFP_OPERATION_TYPE " has not been looked up");
	/* As a row's column is fetched, so that the two compare as equal. */
	return Int32GetDatum((int32) operation_values[operation]);
}

CfpOperation
cfp_operation_of(Datum datum)
{
	Oid			value = DatumGetObjectId(datum);

	Assert(OidIsValid(operation_type));
	if (value == operation_values[CFP_CREATE])
		return CFP_CREATE;
	return value == operation_values[CFP_DELETE] ? CFP_DELETE : CFP_UPDATE;
}

bool
cfp_operation_named(const char *name, CfpOperation *operation)
{
	for (int i = 0; i < CFP_OPERATIONS; i++)
	{
		if (strcmp(name, cfp_operation_names[i]) == 0)
		{
			*operation = i;
			return true;
		}
	}
	return false;
}
