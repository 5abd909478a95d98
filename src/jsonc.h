/*-------------------------------------------------------------------------
 *
 * jsonc.h
 *		json-c, beside the server's headers: both have a json_object.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_JSONC_H
#define CFP_JSONC_H

/* json-c's type; the server's is the SQL function of this name. */
#define json_object jsonc_object
#include <json-c/json.h>
#undef json_object

typedef struct jsonc_object jsonc_object;

#endif							/* CFP_JSONC_H */
