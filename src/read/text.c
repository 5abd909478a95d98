/*-------------------------------------------------------------------------
 *
 * text.c
 *		A collection as JSON text.
 *
 * Called by the SQL functions that return a whole collection as JSON, or the tag
 * of one.
 *
 * Each record that is read so once has its text kept in the cache beside it, and
 * its part of the tag.  Texts go into the answer under the shared lock, in
 * batches.  Rows that have none are copied (walk.c), their texts made
 * without the lock, and kept under the exclusive one, if there is memory.  With
 * own pending records all go the way of rows.
 *
 * Locks: the collection's.  The answer's buffer does not grow under it: what it
 * must have free is noted, and had before the next batch.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "cache/arena.h"
#include "cache/chain.h"
#include "cache/descriptor.h"
#include "cache/hash.h"
#include "cache/items.h"
#include "read/text.h"
#include "read/walk_int.h"
#include "record/record.h"

#include "miscadmin.h"

typedef struct TextSink
{
	CfpRowSink	sink;
	CfpItemsText *text;
	int			room;			/* to be made before the next batch */
	StringInfoData json;		/* of one row that had none */
} TextSink;

/* Add an item to the text; its JSON is not looked at when only the etag is wanted. */
static inline void
add_item_text(CfpItemsText *text, uint64 etag, const char *json, int len)
{
	StringInfo	buf = text->buf;

	if (buf != NULL)
	{
		enlargeStringInfo(buf, len + 2);
		if (text->nitems > 0)
		{
			memcpy(buf->data + buf->len, ", ", 2);
			buf->len += 2;
		}
		memcpy(buf->data + buf->len, json, len);
		buf->len += len;
		buf->data[buf->len] = '\0';
	}
	text->nitems++;
	text->etag += etag;
}

static bool
take_text(CfpRowSink *sink, const CfpRow *row, CfpRowText json)
{
	TextSink   *into = (TextSink *) sink;

	CHECK_FOR_INTERRUPTS();
	if (json.data == NULL && into->text->buf != NULL)
	{
		resetStringInfo(&into->json);
		cfp_record_append_json(&into->json, row->item, row->item_len, row->record);
		json.data = into->json.data;
		json.len = into->json.len;
	}
	add_item_text(into->text, cfp_record_etag(row->item, row->item_len, row->record),
				  json.data, json.len);
	return true;
}

static void
make_text_room(CfpRowSink *sink)
{
	TextSink   *into = (TextSink *) sink;

	if (into->room > 0)
		enlargeStringInfo(into->text->buf, into->room);
}

/*
 * Add items from the place `start` of the order array on whose texts the cache
 * has, until there is one without, or the batch or the buffer is full; returns
 * the place of the next, in *full whether that was why, and in `room` what the
 * buffer must have free to go on: it does not grow under the lock.
 */
static uint32
take_texts_in_place(CfpRowSink *sink, const CfpReader *reader,
					const CfpCollection *col, uint32 start, bool *full)
{
	TextSink   *into = (TextSink *) sink;
	CfpItemsText *text = into->text;
	Size		bytes = 0;
	uint32		i;

	Assert(LWLockHeldByMe(unconstify(LWLock *, &col->lock)));
	*full = false;
	into->room = 0;
	for (i = start; i < col->nitems && !*full; i++)
	{
		const CfpItem *item = cfp_ptr(col->order[i]);
		const CfpNode *node = cfp_chain_visible(item, &reader->view);

		if (node == NULL && (item->flags & CFP_ITEM_PRUNED) == 0)
			continue;
		if (node == NULL)
			break;
		if (node->json != 0)
		{
			const CfpText *json = cfp_ptr(node->json);

			if (text->buf != NULL && text->buf->maxlen - text->buf->len < (int) json->len + 3)
			{
				*full = true;
				into->room = json->len + 2;
				break;
			}
			add_item_text(text, json->etag, json->data, json->len);
			bytes += json->len;
		}
		else if (!CFP_RECORD_IS_TOMBSTONE((CfpRecord *) cfp_ptr(node->record)))
			break;
		*full = bytes > BATCH_BYTES || i - start == BATCH_ITEMS;
	}
	return i;
}

/*
 * Keep the row's text beside the record that it was made of, if that is still
 * there.  The lock is held exclusively.  False when memory is short.
 */
static bool
keep_text(CfpCollection *col, const CfpBatchRow *kept)
{
	const CfpRow *row = &kept->row;
	Size		size = cfp_arena_size(offsetof(CfpText, data) + kept->json.len);
	CfpItem    *item;
	CfpNode    *node = NULL;
	CfpText    *text;

	Assert(LWLockHeldByMeInMode(&col->lock, LW_EXCLUSIVE));
	item = cfp_item_find(col, cfp_item_hash(row->item, row->item_len),
						 row->item, row->item_len);
	for (CfpRef ref = item ? item->newest : 0; ref != 0; ref = node->next)
	{
		node = cfp_ptr(ref);
		if (node->version == row->record->version &&
			U64FromFullTransactionId(node->writer) == row->txid)
			break;
		if (node->next == 0)
		{
			node = NULL;
			break;
		}
	}
	if (node == NULL || node->json != 0)
		return true;

	/* Memory for the text may come from what the record has replaced. */
	if (item->newest == cfp_ref(node))
		cfp_chain_prune(col, item);
	text = cfp_arena_alloc(col, size, false);
	if (text == NULL)
		return false;
	text->size = size;
	text->len = kept->json.len;
	text->etag = cfp_record_etag(row->item, row->item_len, row->record);
	memcpy(text->data, kept->json.data, kept->json.len);
	node->json = cfp_ref(text);
	return true;
}

/* Make the JSON text of rows that have none, and keep it in the cache. */
static void
make_texts(const CfpCollectionName *name, CfpCollection *col, uint64 generation,
		   CfpBatchRow *rows, int n)
{
	bool		any = false;

	for (int i = 0; i < n; i++)
	{
		const CfpRow *row = &rows[i].row;
		StringInfoData buf;

		if (!rows[i].make_json)
			continue;
		initStringInfo(&buf);
		cfp_record_append_json(&buf, row->item, row->item_len, row->record);
		rows[i].json.data = buf.data;
		rows[i].json.len = buf.len;
		any = true;
	}
	if (!any)
		return;

	LWLockAcquire(&col->lock, LW_EXCLUSIVE);
	if (cfp_collection_is(col, generation, name))
	{
		for (int i = 0; i < n; i++)
		{
			if (rows[i].make_json && !keep_text(col, &rows[i]))
				break;
		}
	}
	LWLockRelease(&col->lock);
}

void
cfp_read_collection_text(const CfpCollectionName *name, CfpItemsText *text)
{
	const CfpReadOptions everything = {0};
	TextSink	into = {
		.sink = {
			.take = take_text,
			.texts = true,
			.again = text->again,
			.before_batch = make_text_room,
			.take_in_place = take_texts_in_place,
			.make_texts = make_texts
		},
		.text = text
	};

	initStringInfo(&into.json);
	cfp_walk_collection(name, &everything, &into.sink);
	pfree(into.json.data);
}
