/*-------------------------------------------------------------------------
 *
 * json_line.c
 *		One record as one line of JSON, and back.
 *
 * Written by day_files.c (each record flushed), read by rebuild.c and
 * wal_files.c.  Functions of their arguments and of the server's encoding:
 * no locks, no shared memory, no catalogs but the database's name.
 *
 * A line has these members, all of them always, in this order:
 *
 *		key, collection_name, item_name, data, value, timestamp, status,
 *		status_int, username, updated_at, version, txid
 *
 * "value" is the one of value_int, value_float and value_string that is not
 * NULL.  A number without point and exponent is an integer, any other a
 * float; a float is the shortest text that reads back as the same float8.
 * Timestamps are in UTC with microseconds.  Lines are UTF-8 whatever the
 * server's encoding; in a SQL_ASCII database they have its bytes as they are.
 *
 * Writing: one json-c object, made once, whose members are filled in anew for
 * each line.  json-c writes the object and its strings; what JSON has no
 * exact C type for (numbers, jsonb) is text that PostgreSQL makes, put in by
 * a serializer.
 *
 * Reading: json-c keeps integers of 64 bits and floats only, and data may
 * have numbers of any size.  So the server's lexer reads the line and its
 * jsonb input function data.  Their errors are caught and become the reason
 * why a line is bad: nothing they do needs a transaction's end to be undone.
 *
 *-------------------------------------------------------------------------
 */
#include "cfp.h"

#include <math.h>

#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "common/jsonapi.h"
#include "common/shortest_dec.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "compat.h"
#include "day_dir.h"
#include "json_line.h"
#include "jsonc.h"
#include "record.h"

/* The members of a line. */
enum
{
	LINE_KEY,
	LINE_COLLECTION,
	LINE_ITEM,
	LINE_DATA,
	LINE_VALUE,
	LINE_TIMESTAMP,
	LINE_STATUS,
	LINE_STATUS_INT,
	LINE_USERNAME,
	LINE_UPDATED_AT,
	LINE_VERSION,
	LINE_TXID,
	LINE_MEMBERS
};

static const char *const member_names[] = {
	"key", "collection_name", "item_name", "data", "value", "timestamp", "status",
	"status_int", "username", "updated_at", "version", "txid"
};

/* Only the first line of a day file has it. */
#define HEADER_MEMBER		"cfp"
#define HEADER_FORMAT		1

#define PLAIN_JSON			(JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE)

static void
out_of_memory(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_OUT_OF_MEMORY),
			 errmsg("out of memory"),
			 errdetail("A line of a day file could not be made.")));
}

/*-------------------------------------------------------------------------
 * Writing
 *-------------------------------------------------------------------------
 */

/* Text that goes into the line as it is. */
typedef struct RawText
{
	const char *text;
	int			len;
	char		room[MAXDATELEN + 3];	/* for numbers and timestamps */
} RawText;

/* A member of the object; a string has none of `raw`, and both may be there. */
typedef struct Member
{
	jsonc_object *string;
	jsonc_object *raw;
	jsonc_object *shown;		/* the one that is in the object now */
	RawText		text;
} Member;

static jsonc_object *line = NULL;
static Member members[LINE_MEMBERS];
static int	frame_len;			/* of a line without any value */
static int	line_len;			/* that the line will have at least */
static MemoryContext scratch;	/* of one line */

static int
write_raw(struct jsonc_object *object, struct printbuf *out, int level, int flags)
{
	RawText    *raw = json_object_get_userdata(object);

	return printbuf_memappend(out, raw->text, raw->len);
}

static jsonc_object *
checked(jsonc_object *object)
{
	if (object == NULL)
		out_of_memory();
	return object;
}

static void
show(int n, jsonc_object *object)
{
	if (members[n].shown == object)
		return;
	/* The object owns what it shows; the members own theirs as well. */
	if (json_object_object_add_ex(line, member_names[n], json_object_get(object),
								  JSON_C_OBJECT_ADD_CONSTANT_KEY) != 0)
		out_of_memory();
	members[n].shown = object;
}

/* Once in a process; begun anew when memory ran out half-way. */
static void
line_init(void)
{
	if (scratch == NULL)
		scratch = AllocSetContextCreate(TopMemoryContext, "cfp line",
										ALLOCSET_DEFAULT_SIZES);
	if (line != NULL)
		json_object_put(line);
	memset(members, 0, sizeof(members));
	line = checked(json_object_new_object());
	frame_len = 2;
	for (int n = 0; n < LINE_MEMBERS; n++)
	{
		Member	   *member = &members[n];

		member->string = checked(json_object_new_string(""));
		member->raw = checked(json_object_new_int(0));
		json_object_set_serializer(member->raw, write_raw, &member->text, NULL);
		if (json_object_object_add_ex(line, member_names[n], NULL,
									  JSON_C_OBJECT_ADD_KEY_IS_NEW |
									  JSON_C_OBJECT_ADD_CONSTANT_KEY) != 0)
			out_of_memory();
		frame_len += strlen(member_names[n]) + strlen("\"\":,");
	}
}

static void
put_null(int n)
{
	show(n, NULL);
	line_len += strlen("null");
}

static void
put_string(int n, Datum value, bool isnull)
{
	text	   *str;

	if (isnull)
	{
		put_null(n);
		return;
	}
	str = DatumGetTextPP(value);
	if (json_object_set_string_len(members[n].string, VARDATA_ANY(str),
								   VARSIZE_ANY_EXHDR(str)) == 0)
		out_of_memory();
	show(n, members[n].string);
	line_len += VARSIZE_ANY_EXHDR(str) + 2;
}

/* The text lives until the line is written. */
static void
put_raw(int n, const char *text, int len)
{
	members[n].text.text = text;
	members[n].text.len = len;
	show(n, members[n].raw);
	line_len += len;
}

static void
put_int(int n, int64 value)
{
	char	   *room = members[n].text.room;

	put_raw(n, room, pg_lltoa(value, room));
}

static void
put_txid(int n, uint64 value)
{
	char	   *room = members[n].text.room;

	put_raw(n, room, pg_ulltoa_n(value, room));
}

/*
 * Always with a point or an exponent.  What JSON has no number for can only
 * have been written by hand, and is a string.
 */
static void
put_float(int n, float8 value)
{
	char	   *room = members[n].text.room;
	int			len;

	if (isnan(value))
		put_raw(n, "\"NaN\"", 5);
	else if (isinf(value))
		put_raw(n, value > 0 ? "\"Infinity\"" : "\"-Infinity\"", value > 0 ? 10 : 11);
	else
	{
		len = double_to_shortest_decimal_bufn(value, room);
		room[len] = '\0';
		if (strpbrk(room, ".e") == NULL)
		{
			memcpy(room + len, ".0", 2);
			len += 2;
		}
		put_raw(n, room, len);
	}
}

static inline char *
put_digits(char *dst, uint32 value, int width, char behind)
{
	for (int i = width - 1; i >= 0; i--)
	{
		dst[i] = '0' + value % 10;
		value /= 10;
	}
	dst[width] = behind;
	return dst + width + 1;
}

/* "2026-11-21T11:39:21.123456Z"; "infinity"; beyond year 9999 as XML has it. */
static void
put_timestamp(int n, Datum datum, bool isnull)
{
	static const int utc = 0;
	char	   *room = members[n].text.room;
	char	   *dst = room;
	TimestampTz ts = DatumGetTimestampTz(datum);
	int			year,
				month,
				day;
	int64		days;
	int64		time;

	if (isnull)
	{
		put_null(n);
		return;
	}

	*dst++ = '"';
	days = ts / USECS_PER_DAY - (ts % USECS_PER_DAY < 0 ? 1 : 0);
	if (!TIMESTAMP_NOT_FINITE(ts))
		j2date((int) days + POSTGRES_EPOCH_JDATE, &year, &month, &day);
	if (!TIMESTAMP_NOT_FINITE(ts) && year >= 1 && year <= 9999)
	{
		time = ts - days * USECS_PER_DAY;
		dst = put_digits(dst, year, 4, '-');
		dst = put_digits(dst, month, 2, '-');
		dst = put_digits(dst, day, 2, 'T');
		dst = put_digits(dst, time / USECS_PER_HOUR, 2, ':');
		dst = put_digits(dst, time / USECS_PER_MINUTE % MINS_PER_HOUR, 2, ':');
		dst = put_digits(dst, time / USECS_PER_SEC % SECS_PER_MINUTE, 2, '.');
		dst = put_digits(dst, time % USECS_PER_SEC, 6, 'Z');
	}
	else
	{
		JsonEncodeDateTime(dst, datum, TIMESTAMPTZOID, &utc);
		dst += strlen(dst);
	}
	*dst++ = '"';
	put_raw(n, room, dst - room);
}

static void
put_data(int n, Datum datum, bool isnull)
{
	StringInfoData text;
	Jsonb	   *data;

	if (isnull)
	{
		put_null(n);
		return;
	}
	data = DatumGetJsonbP(datum);
	initStringInfo(&text);
	(void) JsonbToCString(&text, &data->root, VARSIZE(data));
	put_raw(n, text.data, text.len);
}

/*
 * Append bytes of the server's encoding in UTF-8.  A character that UTF-8 has
 * no place for becomes U+FFFD: it must not stop the flush.
 */
static void
append_utf8(StringInfo buf, const char *bytes, int len)
{
	int			encoding = GetDatabaseEncoding();
	Oid			function;

	if (encoding == PG_UTF8 || encoding == PG_SQL_ASCII)
	{
		appendBinaryStringInfo(buf, bytes, len);
		return;
	}
	function = FindDefaultConversionProc(encoding, PG_UTF8);
	if (!OidIsValid(function))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("default conversion function for encoding \"%s\" to \"%s\" does not exist",
						pg_encoding_to_char(encoding), "UTF8")));
	while (len > 0)
	{
		int			room = pg_encoding_max_length(PG_UTF8) * Min(len, 1024 * 1024) + 1;
		int			done;

		enlargeStringInfo(buf, room);
		done = pg_do_encoding_conversion_buf(function, encoding, PG_UTF8,
											 (unsigned char *) bytes, len,
											 (unsigned char *) buf->data + buf->len,
											 room, true);
		buf->len += strlen(buf->data + buf->len);
		bytes += done;
		len -= done;
		if (done == 0)
		{
			int			bad = Min(pg_mblen(bytes), len);

			appendStringInfoString(buf, "\357\277\275");
			bytes += bad;
			len -= bad;
		}
	}
}

/* Append the object's text; json-c says nothing when its buffer cannot grow. */
static void
append_json(StringInfo buf, jsonc_object *object, int least)
{
	size_t		len;
	const char *text = json_object_to_json_string_length(object, PLAIN_JSON, &len);

	if (text == NULL || len < least)
		out_of_memory();
	append_utf8(buf, text, len);
	appendStringInfoCharMacro(buf, '\n');
}

void
cfp_line_write(StringInfo buf, const Datum *values, const bool *nulls)
{
	MemoryContext caller;

	if (members[LINE_MEMBERS - 1].raw == NULL)
		line_init();
	line_len = frame_len - 1;
	caller = MemoryContextSwitchTo(scratch);

	put_string(LINE_KEY, values[CFP_COL_KEY], nulls[CFP_COL_KEY]);
	put_string(LINE_COLLECTION, values[CFP_COL_COLLECTION], nulls[CFP_COL_COLLECTION]);
	put_string(LINE_ITEM, values[CFP_COL_ITEM], nulls[CFP_COL_ITEM]);
	put_data(LINE_DATA, values[CFP_COL_DATA], nulls[CFP_COL_DATA]);
	if (!nulls[CFP_COL_VALUE_INT])
		put_int(LINE_VALUE, DatumGetInt64(values[CFP_COL_VALUE_INT]));
	else if (!nulls[CFP_COL_VALUE_FLOAT])
		put_float(LINE_VALUE, DatumGetFloat8(values[CFP_COL_VALUE_FLOAT]));
	else
		put_string(LINE_VALUE, values[CFP_COL_VALUE_STRING], nulls[CFP_COL_VALUE_STRING]);
	put_timestamp(LINE_TIMESTAMP, values[CFP_COL_TIMESTAMP], nulls[CFP_COL_TIMESTAMP]);
	put_string(LINE_STATUS, values[CFP_COL_STATUS], nulls[CFP_COL_STATUS]);
	if (!nulls[CFP_COL_STATUS_INT])
		put_int(LINE_STATUS_INT, DatumGetInt32(values[CFP_COL_STATUS_INT]));
	else
		put_null(LINE_STATUS_INT);
	put_string(LINE_USERNAME, values[CFP_COL_USERNAME], nulls[CFP_COL_USERNAME]);
	put_timestamp(LINE_UPDATED_AT, values[CFP_COL_UPDATED_AT], nulls[CFP_COL_UPDATED_AT]);
	put_int(LINE_VERSION, DatumGetInt32(values[CFP_COL_VERSION]));
	put_txid(LINE_TXID,
			 U64FromFullTransactionId(DatumGetFullTransactionId(values[CFP_COL_TXID])));
	append_json(buf, line, line_len);

	MemoryContextSwitchTo(caller);
	MemoryContextReset(scratch);
}

static void
add(jsonc_object *object, const char *name, jsonc_object *value)
{
	if (json_object_object_add(object, name, checked(value)) != 0)
		out_of_memory();
}

void
cfp_line_write_header(StringInfo buf, DateADT date)
{
	jsonc_object *header = checked(json_object_new_object());
	char	   *database = get_database_name(MyDatabaseId);

	add(header, HEADER_MEMBER, json_object_new_int(HEADER_FORMAT));
	add(header, "server_version", json_object_new_string(PG_VERSION));
	add(header, "system_identifier",
		json_object_new_string(psprintf(UINT64_FORMAT, GetSystemIdentifier())));
	add(header, "database", json_object_new_string(database ? database : ""));
	add(header, "database_oid", json_object_new_int64(MyDatabaseId));
	add(header, "date", json_object_new_string(cfp_date_text(date)));
	append_json(buf, header, 0);
	json_object_put(header);
}
