/*-------------------------------------------------------------------------
 *
 * item.c
 *		Reading one item as the caller's snapshot sees it.
 *
 * Called by the SQL functions that read items.  What is found in the cache is
 * copied under the collection's shared lock; what is found in the tables is
 * palloc'd anyway.
 *
 * Locks: the collection's, while the item is looked for and copied; released
 * before the tables are read.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "cache/descriptor.h"
#include "cache/hash.h"
#include "cache/items.h"
#include "read/item.h"
#include "read/reader_int.h"
#include "store/own.h"
#include "tables/read_item.h"

#include "access/xact.h"

/*
 * A get spends most of its time waiting for memory: ask for the first lines
 * of the record at once, rather than for each when the copy comes to it.
 */
static inline void
prefetch_record(const CfpRecord *record)
{
	for (int i = 0; i < 7; i++)
		__builtin_prefetch((const char *) record + i * 64);
}

/*
 * What the snapshot sees of an item, own pending records not looked at: a
 * palloc'd record, or only its image.  NULL when there is none (with
 * image_only also when it is a tombstone).
 */
static inline void *
read_committed(const CfpItemName *name, bool image_only, uint64 *txid)
{
	CfpReader	reader;
	CfpRecord  *record;

	cfp_reader_init(&reader);
	cfp_counts.gets++;
	if (likely(reader.cached))
	{
		uint64		hash = cfp_collection_hash(&name->in);
		uint32		item_hash = cfp_item_hash(name->item, name->item_len);
		CfpCollection *col = cfp_reader_open(&reader, &name->in, hash, LW_SHARED);

		if (likely(col != NULL))
		{
			CfpItem    *item = cfp_item_find(col, item_hash, name->item, name->item_len);
			CfpNode    *node = item ? cfp_chain_visible(item, &reader.view) : NULL;

			if (likely(node != NULL))
			{
				void	   *copy = NULL;

				record = cfp_ptr(node->record);
				prefetch_record(record);
				if (!image_only)
				{
					copy = cfp_record_copy(record);
					if (txid)
						*txid = U64FromFullTransactionId(node->writer);
				}
				else if (!CFP_RECORD_IS_TOMBSTONE(record))
				{
					Size		len = VARSIZE(CFP_RECORD_IMAGE(record));

					copy = palloc(len);
					memcpy(copy, CFP_RECORD_IMAGE(record), len);
				}
				LWLockRelease(&col->lock);
				return copy;
			}
			if (item == NULL || (item->flags & CFP_ITEM_PRUNED) == 0)
			{
				LWLockRelease(&col->lock);
				return NULL;
			}
			LWLockRelease(&col->lock);
			cfp_counts.table_reads[CFP_READ_PRUNED]++;
		}
	}

	record = cfp_table_read_item(reader.snapshot, name, txid);
	if (record == NULL || !image_only)
		return record;
	return CFP_RECORD_IS_TOMBSTONE(record) ? NULL : CFP_RECORD_IMAGE(record);
}

CfpRecord *
cfp_read_item_before(const CfpItemName *name, CommandId before, uint64 *txid)
{
	CfpRecord  *record = read_committed(name, false, txid);

	if (cfp_pending_any)
	{
		const CfpRecord *own = cfp_pending_find(name, before);

		if (own != NULL && (record == NULL || own->version > record->version))
		{
			record = cfp_record_copy(own);
			if (txid)
				*txid = U64FromFullTransactionId(GetTopFullTransactionId());
		}
	}
	return record;
}

CfpRecord *
cfp_read_item(const CfpItemName *name, uint64 *txid)
{
	return cfp_read_item_before(name, CFP_UP_TO_NOW, txid);
}

Jsonb *
cfp_read_image(const CfpItemName *name)
{
	CfpRecord  *record;

	if (likely(!cfp_pending_any))
		return read_committed(name, true, NULL);
	record = cfp_read_item(name, NULL);
	return record == NULL || CFP_RECORD_IS_TOMBSTONE(record) ? NULL :
		CFP_RECORD_IMAGE(record);
}
