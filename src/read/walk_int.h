/*-------------------------------------------------------------------------
 *
 * walk_int.h
 *		A walk through a collection's rows, for the files of the wing.
 *
 * See the head of walk.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_WALK_INT_H
#define CFP_WALK_INT_H

#include "read/reader_int.h"
#include "read/row.h"

/* The row's JSON text; data NULL: not at hand. */
typedef struct CfpRowText
{
	const char *data;
	int			len;
} CfpRowText;

/* A row copied out of the cache. */
typedef struct CfpBatchRow
{
	CfpRow		row;			/* with a text at hand, or where records are
								 * not wanted, only the record's header */
	CfpRowText	json;
	bool		pruned;			/* look in the tables */
	bool		make_json;		/* to be kept in the cache when made */
} CfpBatchRow;

/* Where the rows of a walk go, in order of item name. */
typedef struct CfpRowSink CfpRowSink;

struct CfpRowSink
{
	/*
	 * Take a row; false when that is enough.  What it points to lives until
	 * the return.  May throw; no lock is held.
	 */
	bool		(*take) (CfpRowSink *sink, const CfpRow *row, CfpRowText json);

	/*
	 * The walk goes over what the same get has read before: it is not
	 * counted.
	 */
	bool		again;

	/*
	 * With `counts` rows that the cache has, and that need no other look, are
	 * not given but added up.
	 */
	bool		counts;
	int64		counted;

	/*
	 * With `texts` the rows are wanted as JSON text, and all that follows is
	 * called for each batch: before the collection is locked; with the lock
	 * held in any mode, to take items whose texts the cache has, from the
	 * place `start` of the order array on, where nothing may throw or
	 * allocate, and in *full is returned whether the batch is full, else the
	 * item at the place returned has no text; and after the lock is released,
	 * to make the texts of rows that have none.
	 */
	bool		texts;
	void		(*before_batch) (CfpRowSink *sink);
	uint32		(*take_in_place) (CfpRowSink *sink, const CfpReader *reader,
								  const CfpCollection *col, uint32 start, bool *full);
	void		(*make_texts) (const CfpCollectionName *name, CfpCollection *col,
							   uint64 generation, CfpBatchRow *rows, int n);
};

/* What is taken at most while the collection's lock is held. */
#define BATCH_ROWS			256
#define BATCH_BYTES			(256 * 1024)
#define BATCH_ITEMS			4096	/* looked at, seen or not */

/*
 * Give the rows of a collection to the sink.  It runs in a memory context that
 * is emptied after each batch.  False: it goes backward, and the rest of the rows
 * is in the tables.
 */
extern bool cfp_walk_collection(const CfpCollectionName *name,
								const CfpReadOptions *options, CfpRowSink *sink);

#endif							/* CFP_WALK_INT_H */
