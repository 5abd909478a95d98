/*-------------------------------------------------------------------------
 *
 * state_columns.h
 *		The columns of cfp_state: the one list.
 *
 * For state.c, which alone reads and writes them, and for tables.c, which
 * checks that the table has them in this order.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_STATE_COLUMNS_H
#define CFP_STATE_COLUMNS_H

/* Of each column: what its number is called, its name, its type. */
#define CFP_STATE_COLUMNS(column) \
	column(NAME, name, TEXTOID) \
	column(SYSTEM_IDENTIFIER, system_identifier, INT8OID) \
	column(DATABASE_OID, database_oid, OIDOID) \
	column(SNAPSHOT, snapshot, PG_SNAPSHOTOID) \
	column(COUNTER, counter, INT8OID) \
	column(DATE, date, DATEOID) \
	column(FILE, file, INT4OID) \
	column(LENGTH, length, INT8OID) \
	column(AT, at, TIMESTAMPTZOID) \
	column(VERSION, version, INT4OID) \
	column(INCARNATION, incarnation, UUIDOID)

#endif							/* CFP_STATE_COLUMNS_H */
