/*-------------------------------------------------------------------------
 *
 * jsonc.h
 *		json-c, beside the server's headers: both have a json_object; and its
 *		allocations, checked.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_JSONC_H
#define CFP_JSONC_H

#include "base/names.h"

/* json-c's type; the server's is the SQL function of this name. */
#define json_object jsonc_object
#include <json-c/json.h>
#undef json_object

typedef struct jsonc_object jsonc_object;

/* json-c tells by what it returns. */
static inline void
cfp_jsonc_out_of_memory(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_OUT_OF_MEMORY),
			 errmsg("out of memory"),
			 errdetail("JSON could not be made or read.")));
}

/* An object that was made just now. */
static inline jsonc_object *
cfp_jsonc_made(jsonc_object *object)
{
	if (object == NULL)
		cfp_jsonc_out_of_memory();
	return object;
}

/* Add a member; NULL is JSON's. */
static inline void
cfp_jsonc_add(jsonc_object *object, const char *name, jsonc_object *value)
{
	if (json_object_object_add(object, name, value) != 0)
		cfp_jsonc_out_of_memory();
}

static inline void
cfp_jsonc_add_string(jsonc_object *object, const char *name, const char *value)
{
	cfp_jsonc_add(object, name,
				  value == NULL ? NULL : cfp_jsonc_made(json_object_new_string(value)));
}

static inline void
cfp_jsonc_add_int(jsonc_object *object, const char *name, int64 value)
{
	cfp_jsonc_add(object, name, cfp_jsonc_made(json_object_new_int64(value)));
}

#endif							/* CFP_JSONC_H */
