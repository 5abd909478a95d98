/*-------------------------------------------------------------------------
 *
 * columns.h
 *		The columns of storage_history and storage_latest: the one list.
 *
 * Whatever goes by the columns of the two tables takes them from here: their
 * numbers, names and types, and the text of statements.  The tables begin with
 * these columns in this order; what comes behind them is the user's.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_COLUMNS_H
#define CFP_COLUMNS_H

#include "postgres.h"

/* Of each column: what its number is called, its name, its type. */
#define CFP_COLUMNS(column) \
	column(KEY, key, TEXTOID) \
	column(COLLECTION, collection_name, TEXTOID) \
	column(ITEM, item_name, TEXTOID) \
	column(DATA, data, JSONBOID) \
	column(VALUE_INT, value_int, INT8OID) \
	column(VALUE_FLOAT, value_float, FLOAT8OID) \
	column(VALUE_STRING, value_string, TEXTOID) \
	column(TIMESTAMP, timestamp, TIMESTAMPTZOID) \
	column(STATUS, status, TEXTOID) \
	column(STATUS_INT, status_int, INT4OID) \
	column(USERNAME, username, TEXTOID) \
	column(UPDATED_AT, updated_at, TIMESTAMPTZOID) \
	column(VERSION, version, INT4OID) \
	column(OPERATION, operation, InvalidOid) \
	column(TXID, txid, XID8OID)

/* Their numbers, from 0; an AttrNumber is one more. */
#define CFP_COLUMN_NUMBER(id, name, type) CFP_COL_##id,
enum
{
	CFP_COLUMNS(CFP_COLUMN_NUMBER)
	CFP_NCOLS
};

/* The three names of an item come first, also in the tables derived from these. */
#define CFP_NAME_COLUMNS	(CFP_COL_ITEM + 1)

typedef struct CfpColumn
{
	const char *name;
	Oid			type;			/* InvalidOid: the extension's cfp_operation */
} CfpColumn;

extern const CfpColumn cfp_columns[CFP_NCOLS];

#endif							/* CFP_COLUMNS_H */
