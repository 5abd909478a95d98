/*-------------------------------------------------------------------------
 *
 * record.c
 *		A record: one version of one item, in the form it is cached in.
 *
 * Called by sql_api and sql_view (routing values, special fields, results),
 * by pending (cfp_record_make at each store), and by history (a record from
 * each row read, a row from each record inserted).  Pure functions of their
 * arguments and of the session's settings: no locks, no shared memory.
 *
 * The image is written by hand instead of through JsonbValue trees, because
 * this runs for every store and every loaded row.  What is written is byte
 * for byte what the server's own jsonb code makes of the same object:
 *
 *		header, 8 key JEntries, 8 value JEntries, key bytes, value bytes
 *
 * The first JEntry has an offset, the others have lengths (JB_OFFSET_STRIDE
 * is more than 16); containers and numerics start at a multiple of 4, and
 * the padding before them counts as part of them.
 *
 * Invariants: an image has the eight keys in IMAGE_KEYS order, always; the
 * record header repeats in native form what JSON would only give back by
 * parsing (timestamps, numbers) or not at all (-0.0, NaN, infinity); bytes
 * of a block that carry nothing are zero.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "common/shortest_dec.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "record.h"
#include "settings.h"

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

/*
 * Room enough for what put_decimal appends: at most 8 bytes of header, 6
 * base-10000 digits and 3 bytes of padding.
 */
#define NUMERIC_ROOM		24

/* For all of an image but data, strings and timestamps; with data's padding. */
#define IMAGE_ROOM			(IMAGE_HEAD_LEN + 3 + 3 * NUMERIC_ROOM)

/*
 * The on-disk format of numeric, private to numeric.c but fixed by every
 * table that holds one.
 */
#define DISK_NUMERIC_DIGITS		4	/* decimal digits in one of base 10000 */
#define DISK_NUMERIC_NEGATIVE	0x4000
#define DISK_NUMERIC_SHORT		0x8000
#define DISK_NUMERIC_SHORT_NEGATIVE 0x2000
#define DISK_NUMERIC_SHORT_DSCALE_SHIFT 7
#define DISK_NUMERIC_SHORT_DSCALE_MAX 63
#define DISK_NUMERIC_SHORT_WEIGHT_MASK 0x007F
#define DISK_NUMERIC_SHORT_WEIGHT_MAX 63
#define DISK_NUMERIC_SHORT_WEIGHT_MIN (-64)
#define DISK_NUMERIC_SHORT_WEIGHT_NEGATIVE 0x0040
#define DISK_NUMERIC_DSCALE_MASK 0x3FFF

/*
 * JSON text of a record has to fit into the server's 1 GB, after a conversion
 * that may double it and with some of others before it.  A small jsonb need
 * not be looked at: the most text by the byte has a number like 1e131071, of
 * 16 bytes in an array.
 */
#define MAX_JSON_SIZE		(MaxAllocSize / 2 - 8 * 1024 * 1024)
#define SMALL_JSONB			(32 * 1024)

pg_noreturn static void too_large(const char *hint);

static void
too_large(const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("total size of jsonb object elements exceeds the maximum of %u bytes",
					JENTRY_OFFLENMASK),
			 errhint("%s", hint)));
}

/* Zero bytes up to the next multiple of 4. */
static inline char *
put_padding(char *dst)
{
	char	   *end = (char *) INTALIGN(dst);

	while (dst < end)
		*dst++ = '\0';
	return dst;
}

static inline char *
put_bytes(char *dst, const void *src, Size len)
{
	memcpy(dst, src, len);
	return dst + len;
}

/*
 * Append the numeric 0.DIGITS times ten to the power of point, with its
 * padding.  DIGITS are decimal digits without leading zeros; none is zero.
 */
static char *
put_decimal(char *dst, bool negative, const char *digits, int ndigits,
			int point, int dscale)
{
	char	   *start;
	int			weight = 0;
	int			used = 0;
	int16		base[8];

	if (ndigits > 0)
	{
		int			lead;
		int			end;

		/* The power of 10000 of the first base-10000 digit. */
		weight = point > 0 ? (point - 1) / DISK_NUMERIC_DIGITS :
			-(-point / DISK_NUMERIC_DIGITS + 1);
		lead = (weight + 1) * DISK_NUMERIC_DIGITS - point;
		end = lead + ndigits;
		for (int i = 0; i < end; i += DISK_NUMERIC_DIGITS)
		{
			int			digit = 0;

			for (int j = i; j < i + DISK_NUMERIC_DIGITS; j++)
				digit = digit * 10 +
					(j >= lead && j < end ? digits[j - lead] - '0' : 0);
			base[used++] = digit;
		}
		while (used > 0 && base[used - 1] == 0)
			used--;
	}
	else
		negative = false;

	start = dst = put_padding(dst);
	dst += VARHDRSZ;
	if (dscale <= DISK_NUMERIC_SHORT_DSCALE_MAX &&
		weight <= DISK_NUMERIC_SHORT_WEIGHT_MAX &&
		weight >= DISK_NUMERIC_SHORT_WEIGHT_MIN)
	{
		uint16		header = DISK_NUMERIC_SHORT |
			(negative ? DISK_NUMERIC_SHORT_NEGATIVE : 0) |
			(dscale << DISK_NUMERIC_SHORT_DSCALE_SHIFT) |
			(weight & DISK_NUMERIC_SHORT_WEIGHT_MASK);

		dst = put_bytes(dst, &header, sizeof(header));
	}
	else
	{
		uint16		header = (negative ? DISK_NUMERIC_NEGATIVE : 0) | dscale;
		int16		long_weight = weight;

		dst = put_bytes(dst, &header, sizeof(header));
		dst = put_bytes(dst, &long_weight, sizeof(long_weight));
	}
	dst = put_bytes(dst, base, used * sizeof(int16));
	SET_VARSIZE(start, dst - start);
	return dst;
}

static char *
put_int(char *dst, int64 value)
{
	char		buf[MAXINT8LEN + 1];
	char	   *digits = buf;
	int			ndigits;
	bool		negative = value < 0;

	ndigits = pg_lltoa(value, buf);
	if (negative)
	{
		digits++;
		ndigits--;
	}
	if (value == 0)
		ndigits = 0;
	return put_decimal(dst, negative, digits, ndigits, ndigits, 0);
}

/* The shortest decimal that reads back as the same (finite) float. */
static char *
put_float(char *dst, float8 value)
{
	char		text[DOUBLE_SHORTEST_DECIMAL_LEN];
	char		digits[DOUBLE_SHORTEST_DECIMAL_LEN];
	const char *p = text;
	const char *end = text + double_to_shortest_decimal_bufn(value, text);
	bool		negative = false;
	bool		fraction = false;
	int			ndigits = 0;
	int			point = 0;
	int			dscale = 0;

	if (*p == '-')
	{
		negative = true;
		p++;
	}
	for (; p < end && *p != 'e'; p++)
	{
		if (*p == '.')
		{
			fraction = true;
			continue;
		}
		if (fraction)
			dscale++;
		if (ndigits > 0 || *p != '0')
		{
			digits[ndigits++] = *p;
			if (!fraction)
				point++;
		}
		else if (fraction)
			point--;
	}
	if (p < end)
	{
		bool		down = p[1] == '-';
		int			exponent = 0;

		for (p += 2; p < end; p++)
			exponent = exponent * 10 + (*p - '0');
		if (down)
			exponent = -exponent;
		point += exponent;
		dscale -= exponent;
	}
	/* Always with a point, so that a float can be told from an integer. */
	return put_decimal(dst, negative, digits, ndigits, point, Max(dscale, 1));
}

/* Years 1 to 9999. */
#define FIRST_SHORT_TIMESTAMP	((INT64CONST(1721426) - POSTGRES_EPOCH_JDATE) * USECS_PER_DAY)
#define END_SHORT_TIMESTAMP		((INT64CONST(5373485) - POSTGRES_EPOCH_JDATE) * USECS_PER_DAY)

static inline char *
put_digits(char *dst, int number, int ndigits)
{
	for (int i = ndigits - 1; i >= 0; i--)
	{
		dst[i] = '0' + number % 10;
		number /= 10;
	}
	return dst + ndigits;
}

/* "YYYY-MM-DDTHH:MM:SS" of a whole second in a year of four digits. */
#define SECOND_LEN 19

static void
put_second(char *dst, TimestampTz second)
{
	int64		day = second / USECS_PER_DAY;
	int64		time = second % USECS_PER_DAY;
	int			year,
				month,
				mday;

	if (time < 0)
	{
		time += USECS_PER_DAY;
		day--;
	}
	j2date(day + POSTGRES_EPOCH_JDATE, &year, &month, &mday);
	dst = put_digits(dst, year, 4);
	*dst++ = '-';
	dst = put_digits(dst, month, 2);
	*dst++ = '-';
	dst = put_digits(dst, mday, 2);
	*dst++ = 'T';
	dst = put_digits(dst, time / USECS_PER_HOUR, 2);
	*dst++ = ':';
	dst = put_digits(dst, time % USECS_PER_HOUR / USECS_PER_MINUTE, 2);
	*dst++ = ':';
	put_digits(dst, time % USECS_PER_MINUTE / USECS_PER_SEC, 2);
}

/*
 * Years of four digits are written here, in a fifth of the time that the
 * server takes, and most timestamps fall into the second of the one before:
 * a store writes two.
 */
int
cfp_encode_timestamp(char *buf, TimestampTz ts)
{
	static const int utc = 0;
	static TimestampTz known_second = DT_NOBEGIN;
	static char known_text[SECOND_LEN];
	char	   *dst = buf;

	if (ts >= FIRST_SHORT_TIMESTAMP && ts < END_SHORT_TIMESTAMP)
	{
		int64		micros = ts % USECS_PER_SEC;

		if (micros < 0)
			micros += USECS_PER_SEC;
		if (ts - micros != known_second)
		{
			known_second = ts - micros;
			put_second(known_text, known_second);
		}
		memcpy(dst, known_text, SECOND_LEN);
		dst += SECOND_LEN;
		if (micros != 0)
		{
			*dst++ = '.';
			dst = put_digits(dst, micros, 6);
			while (dst[-1] == '0')
				dst--;
		}
		memcpy(dst, "+00:00", 6);
		return dst + 6 - buf;
	}

	JsonEncodeDateTime(buf, TimestampTzGetDatum(ts), TIMESTAMPTZOID, &utc);
	return strlen(buf);
}

static inline char *
put_string(char *dst, JEntry *entry, const char *str, int len)
{
	if (str == NULL)
	{
		*entry = JENTRY_ISNULL;
		return dst;
	}
	*entry = JENTRY_ISSTRING | len;
	return put_bytes(dst, str, len);
}

/* The bytes of a string in JSON, with quotes and what separates it; at most. */
static Size
string_json_size(const char *str, int len)
{
	Size		size = (Size) len + 4;

	for (int i = 0; i < len; i++)
	{
		unsigned char c = (unsigned char) str[i];

		if (c < ' ')
			size += 5;
		else if (c == '"' || c == '\\')
			size++;
	}
	return size;
}

/* The same of a number, whose exponent may stand for many digits. */
static Size
numeric_json_size(Numeric num)
{
	uint16		header;
	int16		weight;
	int			dscale;

	memcpy(&header, VARDATA_ANY(num), sizeof(header));
	if (header & DISK_NUMERIC_SHORT)
	{
		weight = (header & DISK_NUMERIC_SHORT_WEIGHT_NEGATIVE) ? 0 :
			header & DISK_NUMERIC_SHORT_WEIGHT_MASK;
		dscale = (header >> DISK_NUMERIC_SHORT_DSCALE_SHIFT) & DISK_NUMERIC_SHORT_DSCALE_MAX;
	}
	else
	{
		memcpy(&weight, (char *) VARDATA_ANY(num) + sizeof(header), sizeof(weight));
		dscale = header & DISK_NUMERIC_DSCALE_MASK;
	}
	return (Size) (Max(weight, 0) + 1) * DISK_NUMERIC_DIGITS + dscale + 4;
}

/* The same of data. */
static Size
data_json_size(const JsonbContainer *data)
{
	JsonbIterator *it = JsonbIteratorInit((JsonbContainer *) data);
	JsonbIteratorToken token;
	JsonbValue	value;
	Size		size = 0;

	while ((token = JsonbIteratorNext(&it, &value, false)) != WJB_DONE &&
		   size <= MAX_JSON_SIZE)
	{
		CHECK_FOR_INTERRUPTS();
		if (token != WJB_KEY && token != WJB_VALUE && token != WJB_ELEM)
			size += 2;			/* a bracket, a separator */
		else if (value.type == jbvString)
			size += string_json_size(value.val.string.val, value.val.string.len);
		else if (value.type == jbvNumeric)
			size += numeric_json_size(value.val.numeric);
		else
			size += sizeof("false, ");
	}
	return size;
}

void
cfp_check_json_size(const CfpFields *fields)
{
	int			data_len = fields->data != NULL ? fields->data_len : 0;
	int			value_len = fields->value.type == CFP_VALUE_STRING ? fields->value.str_len : 0;
	int			status_len = fields->status != NULL ? fields->status_len : 0;
	int			username_len = fields->username != NULL ? fields->username_len : 0;
	Size		size;

	if ((Size) data_len + value_len + status_len + username_len <= SMALL_JSONB)
		return;
	size = string_json_size(fields->value.str, value_len) +
		string_json_size(fields->status, status_len) +
		string_json_size(fields->username, username_len);
	if (fields->data != NULL)
		size += data_json_size(fields->data);
	if (size > MAX_JSON_SIZE)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("record is too large as JSON text"),
				 errdetail("The limit is %zu bytes. Control characters take six each, and a number all the digits that its exponent stands for.",
						   (Size) MAX_JSON_SIZE),
				 errhint("Spread the data over several items.")));
}

CfpRecord *
cfp_record_make(const CfpFields *fields)
{
	const CfpValue *value = &fields->value;
	CfpRecord  *record;
	Jsonb	   *image;
	ImageHead  *head;
	char	   *start;
	char	   *dst;
	char	   *next;
	Size		room;
	uint8		flags = 0;
	char		timestamp[MAXDATELEN + 1];
	char		updated_at[MAXDATELEN + 1];
	int			timestamp_len = 0;
	int			updated_at_len;

	if (fields->has_timestamp)
		timestamp_len = cfp_encode_timestamp(timestamp, fields->timestamp);
	updated_at_len = cfp_encode_timestamp(updated_at, fields->updated_at);

	room = IMAGE_ROOM + timestamp_len + updated_at_len;
	if (fields->data != NULL)
		room += fields->data_len;
	if (value->type == CFP_VALUE_STRING)
		room += value->str_len;
	if (fields->status != NULL)
		room += fields->status_len;
	if (fields->username != NULL)
		room += fields->username_len;
	if (room > JENTRY_OFFLENMASK)
		too_large("Spread the data over several items.");

	record = palloc(MAXALIGN(CFP_RECORD_HEADER + VARHDRSZ + room));
	memset(record, 0, CFP_RECORD_HEADER);
	image = CFP_RECORD_IMAGE(record);
	head = (ImageHead *) &image->root;
	start = (char *) head;
	memcpy(head, &image_head, IMAGE_HEAD_LEN);
	dst = start + IMAGE_HEAD_LEN;

	if (fields->data != NULL)
	{
		next = put_padding(dst);
		next = put_bytes(next, fields->data, fields->data_len);
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
			next = put_int(dst, value->i);
			head->values[IMAGE_VALUE] = JENTRY_ISNUMERIC | (next - dst);
			dst = next;
			record->value.i = value->i;
			break;
		case CFP_VALUE_FLOAT:
			if (isnan(value->f))
				dst = put_string(dst, &head->values[IMAGE_VALUE], "NaN", 3);
			else if (isinf(value->f))
				dst = value->f > 0 ?
					put_string(dst, &head->values[IMAGE_VALUE], "Infinity", 8) :
					put_string(dst, &head->values[IMAGE_VALUE], "-Infinity", 9);
			else
			{
				next = put_float(dst, value->f);
				head->values[IMAGE_VALUE] = JENTRY_ISNUMERIC | (next - dst);
				dst = next;
			}
			record->value.f = value->f;
			break;
		case CFP_VALUE_STRING:
			dst = put_string(dst, &head->values[IMAGE_VALUE],
							 value->str, value->str_len);
			break;
	}

	dst = put_string(dst, &head->values[IMAGE_STATUS],
					 fields->status, fields->status_len);

	next = put_int(dst, fields->version);
	head->values[IMAGE_VERSION] = JENTRY_ISNUMERIC | (next - dst);
	dst = next;

	dst = put_string(dst, &head->values[IMAGE_USERNAME],
					 fields->username, fields->username_len);

	dst = put_string(dst, &head->values[IMAGE_TIMESTAMP],
					 fields->has_timestamp ? timestamp : NULL, timestamp_len);
	if (fields->has_timestamp)
	{
		flags |= CFP_RECORD_HAS_TIMESTAMP;
		record->timestamp = fields->timestamp;
	}

	if (fields->has_status_int)
	{
		next = put_int(dst, fields->status_int);
		head->values[IMAGE_STATUS_INT] = JENTRY_ISNUMERIC | (next - dst);
		dst = next;
		flags |= CFP_RECORD_HAS_STATUS_INT;
		record->status_int = fields->status_int;
	}
	else
		head->values[IMAGE_STATUS_INT] = JENTRY_ISNULL;

	dst = put_string(dst, &head->values[IMAGE_UPDATED_AT], updated_at, updated_at_len);

	SET_VARSIZE(image, dst - (char *) image);

	if (fields->data == NULL && value->type == CFP_VALUE_NONE)
		flags |= CFP_RECORD_TOMBSTONE;
	record->size = MAXALIGN(dst - (char *) record);
	record->version = fields->version;
	record->updated_at = fields->updated_at;
	record->flags = flags;
	record->value_type = value->type;
	memset(dst, 0, (char *) record + record->size - dst);

	return record;
}

/* Where entry n of the image starts, padding skipped, and its length. */
static const char *
image_entry(const CfpRecord *record, int n, int *len, JEntry *entry)
{
	const ImageHead *head = (const ImageHead *) &CFP_RECORD_IMAGE(record)->root;
	const char *start = (const char *) head + IMAGE_HEAD_LEN;
	const char *end;

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
}

CfpRecord *
cfp_record_from_row(const Datum *values, const bool *nulls)
{
	CfpFields	fields = {0};

	/*
	 * Everything is only copied, so short varlenas (whose bytes are not
	 * aligned) need not be expanded first.
	 */
	if (!nulls[CFP_COL_DATA])
	{
		struct varlena *data = PG_DETOAST_DATUM_PACKED(values[CFP_COL_DATA]);

		fields.data = (const JsonbContainer *) VARDATA_ANY(data);
		fields.data_len = VARSIZE_ANY_EXHDR(data);
	}
	if (!nulls[CFP_COL_VALUE_INT])
	{
		fields.value.type = CFP_VALUE_INT;
		fields.value.i = DatumGetInt64(values[CFP_COL_VALUE_INT]);
	}
	else if (!nulls[CFP_COL_VALUE_FLOAT])
	{
		fields.value.type = CFP_VALUE_FLOAT;
		fields.value.f = DatumGetFloat8(values[CFP_COL_VALUE_FLOAT]);
	}
	else if (!nulls[CFP_COL_VALUE_STRING])
	{
		text	   *str = DatumGetTextPP(values[CFP_COL_VALUE_STRING]);

		fields.value.type = CFP_VALUE_STRING;
		fields.value.str = VARDATA_ANY(str);
		fields.value.str_len = VARSIZE_ANY_EXHDR(str);
	}
	if (!nulls[CFP_COL_TIMESTAMP])
	{
		fields.has_timestamp = true;
		fields.timestamp = DatumGetTimestampTz(values[CFP_COL_TIMESTAMP]);
	}
	if (!nulls[CFP_COL_STATUS])
	{
		text	   *status = DatumGetTextPP(values[CFP_COL_STATUS]);

		fields.status = VARDATA_ANY(status);
		fields.status_len = VARSIZE_ANY_EXHDR(status);
	}
	if (!nulls[CFP_COL_STATUS_INT])
	{
		fields.has_status_int = true;
		fields.status_int = DatumGetInt32(values[CFP_COL_STATUS_INT]);
	}
	if (!nulls[CFP_COL_USERNAME])
	{
		text	   *username = DatumGetTextPP(values[CFP_COL_USERNAME]);

		fields.username = VARDATA_ANY(username);
		fields.username_len = VARSIZE_ANY_EXHDR(username);
	}
	fields.updated_at = DatumGetTimestampTz(values[CFP_COL_UPDATED_AT]);
	fields.version = DatumGetInt32(values[CFP_COL_VERSION]);

	return cfp_record_make(&fields);
}

/* A jsonb datum whose root is the given container. */
static Jsonb *
make_jsonb(const JsonbContainer *container, int len)
{
	Jsonb	   *result = palloc(VARHDRSZ + len);

	memcpy(&result->root, container, len);
	SET_VARSIZE(result, VARHDRSZ + len);
	return result;
}

void
cfp_record_to_row(const CfpRecord *record, Datum *values, bool *nulls)
{
	CfpFields	fields;

	cfp_record_fields(record, &fields);
	for (int i = CFP_COL_DATA; i <= CFP_COL_VERSION; i++)
	{
		values[i] = (Datum) 0;
		nulls[i] = true;
	}

	if (fields.data != NULL)
	{
		values[CFP_COL_DATA] = JsonbPGetDatum(make_jsonb(fields.data, fields.data_len));
		nulls[CFP_COL_DATA] = false;
	}
	switch (fields.value.type)
	{
		case CFP_VALUE_NONE:
			break;
		case CFP_VALUE_INT:
			values[CFP_COL_VALUE_INT] = Int64GetDatum(fields.value.i);
			nulls[CFP_COL_VALUE_INT] = false;
			break;
		case CFP_VALUE_FLOAT:
			values[CFP_COL_VALUE_FLOAT] = Float8GetDatum(fields.value.f);
			nulls[CFP_COL_VALUE_FLOAT] = false;
			break;
		case CFP_VALUE_STRING:
			values[CFP_COL_VALUE_STRING] =
				PointerGetDatum(cstring_to_text_with_len(fields.value.str,
														 fields.value.str_len));
			nulls[CFP_COL_VALUE_STRING] = false;
			break;
	}
	if (fields.has_timestamp)
	{
		values[CFP_COL_TIMESTAMP] = TimestampTzGetDatum(fields.timestamp);
		nulls[CFP_COL_TIMESTAMP] = false;
	}
	if (fields.status != NULL)
	{
		values[CFP_COL_STATUS] =
			PointerGetDatum(cstring_to_text_with_len(fields.status, fields.status_len));
		nulls[CFP_COL_STATUS] = false;
	}
	if (fields.has_status_int)
	{
		values[CFP_COL_STATUS_INT] = Int32GetDatum(fields.status_int);
		nulls[CFP_COL_STATUS_INT] = false;
	}
	if (fields.username != NULL)
	{
		values[CFP_COL_USERNAME] =
			PointerGetDatum(cstring_to_text_with_len(fields.username,
													 fields.username_len));
		nulls[CFP_COL_USERNAME] = false;
	}
	values[CFP_COL_UPDATED_AT] = TimestampTzGetDatum(fields.updated_at);
	nulls[CFP_COL_UPDATED_AT] = false;
	values[CFP_COL_VERSION] = Int32GetDatum(fields.version);
	nulls[CFP_COL_VERSION] = false;
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

	return data != NULL ? make_jsonb(data, len) : NULL;
}

uint64
cfp_record_etag(const char *item, int item_len, const CfpRecord *record)
{
	/*
	 * Version and time go in as the seed, spread so that neither can undo
	 * the other; the hash mixes all of it, so that sums do not cancel out.
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

pg_noreturn static void value_not_finite(void);

static void
value_not_finite(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
			 errmsg("value must be a finite number"),
			 errdetail("JSON has no NaN and no infinity."),
			 errhint("Store it as text, or store no value.")));
}

static void
route_float(CfpValue *value, float8 f)
{
	if (isnan(f) || isinf(f))
		value_not_finite();
	value->type = CFP_VALUE_FLOAT;
	value->f = f;
}

static void
route_int(CfpValue *value, int64 i)
{
	value->type = CFP_VALUE_INT;
	value->i = i;
}

static void
route_string(CfpValue *value, const char *str, int len)
{
	value->type = CFP_VALUE_STRING;
	value->str = str;
	value->str_len = len;
}

/* By display scale: 5 is an integer, 5.0 a float. */
static void
route_numeric(CfpValue *value, Numeric num)
{
	Datum		datum = NumericGetDatum(num);

	if (numeric_is_nan(num) || numeric_is_inf(num))
		value_not_finite();
	if (DatumGetInt32(DirectFunctionCall1(numeric_scale, datum)) == 0)
		route_int(value, DatumGetInt64(DirectFunctionCall1(numeric_int8, datum)));
	else
		route_float(value, DatumGetFloat8(DirectFunctionCall1(numeric_float8, datum)));
}

static void
route_jsonb(CfpValue *value, Jsonb *jsonb)
{
	JsonbValue	scalar;

	if (!JB_ROOT_IS_SCALAR(jsonb))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("value must be a JSON scalar, not a JSON %s",
						JB_ROOT_IS_OBJECT(jsonb) ? "object" : "array"),
				 errhint("Put objects and arrays into data.")));

	JsonbExtractScalar(&jsonb->root, &scalar);
	switch (scalar.type)
	{
		case jbvString:
			route_string(value, scalar.val.string.val, scalar.val.string.len);
			break;
		case jbvNumeric:
			route_numeric(value, scalar.val.numeric);
			break;
		case jbvBool:
			route_int(value, scalar.val.boolean ? 1 : 0);
			break;
		default:				/* JSON null */
			break;
	}
}

void
cfp_value_route(CfpValue *value, Oid type, Datum datum, bool isnull)
{
	memset(value, 0, sizeof(*value));
	if (isnull)
		return;

	switch (type)
	{
		case INT2OID:
			route_int(value, DatumGetInt16(datum));
			break;
		case INT4OID:
			route_int(value, DatumGetInt32(datum));
			break;
		case INT8OID:
			route_int(value, DatumGetInt64(datum));
			break;
		case BOOLOID:
			route_int(value, DatumGetBool(datum) ? 1 : 0);
			break;
		case FLOAT4OID:
			route_float(value, (float8) DatumGetFloat4(datum));
			break;
		case FLOAT8OID:
			route_float(value, DatumGetFloat8(datum));
			break;
		case NUMERICOID:
			route_numeric(value, DatumGetNumeric(datum));
			break;
		case TEXTOID:
		case VARCHAROID:
			{
				text	   *str = DatumGetTextPP(datum);

				route_string(value, VARDATA_ANY(str), VARSIZE_ANY_EXHDR(str));
				break;
			}
		case BPCHAROID:
			{
				BpChar	   *str = DatumGetBpCharPP(datum);

				/* The padding is no part of the value, as in a cast to text. */
				route_string(value, VARDATA_ANY(str),
							 bpchartruelen(VARDATA_ANY(str), VARSIZE_ANY_EXHDR(str)));
				break;
			}
		case NAMEOID:
			route_string(value, NameStr(*DatumGetName(datum)),
						 strlen(NameStr(*DatumGetName(datum))));
			break;
		case UNKNOWNOID:
			route_string(value, DatumGetCString(datum), strlen(DatumGetCString(datum)));
			break;
		case JSONBOID:
			route_jsonb(value, DatumGetJsonbP(datum));
			break;
		case JSONOID:
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("cannot store a value of type %s", "json"),
					 errhint("Cast it to jsonb.")));
			break;
		case InvalidOid:
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("could not determine the type of the value"),
					 errhint("Cast the value to the type it is to have.")));
			break;
		default:
			{
				Oid			base = getBaseType(type);

				if (base != type)
					cfp_value_route(value, base, datum, isnull);
				else
					ereport(ERROR,
							(errcode(ERRCODE_DATATYPE_MISMATCH),
							 errmsg("cannot store a value of type %s",
									format_type_be(type)),
							 errhint("Cast it to bigint, double precision, numeric, boolean, text or jsonb.")));
			}
	}
}

pg_noreturn static void special_field_error(int sqlstate, const char *field,
											const JsonbValue *value, const char *wanted);

static void
special_field_error(int sqlstate, const char *field, const JsonbValue *value,
					const char *wanted)
{
	const char *given;

	switch (value->type)
	{
		case jbvString:
			given = psprintf("\"%s\"",
							 pnstrdup(value->val.string.val,
									  pg_mbcliplen(value->val.string.val,
												   value->val.string.len, 100)));
			break;
		case jbvNumeric:
			given = DatumGetCString(DirectFunctionCall1(numeric_out,
														NumericGetDatum(value->val.numeric)));
			break;
		case jbvBool:
			given = value->val.boolean ? "true" : "false";
			break;
		default:
			given = "an object or array";
			break;
	}
	ereport(ERROR,
			(errcode(sqlstate),
			 errmsg("invalid value for special field \"%s\"", field),
			 errdetail("The data's \"%s\" is %s, but must be %s.", field, given, wanted),
			 errhint("Correct it, leave it out of data, or use another name for it.")));
}

/*
 * Could data have a key of this length?  Most data has none of the special
 * fields, and looking at lengths spares the search.  The first stride of keys
 * has its lengths in the entries, the first one's offset included.
 */
static inline bool
has_key_of_length(const JsonbContainer *data, int len)
{
	int			nkeys = JsonContainerSize(data);

	if (nkeys > JB_OFFSET_STRIDE)
		return true;
	for (int i = 0; i < nkeys; i++)
	{
		if (JBE_OFFLENFLD(data->children[i]) == len)
			return true;
	}
	return false;
}

/* A member of data, unless it is absent or JSON null. */
static bool
special_field(const JsonbContainer *data, const char *field, int len,
			  JsonbValue *value)
{
	return has_key_of_length(data, len) &&
		getKeyJsonValueFromContainer((JsonbContainer *) data, field, len, value) != NULL &&
		value->type != jbvNull;
}

static bool
special_string(const JsonbContainer *data, const char *field, int field_len,
			   const char **str, int *len)
{
	JsonbValue	value;

	if (!special_field(data, field, field_len, &value))
		return false;
	if (value.type != jbvString)
		special_field_error(ERRCODE_INVALID_PARAMETER_VALUE, field, &value,
							"a string or null");
	*str = value.val.string.val;
	*len = value.val.string.len;
	return true;
}

static bool
special_int(const JsonbContainer *data, const char *field, int field_len, int32 *result)
{
	JsonbValue	value;
	bool		failed = true;

	if (!special_field(data, field, field_len, &value))
		return false;
	if (value.type == jbvNumeric)
	{
		Datum		given = NumericGetDatum(value.val.numeric);
		Datum		whole = DirectFunctionCall2(numeric_trunc, given, Int32GetDatum(0));

		/* Rounding, as a cast would do, would store what was not given. */
		if (DatumGetBool(DirectFunctionCall2(numeric_eq, given, whole)))
			*result = numeric_int4_opt_error(value.val.numeric, &failed);
	}
	if (failed)
		special_field_error(ERRCODE_INVALID_PARAMETER_VALUE, field, &value,
							"a whole number in the range of integer, or null");
	return true;
}

/* What timestamptz_in makes of the string, but with an error that names the field. */
static bool
special_timestamp(const JsonbContainer *data, const char *field, int field_len,
				  TimestampTz *result)
{
	static const char wanted[] = "a string that timestamptz accepts, or null";
	JsonbValue	value;
	char	   *parts[MAXDATEFIELDS];
	int			types[MAXDATEFIELDS];
	char		workbuf[MAXDATELEN + MAXDATEFIELDS];
	int			nparts;
	int			kind;
	int			tz;
	fsec_t		fsec;
	struct pg_tm tm;
	char	   *str;

	if (!special_field(data, field, field_len, &value))
		return false;
	if (value.type != jbvString)
		special_field_error(ERRCODE_INVALID_PARAMETER_VALUE, field, &value, wanted);

	str = pnstrdup(value.val.string.val, value.val.string.len);
	if (ParseDateTime(str, workbuf, sizeof(workbuf), parts, types,
					  MAXDATEFIELDS, &nparts) != 0 ||
		cfp_DecodeDateTime(parts, types, nparts, &kind, &tm, &fsec, &tz) != 0)
		kind = -1;
	pfree(str);

	switch (kind)
	{
		case DTK_DATE:
			if (tm2timestamp(&tm, fsec, &tz, result) == 0)
				return true;
			break;
		case DTK_EPOCH:
			*result = SetEpochTimestamp();
			return true;
		case DTK_LATE:
			TIMESTAMP_NOEND(*result);
			return true;
		case DTK_EARLY:
			TIMESTAMP_NOBEGIN(*result);
			return true;
		default:
			break;
	}
	special_field_error(ERRCODE_INVALID_DATETIME_FORMAT, field, &value, wanted);
}

#define FIELD(name) name, sizeof(name) - 1

void
cfp_special_fields(CfpFields *fields, TimestampTz ts, bool ts_isnull,
				   const char *username, int username_len)
{
	const JsonbContainer *data = fields->data;

	fields->has_timestamp = true;
	if (!ts_isnull)
		fields->timestamp = ts;
	else if (data == NULL ||
			 !special_timestamp(data, FIELD("timestamp"), &fields->timestamp))
		fields->timestamp = GetCurrentTransactionStartTimestamp();

	if (username != NULL)
	{
		fields->username = username;
		fields->username_len = username_len;
	}
	else if (data == NULL ||
			 !special_string(data, FIELD("username"),
							 &fields->username, &fields->username_len))
	{
		fields->username = cfp_username[0] != '\0' ? cfp_username : NULL;
		fields->username_len = strlen(cfp_username);
	}

	if (data == NULL ||
		!special_string(data, FIELD("status"), &fields->status, &fields->status_len))
		fields->status = NULL;

	fields->has_status_int = data != NULL &&
		special_int(data, FIELD("status_int"), &fields->status_int);
}

static inline int
compare_pairs(const CfpPair *a, const CfpPair *b)
{
	if (a->key_len != b->key_len)
		return a->key_len < b->key_len ? -1 : 1;
	return memcmp(a->key, b->key, a->key_len);
}

#define ST_SORT sort_pairs
#define ST_ELEMENT_TYPE CfpPair
#define ST_COMPARE(a, b) compare_pairs(a, b)
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

Jsonb *
cfp_jsonb_object(CfpPair *pairs, int npairs)
{
	Jsonb	   *result;
	JEntry	   *entries;
	Size		room;
	Size		payload = 0;
	char	   *base;
	char	   *dst;

	sort_pairs(pairs, npairs);

	/* An upper bound: each value might need 3 bytes of padding. */
	room = VARHDRSZ + sizeof(uint32) + (Size) npairs * (2 * sizeof(JEntry) + 3);
	for (int i = 0; i < npairs; i++)
		payload += (Size) pairs[i].key_len + pairs[i].value_len;
	if (room + payload > JENTRY_OFFLENMASK)
		too_large("Read the items one by one, or with cfp_items().");

	result = palloc(room + payload);
	result->root.header = npairs | JB_FOBJECT;
	entries = result->root.children;
	base = dst = (char *) (entries + 2 * npairs);

	for (int i = 0; i < npairs; i++)
	{
		dst = put_bytes(dst, pairs[i].key, pairs[i].key_len);
		entries[i] = (i % JB_OFFSET_STRIDE) == 0 ?
			JENTRY_ISSTRING | JENTRY_HAS_OFF | (dst - base) :
			JENTRY_ISSTRING | pairs[i].key_len;
	}
	for (int i = 0; i < npairs; i++)
	{
		const JsonbContainer *value = pairs[i].value;
		char	   *start = dst;
		JEntry		entry;

		if (value == NULL)
			entry = JENTRY_ISNULL;
		else if (JsonContainerIsScalar(value))
		{
			/* Out of its array; the element's own JEntry says what it is. */
			entry = value->children[0] & JENTRY_TYPEMASK;
			if (entry == JENTRY_ISNUMERIC)
				dst = put_padding(dst);
			dst = put_bytes(dst, &value->children[1],
							JBE_OFFLENFLD(value->children[0]));
		}
		else
		{
			entry = JENTRY_ISCONTAINER;
			dst = put_padding(dst);
			dst = put_bytes(dst, value, pairs[i].value_len);
		}
		entries[npairs + i] = ((npairs + i) % JB_OFFSET_STRIDE) == 0 ?
			entry | JENTRY_HAS_OFF | (dst - base) :
			entry | (dst - start);
	}
	SET_VARSIZE(result, dst - (char *) result);
	return result;
}
