/*-------------------------------------------------------------------------
 *
 * record.c
 *		A record: one version of one item, in the form it is cached in.
 *
 * Called at each store and for each row loaded (making one), and by whoever
 * takes one apart again.  Functions of their arguments: no locks, no shared
 * memory.
 *
 * The image is written by hand instead of through JsonbValue trees, because
 * this runs for every store and every loaded row.  What is written is byte
 * for byte what the server's own jsonb code makes of the same object:
 *
 *		header, 8 key JEntries, 8 value JEntries, key bytes, value bytes
 *
 * The first JEntry has an offset, the others have lengths (JB_OFFSET_STRIDE
 * is more than 16).
 *
 * Invariants: an image has the eight keys in IMAGE_KEYS order, always; the
 * record header repeats in native form what JSON would only give back by
 * parsing (timestamps, numbers) or not at all (-0.0, NaN, infinity); bytes
 * of a block that carry nothing are zero.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include <math.h>

#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/numeric.h"

#include "base/compat.h"
#include "record/encode.h"
#include "record/encode_int.h"
#include "record/record.h"

/* The entries of an image, in jsonb's order of their keys. */
enum
{
	IMAGE_DATA,
	IMAGE_VALUE,
	IMAGE_STATUS,
	IMAGE_VERSION,
	IMAGE_USERNAME,
	IMAGE_TIMESTAMP,
	IMAGE_STATUS_INT,
	IMAGE_UPDATED_AT,
	IMAGE_ENTRIES
};

#define IMAGE_KEYS			"datavaluestatusversionusernametimestampstatus_intupdated_at"
#define IMAGE_KEYS_LEN		(sizeof(IMAGE_KEYS) - 1)

/* What comes before the values: the same in all images but for 8 JEntries. */
typedef struct ImageHead
{
	uint32		header;
	JEntry		keys[IMAGE_ENTRIES];
	JEntry		values[IMAGE_ENTRIES];
	char		key_bytes[sizeof(IMAGE_KEYS)];
} ImageHead;

#define IMAGE_HEAD_LEN		(offsetof(ImageHead, key_bytes) + IMAGE_KEYS_LEN)

static const ImageHead image_head = {
	.header = IMAGE_ENTRIES | JB_FOBJECT,
	.keys = {4 | JENTRY_HAS_OFF, 5, 6, 7, 8, 9, 10, 10},
	.key_bytes = IMAGE_KEYS
};

StaticAssertDecl(2 * IMAGE_ENTRIES <= JB_OFFSET_STRIDE,
				 "only the first JEntry of an image has an offset");
StaticAssertDecl(IMAGE_KEYS_LEN == 4 + 5 + 6 + 7 + 8 + 9 + 10 + 10,
				 "the keys' bytes are as long as their JEntries say");
StaticAssertDecl(offsetof(ImageHead, keys) == offsetof(JsonbContainer, children),
				 "an image begins as a jsonb container does");

/* For all of an image but data, strings and timestamps; with data's padding. */
#define IMAGE_ROOM			(IMAGE_HEAD_LEN + 3 + 3 * CFP_NUMERIC_ROOM)

Size
cfp_record_room(const CfpFields *fields)
{
	Size		room = IMAGE_ROOM + 2 * CFP_TIMESTAMP_ROOM;

	if (fields->data != NULL)
		room += fields->data_len;
	if (fields->value.type == CFP_VALUE_STRING)
		room += fields->value.str_len;
	if (fields->status != NULL)
		room += fields->status_len;
	if (fields->username != NULL)
		room += fields->username_len;
	if (room > JENTRY_OFFLENMASK)
		cfp_raise_jsonb_too_large("Spread the data over several items.");
	return MAXALIGN(CFP_RECORD_HEADER + VARHDRSZ + room);
}

CfpRecord *
cfp_record_make(const CfpFields *fields)
{
	CfpRecord  *record = palloc(cfp_record_room(fields));

	cfp_record_fill(record, fields);
	return record;
}

void
cfp_record_fill(CfpRecord *record, const CfpFields *fields)
{
	const CfpValue *value = &fields->value;
	Jsonb	   *image;
	ImageHead  *head;
	char	   *start;
	char	   *dst;
	char	   *next;
	uint8		flags = 0;
	char		timestamp[MAXDATELEN + 1];
	char		updated_at[MAXDATELEN + 1];
	int			timestamp_len = 0;
	int			updated_at_len;

	if (fields->has_timestamp)
		timestamp_len = cfp_encode_timestamp(timestamp, fields->timestamp);
	updated_at_len = cfp_encode_timestamp(updated_at, fields->updated_at);
	Assert(timestamp_len <= CFP_TIMESTAMP_ROOM && updated_at_len <= CFP_TIMESTAMP_ROOM);
	Assert((char *) record == (char *) MAXALIGN(record));
	Assert(fields->data == NULL || fields->data_len >= sizeof(uint32));

	memset(record, 0, CFP_RECORD_HEADER);
	image = CFP_RECORD_IMAGE(record);
	head = (ImageHead *) &image->root;
	start = (char *) head;
	memcpy(head, &image_head, IMAGE_HEAD_LEN);
	dst = start + IMAGE_HEAD_LEN;

	if (fields->data != NULL)
	{
		next = cfp_put_padding(dst);
		next = cfp_put_bytes(next, fields->data, fields->data_len);
		head->values[IMAGE_DATA] = JENTRY_ISCONTAINER | (next - dst);
		dst = next;
	}
	else
		head->values[IMAGE_DATA] = JENTRY_ISNULL;

	switch (value->type)
	{
		case CFP_VALUE_NONE:
			head->values[IMAGE_VALUE] = JENTRY_ISNULL;
			break;
		case CFP_VALUE_INT:
			next = cfp_put_int(dst, value->i);
			head->values[IMAGE_VALUE] = JENTRY_ISNUMERIC | (next - dst);
			dst = next;
			record->value.i = value->i;
			break;
		case CFP_VALUE_FLOAT:
			if (isnan(value->f))
				dst = cfp_put_string(dst, &head->values[IMAGE_VALUE], "NaN", 3);
			else if (isinf(value->f))
				dst = value->f > 0 ?
					cfp_put_string(dst, &head->values[IMAGE_VALUE], "Infinity", 8) :
					cfp_put_string(dst, &head->values[IMAGE_VALUE], "-Infinity", 9);
			else
			{
				next = cfp_put_float(dst, value->f);
				head->values[IMAGE_VALUE] = JENTRY_ISNUMERIC | (next - dst);
				dst = next;
			}
			record->value.f = value->f;
			break;
		case CFP_VALUE_STRING:
			dst = cfp_put_string(dst, &head->values[IMAGE_VALUE],
								 value->str, value->str_len);
			break;
	}

	dst = cfp_put_string(dst, &head->values[IMAGE_STATUS],
						 fields->status, fields->status_len);

	next = cfp_put_int(dst, fields->version);
	head->values[IMAGE_VERSION] = JENTRY_ISNUMERIC | (next - dst);
	dst = next;

	dst = cfp_put_string(dst, &head->values[IMAGE_USERNAME],
						 fields->username, fields->username_len);

	dst = cfp_put_string(dst, &head->values[IMAGE_TIMESTAMP],
						 fields->has_timestamp ? timestamp : NULL, timestamp_len);
	if (fields->has_timestamp)
	{
		flags |= CFP_RECORD_HAS_TIMESTAMP;
		record->timestamp = fields->timestamp;
	}

	if (fields->has_status_int)
	{
		next = cfp_put_int(dst, fields->status_int);
		head->values[IMAGE_STATUS_INT] = JENTRY_ISNUMERIC | (next - dst);
		dst = next;
		flags |= CFP_RECORD_HAS_STATUS_INT;
		record->status_int = fields->status_int;
	}
	else
		head->values[IMAGE_STATUS_INT] = JENTRY_ISNULL;

	dst = cfp_put_string(dst, &head->values[IMAGE_UPDATED_AT], updated_at, updated_at_len);

	SET_VARSIZE(image, dst - (char *) image);

	if (cfp_fields_are_tombstone(fields))
		flags |= CFP_RECORD_TOMBSTONE;
	else if (fields->create)
		flags |= CFP_RECORD_CREATE;
	record->size = MAXALIGN(dst - (char *) record);
	record->version = fields->version;
	record->updated_at = fields->updated_at;
	record->flags = flags;
	record->value_type = value->type;
	Assert(record->size <= cfp_record_room(fields));
	memset(dst, 0, (char *) record + record->size - dst);
}

/* Where entry n of the image starts, padding skipped, and its length. */
static const char *
image_entry(const CfpRecord *record, int n, int *len, JEntry *entry)
{
	const ImageHead *head = (const ImageHead *) &CFP_RECORD_IMAGE(record)->root;
	const char *start = (const char *) head + IMAGE_HEAD_LEN;
	const char *end;

	Assert(n >= 0 && n < IMAGE_ENTRIES);
	Assert(head->header == image_head.header);

	for (int i = 0; i < n; i++)
		start += JBE_OFFLENFLD(head->values[i]);
	end = start + JBE_OFFLENFLD(head->values[n]);
	*entry = head->values[n] & JENTRY_TYPEMASK;
	if (*entry == JENTRY_ISNUMERIC || *entry == JENTRY_ISCONTAINER)
		start = (const char *) INTALIGN(start);
	*len = end - start;
	return start;
}

static const char *
image_string(const CfpRecord *record, int n, int *len)
{
	JEntry		entry;
	const char *str = image_entry(record, n, len, &entry);

	return entry == JENTRY_ISSTRING ? str : NULL;
}

static const JsonbContainer *
image_data(const CfpRecord *record, int *len)
{
	JEntry		entry;
	const char *data = image_entry(record, IMAGE_DATA, len, &entry);

	return entry == JENTRY_ISCONTAINER ? (const JsonbContainer *) data : NULL;
}

void
cfp_record_fields(const CfpRecord *record, CfpFields *fields)
{
	Assert(record->value_type <= CFP_VALUE_STRING);

	memset(fields, 0, sizeof(*fields));
	fields->data = image_data(record, &fields->data_len);
	fields->value.type = record->value_type;
	if (record->value_type == CFP_VALUE_INT)
		fields->value.i = record->value.i;
	else if (record->value_type == CFP_VALUE_FLOAT)
		fields->value.f = record->value.f;
	else if (record->value_type == CFP_VALUE_STRING)
		fields->value.str = image_string(record, IMAGE_VALUE, &fields->value.str_len);
	fields->has_timestamp = (record->flags & CFP_RECORD_HAS_TIMESTAMP) != 0;
	fields->timestamp = record->timestamp;
	fields->status = image_string(record, IMAGE_STATUS, &fields->status_len);
	fields->has_status_int = (record->flags & CFP_RECORD_HAS_STATUS_INT) != 0;
	fields->status_int = record->status_int;
	fields->username = image_string(record, IMAGE_USERNAME, &fields->username_len);
	fields->updated_at = record->updated_at;
	fields->version = record->version;
	fields->create = (record->flags & CFP_RECORD_CREATE) != 0;
}

Jsonb *
cfp_record_value_jsonb(const CfpRecord *record)
{
	JEntry		entry;
	int			len;
	const char *value = image_entry(record, IMAGE_VALUE, &len, &entry);
	Jsonb	   *result;

	if (record->value_type == CFP_VALUE_NONE)
		return NULL;

	/* jsonb holds a scalar as an array of one element. */
	Assert(entry == JENTRY_ISSTRING || entry == JENTRY_ISNUMERIC);
	result = palloc(VARHDRSZ + sizeof(uint32) + sizeof(JEntry) + len);
	result->root.header = 1 | JB_FARRAY | JB_FSCALAR;
	result->root.children[0] = entry | JENTRY_HAS_OFF | len;
	memcpy(&result->root.children[1], value, len);
	SET_VARSIZE(result, VARHDRSZ + sizeof(uint32) + sizeof(JEntry) + len);
	return result;
}

text *
cfp_record_value_text(const CfpRecord *record)
{
	JEntry		entry;
	int			len;
	const char *value = image_entry(record, IMAGE_VALUE, &len, &entry);

	switch (entry)
	{
		case JENTRY_ISSTRING:
			return cstring_to_text_with_len(value, len);
		case JENTRY_ISNUMERIC:
			return cstring_to_text(DatumGetCString(DirectFunctionCall1(numeric_out,
																	   PointerGetDatum(value))));
		default:
			return NULL;
	}
}

Jsonb *
cfp_record_data(const CfpRecord *record)
{
	int			len;
	const JsonbContainer *data = image_data(record, &len);

	return data != NULL ? cfp_jsonb_of(data, len) : NULL;
}

uint64
cfp_record_etag(const char *item, int item_len, const CfpRecord *record)
{
	/*
	 * Version and time go in as the seed, spread so that neither can undo the
	 * other; the hash mixes all of it, so that sums do not cancel out.
	 */
	uint64		seed = (uint64) record->updated_at +
	(uint64) record->version * UINT64CONST(0x9e3779b97f4a7c15);

	return hash_bytes_extended((const unsigned char *) item, item_len, seed);
}

void
cfp_record_append_json(StringInfo buf, const char *item, int item_len,
					   const CfpRecord *record)
{
	Jsonb	   *image = CFP_RECORD_IMAGE(record);
	char	   *name = pnstrdup(item, item_len);

	escape_json(buf, name);
	pfree(name);
	appendStringInfoString(buf, ": ");
	JsonbToCString(buf, &image->root, VARSIZE(image));
}
