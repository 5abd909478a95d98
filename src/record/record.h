/*-------------------------------------------------------------------------
 *
 * record.h
 *		A record: one version of one item, in the form it is cached in.
 *
 * A CfpRecord is one contiguous block: a small header and the jsonb value
 * that cfp_get() returns, ready made ("the image").  Everything else (the
 * columns of storage_history) is read back out of the image, so a record is
 * copied between backends, and to the caller, by one memcpy.
 *
 * The image always has the eight keys, in jsonb's own order (by length, then
 * bytes): data, value, status, version, username, timestamp, status_int,
 * updated_at.  Timestamps in it are ISO 8601 in UTC, whatever the session's
 * TimeZone, because sessions share it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_RECORD_H
#define CFP_RECORD_H

#include "base/names.h"

#include "datatype/timestamp.h"
#include "lib/stringinfo.h"
#include "utils/jsonb.h"

#include "record/columns.h"
#include "record/operation.h"
#include "record/value.h"

/* A record taken apart.  Pointers belong to whoever filled it in. */
typedef struct CfpFields
{
	const JsonbContainer *data; /* NULL: SQL NULL */
	int			data_len;		/* bytes of the container */
	CfpValue	value;
	bool		has_timestamp;
	TimestampTz timestamp;
	const char *status;			/* NULL: none */
	int			status_len;
	bool		has_status_int;
	int32		status_int;
	const char *username;		/* NULL: none */
	int			username_len;
	TimestampTz updated_at;
	int32		version;
	bool		create;			/* of a record with data or a value: there was
								 * none of the item when it was stored */
} CfpFields;

#define CFP_RECORD_TOMBSTONE		0x01	/* no data and no value */
#define CFP_RECORD_HAS_TIMESTAMP	0x02
#define CFP_RECORD_HAS_STATUS_INT	0x04
#define CFP_RECORD_CREATE			0x08	/* its operation is create */

typedef struct CfpRecord
{
	uint32		size;			/* of the whole block, MAXALIGNed */
	int32		version;
	TimestampTz updated_at;
	TimestampTz timestamp;		/* valid with CFP_RECORD_HAS_TIMESTAMP */
	union
	{
		int64		i;
		float8		f;			/* exact: the image has no -0, NaN, infinity */
	}			value;			/* valid with value_type INT or FLOAT */
	int32		status_int;		/* valid with CFP_RECORD_HAS_STATUS_INT */
	uint8		flags;
	uint8		value_type;		/* CfpValueType */
	/* the image, a plain 4-byte-header Jsonb, follows at CFP_RECORD_IMAGE */
} CfpRecord;

#define CFP_RECORD_HEADER		MAXALIGN(sizeof(CfpRecord))
#define CFP_RECORD_IMAGE(r)		((Jsonb *) ((char *) (r) + CFP_RECORD_HEADER))
#define CFP_RECORD_IS_TOMBSTONE(r) (((r)->flags & CFP_RECORD_TOMBSTONE) != 0)

static inline CfpOperation
cfp_record_operation(const CfpRecord *record)
{
	if (CFP_RECORD_IS_TOMBSTONE(record))
		return CFP_DELETE;
	return (record->flags & CFP_RECORD_CREATE) != 0 ? CFP_CREATE : CFP_UPDATE;
}

/* Is what the fields make a tombstone? */
static inline bool
cfp_fields_are_tombstone(const CfpFields *fields)
{
	return fields->data == NULL && fields->value.type == CFP_VALUE_NONE;
}

/* What of the block is used: in the cache it may be larger. */
#define CFP_RECORD_BYTES(r)	(CFP_RECORD_HEADER + VARSIZE(CFP_RECORD_IMAGE(r)))

/* A copy in CurrentMemoryContext. */
static inline CfpRecord *
cfp_record_copy(const CfpRecord *record)
{
	CfpRecord  *copy = palloc(CFP_RECORD_BYTES(record));

	return memcpy(copy, record, CFP_RECORD_BYTES(record));
}

/*
 * Build a record in CurrentMemoryContext.  Throws 54000 when data is too
 * large for a jsonb object to hold, and out of memory.
 */
extern CfpRecord *cfp_record_make(const CfpFields *fields);

/*
 * Build a record in memory of the caller's, MAXALIGNed, of cfp_record_room()
 * bytes, which throws 54000; what of it is used, record->size says.
 */
extern Size cfp_record_room(const CfpFields *fields);
extern void cfp_record_fill(CfpRecord *record, const CfpFields *fields);

/* Take a record apart; all pointers in *fields point into the record. */
extern void cfp_record_fields(const CfpRecord *record, CfpFields *fields);

/* The value as a jsonb scalar; NULL when the record has none. */
extern Jsonb *cfp_record_value_jsonb(const CfpRecord *record);

/* The value as text, unquoted; NULL when the record has none. */
extern text *cfp_record_value_text(const CfpRecord *record);

/* The data as jsonb; NULL when SQL NULL. */
extern Jsonb *cfp_record_data(const CfpRecord *record);

/* The hash that etags sum up: of item name, version and updated_at. */
extern uint64 cfp_record_etag(const char *item, int item_len, const CfpRecord *record);

/* Append `"item": {record}` as JSON text (no leading or trailing comma). */
extern void cfp_record_append_json(StringInfo buf, const char *item, int item_len,
								   const CfpRecord *record);

#endif							/* CFP_RECORD_H */
