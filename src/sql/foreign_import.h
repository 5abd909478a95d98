/*-------------------------------------------------------------------------
 *
 * foreign_import.h
 *		IMPORT FOREIGN SCHEMA: typed tables for the collections of a key.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_FOREIGN_IMPORT_H
#define CFP_FOREIGN_IMPORT_H

#include "base/names.h"

#include "foreign/fdwapi.h"

/* The wrapper's part in IMPORT FOREIGN SCHEMA; see fdwapi.h. */
extern List *cfp_foreign_import(ImportForeignSchemaStmt *stmt, Oid server);

#endif							/* CFP_FOREIGN_IMPORT_H */
