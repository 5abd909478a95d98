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

#include "cfp.h"

#include "datatype/timestamp.h"
#include "lib/stringinfo.h"
#include "utils/jsonb.h"

typedef enum CfpValueType
{
	CFP_VALUE_NONE = 0,
	CFP_VALUE_INT,
	CFP_VALUE_FLOAT,
	CFP_VALUE_STRING
} CfpValueType;

typedef struct CfpValue
{
	CfpValueType type;
	int64		i;
	float8		f;
	const char *str;			/* not NUL-terminated */
	int			str_len;
} CfpValue;

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
} CfpFields;

#define CFP_RECORD_TOMBSTONE		0x01	/* no data and no value */
#define CFP_RECORD_HAS_TIMESTAMP	0x02
#define CFP_RECORD_HAS_STATUS_INT	0x04

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

/* The columns of storage_history and storage_latest, in their order. */
enum
{
	CFP_COL_KEY,
	CFP_COL_COLLECTION,
	CFP_COL_ITEM,
	CFP_COL_DATA,
	CFP_COL_VALUE_INT,
	CFP_COL_VALUE_FLOAT,
	CFP_COL_VALUE_STRING,
	CFP_COL_TIMESTAMP,
	CFP_COL_STATUS,
	CFP_COL_STATUS_INT,
	CFP_COL_USERNAME,
	CFP_COL_UPDATED_AT,
	CFP_COL_VERSION,
	CFP_COL_TXID,
	CFP_NCOLS
};

/*
 * Throws 54000 when the record's JSON text would be too large for day files
 * and backups.
 */
extern void cfp_check_json_size(const CfpFields *fields);

/*
 * Build a record in CurrentMemoryContext.  Throws 54000 when data is too
 * large for a jsonb object to hold, and out of memory.
 */
extern CfpRecord *cfp_record_make(const CfpFields *fields);

/* Take a record apart; all pointers in *fields point into the record. */
extern void cfp_record_fields(const CfpRecord *record, CfpFields *fields);

/*
 * A record from the column values of a table row (detoasts what it must;
 * allocates in CurrentMemoryContext).
 */
extern CfpRecord *cfp_record_from_row(const Datum *values, const bool *nulls);

/*
 * The columns CFP_COL_DATA .. CFP_COL_VERSION of a row (names and txid are
 * the caller's).  Varlena values are allocated in CurrentMemoryContext.
 */
extern void cfp_record_to_row(const CfpRecord *record, Datum *values, bool *nulls);

/* The value as a jsonb scalar; NULL when the record has none. */
extern Jsonb *cfp_record_value_jsonb(const CfpRecord *record);

/* The value as text, unquoted; NULL when the record has none. */
extern text *cfp_record_value_text(const CfpRecord *record);

/* The data as jsonb; NULL when SQL NULL. */
extern Jsonb *cfp_record_data(const CfpRecord *record);

/* The hash that etags sum up: of item name, version and updated_at. */
extern uint64 cfp_record_etag(const char *item, int item_len, const CfpRecord *record);

/*
 * A timestamp in ISO 8601 and UTC, as the server writes it into jsonb; returns
 * the length.  buf has room for MAXDATELEN + 1.
 */
extern int	cfp_encode_timestamp(char *buf, TimestampTz ts);

/* Append `"item": {record}` as JSON text (no leading or trailing comma). */
extern void cfp_record_append_json(StringInfo buf, const char *item, int item_len,
								   const CfpRecord *record);

/*
 * Value routing (DESIGN.md section 4): one SQL value of the given type to a
 * typed value.  Strings point into the datum or into CurrentMemoryContext.
 * Throws 22003 (NaN, infinity, out of range) and 42804 (a type that must be
 * cast first).
 */
extern void cfp_value_route(CfpValue *value, Oid type, Datum datum, bool isnull);

/*
 * The special fields: fills timestamp, status, status_int, username of
 * *fields from fields->data and the parameters (ts_isnull / username NULL:
 * not given; then data's, then now() / the setting cfp.username).  Throws
 * 22023 or 22007 naming the field when one cannot be converted.
 */
extern void cfp_special_fields(CfpFields *fields, TimestampTz ts, bool ts_isnull,
							   const char *username, int username_len);

/*
 * Assemble one jsonb object from sorted parts without taking them apart.
 * Keys need not be sorted (they are sorted here, by length then bytes) and
 * must be distinct.  Each value is a whole jsonb container (object or
 * scalar-in-array as jsonb has it at the root).
 */
typedef struct CfpPair
{
	const char *key;
	int			key_len;
	const JsonbContainer *value;	/* NULL: JSON null */
	uint32		value_len;
} CfpPair;

extern Jsonb *cfp_jsonb_object(CfpPair *pairs, int npairs);

#endif							/* CFP_RECORD_H */
