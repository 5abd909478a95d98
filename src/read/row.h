/*-------------------------------------------------------------------------
 *
 * row.h
 *		A row of a collection, and which rows are wanted.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_ROW_H
#define CFP_ROW_H

#include "record/record.h"
#include "tables/read_collection.h"

/* One row of a collection. */
typedef struct CfpRow
{
	const char *item;
	int			item_len;
	const CfpRecord *record;
	uint64		txid;
	bool		own;			/* pending in this transaction */
} CfpRow;

/* What reads of many collections, with one snapshot, have in common. */
typedef struct CfpManyReads
{
	MemoryContext context;		/* where they have it */
	CfpTableReader *tables;		/* NULL: none of them has come to the tables */
} CfpManyReads;

typedef struct CfpReadOptions
{
	CfpItemRange range;			/* all zero: everything */
	bool		backward;		/* the last item first */
	int64		max_items;		/* 0: no limit; counts rows given out */
	bool		include_deleted;
	bool		has_command;	/* of own records those of commands before
								 * `command` */
	CommandId	command;
	bool		no_fill;		/* what is not in the cache stays out of it */
	bool		no_records;		/* only their headers are looked at */
	bool		again;			/* the same read has been here before: not
								 * counted */
	CfpManyReads *many;			/* one of many; NULL: it is alone */
} CfpReadOptions;

#endif							/* CFP_ROW_H */
