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
 * Timestamps are written as cfp_get() gives them.  Lines are UTF-8 whatever the
 * server's encoding, '?' for what has no place there; in a SQL_ASCII database
 * they have its bytes as they are.
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
#include "transcode.h"

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

static void
show(int n, jsonc_object *object)
{
	if (members[n].shown == object)
		return;
	/* The object owns what it shows; the members own theirs as well. */
	if (json_object_object_add_ex(line, member_names[n], json_object_get(object),
								  JSON_C_OBJECT_ADD_CONSTANT_KEY) != 0)
		cfp_jsonc_out_of_memory();
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
	line = cfp_jsonc_made(json_object_new_object());
	frame_len = 2;
	for (int n = 0; n < LINE_MEMBERS; n++)
	{
		Member	   *member = &members[n];

		member->string = cfp_jsonc_made(json_object_new_string(""));
		member->raw = cfp_jsonc_made(json_object_new_int(0));
		json_object_set_serializer(member->raw, write_raw, &member->text, NULL);
		if (json_object_object_add_ex(line, member_names[n], NULL,
									  JSON_C_OBJECT_ADD_KEY_IS_NEW |
									  JSON_C_OBJECT_ADD_CONSTANT_KEY) != 0)
			cfp_jsonc_out_of_memory();
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
		cfp_jsonc_out_of_memory();
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

static void
put_timestamp(int n, Datum datum, bool isnull)
{
	char	   *room = members[n].text.room;
	int			len;

	if (isnull)
	{
		put_null(n);
		return;
	}
	room[0] = '"';
	len = cfp_encode_timestamp(room + 1, DatumGetTimestampTz(datum));
	room[len + 1] = '"';
	put_raw(n, room, len + 2);
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

/* Append the object's text; json-c says nothing when its buffer cannot grow. */
static void
append_json(StringInfo buf, jsonc_object *object, int least)
{
	int			encoding = GetDatabaseEncoding();
	size_t		len;
	const char *text = json_object_to_json_string_length(object, PLAIN_JSON, &len);

	if (text == NULL || len < least)
		cfp_jsonc_out_of_memory();
	/* A character without a place in UTF-8 must not stop the flush. */
	if (encoding == PG_UTF8 || encoding == PG_SQL_ASCII)
		appendBinaryStringInfo(buf, text, len);
	else
		cfp_append_transcoded(buf, text, len, encoding, PG_UTF8);
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
add_string(jsonc_object *object, const char *name, const char *value)
{
	cfp_jsonc_add(object, name, cfp_jsonc_made(json_object_new_string(value)));
}

void
cfp_line_write_header(StringInfo buf, DateADT date)
{
	jsonc_object *header = cfp_jsonc_made(json_object_new_object());
	char	   *database = get_database_name(MyDatabaseId);
	StringInfoData name;

	initStringInfo(&name);
	if (database != NULL)
		cfp_append_transcoded(&name, database, strlen(database),
							  GetDatabaseEncoding(), GetDatabaseEncoding());
	cfp_jsonc_add(header, HEADER_MEMBER, cfp_jsonc_made(json_object_new_int(HEADER_FORMAT)));
	add_string(header, "server_version", PG_VERSION);
	add_string(header, "system_identifier", psprintf(UINT64_FORMAT, GetSystemIdentifier()));
	add_string(header, "database", name.data);
	cfp_jsonc_add(header, "database_oid", cfp_jsonc_made(json_object_new_int64(MyDatabaseId)));
	add_string(header, "date", cfp_date_text(date));
	append_json(buf, header, 0);
	json_object_put(header);
}

/*-------------------------------------------------------------------------
 * Reading
 *-------------------------------------------------------------------------
 */

/*
 * A line being read.  What is wrong with it is thrown, as class 22 or 54, or
 * as 0A000: an escape for which the server's encoding has no conversion.
 */
typedef struct LineReader
{
	JsonLexContext *lex;
	Datum	   *values;
	bool	   *nulls;
	bool		header;
	int			names_len;
} LineReader;

pg_noreturn static void bad_line(const char *message, ...) pg_attribute_printf(1, 2);

static void
bad_line(const char *message, ...)
{
	StringInfoData text;
	va_list		args;
	int			needed;

	initStringInfo(&text);
	do
	{
		va_start(args, message);
		needed = appendStringInfoVA(&text, message, args);
		va_end(args);
		if (needed > 0)
			enlargeStringInfo(&text, needed);
	} while (needed > 0);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg_internal("%s", text.data)));
}

pg_noreturn static void bad_json(LineReader *reader, JsonParseErrorType error);

static void
bad_json(LineReader *reader, JsonParseErrorType error)
{
	if (error != JSON_SUCCESS && reader->lex->token_type == JSON_TOKEN_END)
		error = JSON_EXPECTED_MORE;
	bad_line("not JSON: %s", json_errdetail(error, reader->lex));
}

static inline JsonTokenType
next_token(LineReader *reader)
{
	JsonParseErrorType result = json_lex(reader->lex);

	if (result != JSON_SUCCESS)
		bad_line("not JSON: %s", json_errdetail(result, reader->lex));
	return reader->lex->token_type;
}

static inline void
expect(LineReader *reader, JsonTokenType token, JsonParseErrorType error)
{
	if (next_token(reader) != token)
		bad_json(reader, error);
}

/*
 * Step over the object or array that begins with the current token.  Whether
 * what is between is JSON is left to who reads it; if it is, this is its end.
 */
static const char *
nested_end(LineReader *reader)
{
	const char *p = reader->lex->token_start;
	const char *end = reader->lex->input + reader->lex->input_length;
	int			depth = 0;

	for (; p < end; p++)
	{
		switch (*p)
		{
			case '"':
				for (p++; p < end && *p != '"'; p++)
				{
					if (*p == '\\')
						p++;
				}
				break;
			case '{':
			case '[':
				depth++;
				break;
			case '}':
			case ']':
				if (--depth == 0)
				{
					reader->lex->token_terminator = unconstify(char *, p + 1);
					return p + 1;
				}
				break;
		}
	}
	bad_line("not JSON: the line ends too early");
}

static Datum
nested_value(LineReader *reader)
{
	const char *start = reader->lex->token_start;
	const char *end = nested_end(reader);

	return DirectFunctionCall1(jsonb_in, CStringGetDatum(pnstrdup(start, end - start)));
}

/* The token's text, if it is of the wanted type; NULL: JSON null. */
static char *
token_text(LineReader *reader, int member, JsonTokenType wanted)
{
	JsonLexContext *lex = reader->lex;

	if (lex->token_type == JSON_TOKEN_NULL)
		return NULL;
	if (lex->token_type != wanted)
		bad_line("\"%s\" must be %s", member_names[member],
				 wanted == JSON_TOKEN_STRING ? "a string" : "an integer");
	if (wanted == JSON_TOKEN_STRING)
		return lex->strval->data;
	return pnstrdup(lex->token_start, lex->token_terminator - lex->token_start);
}

static void
read_string(LineReader *reader, int member, int column)
{
	if (token_text(reader, member, JSON_TOKEN_STRING) == NULL)
		return;
	reader->values[column] =
		PointerGetDatum(cstring_to_text_with_len(reader->lex->strval->data,
												 reader->lex->strval->len));
	reader->nulls[column] = false;
}

static void
read_name(LineReader *reader, int member, int column)
{
	read_string(reader, member, column);
	if (!reader->nulls[column])
		reader->names_len += reader->lex->strval->len;
}

static inline bool
is_float(const char *number)
{
	return strpbrk(number, ".eE") != NULL;
}

static void
read_int(LineReader *reader, int member, int column)
{
	char	   *number = token_text(reader, member, JSON_TOKEN_NUMBER);

	if (number == NULL)
		return;
	if (is_float(number))
		bad_line("\"%s\" must be an integer", member_names[member]);
	reader->values[column] = Int32GetDatum(pg_strtoint32(number));
	reader->nulls[column] = false;
}

static void
read_txid(LineReader *reader, int member, int column)
{
	char	   *number = token_text(reader, member, JSON_TOKEN_NUMBER);
	uint64		txid;

	if (number == NULL)
		return;
	errno = 0;
	txid = strtou64(number, NULL, 10);
	if (is_float(number) || *number == '-' || errno != 0)
		bad_line("\"%s\" must be a transaction id", member_names[member]);
	reader->values[column] = FullTransactionIdGetDatum(FullTransactionIdFromU64(txid));
	reader->nulls[column] = false;
}

/* A number of so many digits; -1 when there is anything else. */
static inline int
digits(const char *str, int n)
{
	int			value = 0;

	for (int i = 0; i < n; i++)
	{
		if (str[i] < '0' || str[i] > '9')
			return -1;
		value = value * 10 + (str[i] - '0');
	}
	return value;
}

/* As put_timestamp() writes it, between years 1 and 9999. */
static bool
plain_timestamp(const char *str, int len, TimestampTz *ts)
{
	int			year,
				month,
				day,
				hour,
				minute,
				second,
				usec;

	if (len != 27 || str[4] != '-' || str[7] != '-' || str[10] != 'T' ||
		str[13] != ':' || str[16] != ':' || str[19] != '.' || str[26] != 'Z')
		return false;
	year = digits(str, 4);
	month = digits(str + 5, 2);
	day = digits(str + 8, 2);
	hour = digits(str + 11, 2);
	minute = digits(str + 14, 2);
	second = digits(str + 17, 2);
	usec = digits(str + 20, 6);
	if (year < 1 || month < 1 || month > MONTHS_PER_YEAR || day < 1 ||
		day > day_tab[isleap(year)][month - 1] || hour < 0 || hour >= HOURS_PER_DAY ||
		minute < 0 || minute >= MINS_PER_HOUR || second < 0 ||
		second >= SECS_PER_MINUTE || usec < 0)
		return false;
	*ts = (int64) (date2j(year, month, day) - POSTGRES_EPOCH_JDATE) * USECS_PER_DAY +
		((hour * MINS_PER_HOUR + minute) * SECS_PER_MINUTE + second) * USECS_PER_SEC + usec;
	return true;
}

static void
read_timestamp(LineReader *reader, int member, int column)
{
	char	   *str = token_text(reader, member, JSON_TOKEN_STRING);
	TimestampTz ts;

	if (str == NULL)
		return;
	if (!plain_timestamp(str, reader->lex->strval->len, &ts))
		ts = DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(str),
													 ObjectIdGetDatum(InvalidOid),
													 Int32GetDatum(-1)));
	reader->values[column] = TimestampTzGetDatum(ts);
	reader->nulls[column] = false;
}

static void
read_data(LineReader *reader)
{
	if (reader->lex->token_type == JSON_TOKEN_NULL)
		return;
	if (reader->lex->token_type != JSON_TOKEN_OBJECT_START)
		bad_line("\"data\" must be an object");
	reader->values[CFP_COL_DATA] = nested_value(reader);
	reader->nulls[CFP_COL_DATA] = false;
}

static void
read_value(LineReader *reader)
{
	char	   *number;

	switch (reader->lex->token_type)
	{
		case JSON_TOKEN_NULL:
			break;
		case JSON_TOKEN_STRING:
			read_string(reader, LINE_VALUE, CFP_COL_VALUE_STRING);
			break;
		case JSON_TOKEN_NUMBER:
			number = token_text(reader, LINE_VALUE, JSON_TOKEN_NUMBER);
			if (is_float(number))
			{
				reader->values[CFP_COL_VALUE_FLOAT] =
					DirectFunctionCall1(float8in, CStringGetDatum(number));
				reader->nulls[CFP_COL_VALUE_FLOAT] = false;
			}
			else
			{
				reader->values[CFP_COL_VALUE_INT] = Int64GetDatum(pg_strtoint64(number));
				reader->nulls[CFP_COL_VALUE_INT] = false;
			}
			break;
		default:
			bad_line("\"value\" must be a number or a string");
	}
}

/* The value of the member has been lexed, or begins with the token. */
static void
read_member(LineReader *reader, int member)
{
	switch (member)
	{
		case LINE_KEY:
			read_name(reader, member, CFP_COL_KEY);
			break;
		case LINE_COLLECTION:
			read_name(reader, member, CFP_COL_COLLECTION);
			break;
		case LINE_ITEM:
			read_name(reader, member, CFP_COL_ITEM);
			break;
		case LINE_DATA:
			read_data(reader);
			break;
		case LINE_VALUE:
			read_value(reader);
			break;
		case LINE_TIMESTAMP:
			read_timestamp(reader, member, CFP_COL_TIMESTAMP);
			break;
		case LINE_STATUS:
			read_string(reader, member, CFP_COL_STATUS);
			break;
		case LINE_STATUS_INT:
			read_int(reader, member, CFP_COL_STATUS_INT);
			break;
		case LINE_USERNAME:
			read_string(reader, member, CFP_COL_USERNAME);
			break;
		case LINE_UPDATED_AT:
			read_timestamp(reader, member, CFP_COL_UPDATED_AT);
			break;
		case LINE_VERSION:
			read_int(reader, member, CFP_COL_VERSION);
			break;
		case LINE_TXID:
			read_txid(reader, member, CFP_COL_TXID);
			break;
		default:
			/* Of another tool: only that it is JSON matters. */
			if (reader->lex->token_type == JSON_TOKEN_OBJECT_START ||
				reader->lex->token_type == JSON_TOKEN_ARRAY_START)
				(void) nested_value(reader);
			break;
	}
}

static inline bool
is_value(JsonTokenType token)
{
	return token == JSON_TOKEN_STRING || token == JSON_TOKEN_NUMBER ||
		token == JSON_TOKEN_OBJECT_START || token == JSON_TOKEN_ARRAY_START ||
		token == JSON_TOKEN_TRUE || token == JSON_TOKEN_FALSE || token == JSON_TOKEN_NULL;
}

/* The member of this name, looked for first where it stands in our lines. */
static int
find_member(const char *name, int expected)
{
	for (int i = 0; i < LINE_MEMBERS; i++)
	{
		int			member = (expected + i) % LINE_MEMBERS;

		if (strcmp(name, member_names[member]) == 0)
			return member;
	}
	return LINE_MEMBERS;
}

static void
read_members(LineReader *reader)
{
	uint32		seen = 0;
	int			expected = 0;
	JsonTokenType token;

	expect(reader, JSON_TOKEN_OBJECT_START, JSON_EXPECTED_JSON);
	token = next_token(reader);
	while (token != JSON_TOKEN_OBJECT_END)
	{
		int			member;

		if (token != JSON_TOKEN_STRING)
			bad_json(reader, JSON_EXPECTED_STRING);
		member = find_member(reader->lex->strval->data, expected);
		if (member == LINE_MEMBERS &&
			strcmp(reader->lex->strval->data, HEADER_MEMBER) == 0)
			reader->header = true;
		if (member < LINE_MEMBERS && (seen & (1 << member)) != 0)
			bad_line("\"%s\" is there twice", member_names[member]);
		seen |= 1 << member;
		expected = (member + 1) % LINE_MEMBERS;

		expect(reader, JSON_TOKEN_COLON, JSON_EXPECTED_COLON);
		if (!is_value(next_token(reader)))
			bad_json(reader, JSON_EXPECTED_JSON);
		read_member(reader, member);

		token = next_token(reader);
		if (token == JSON_TOKEN_COMMA)
		{
			token = next_token(reader);
			if (token == JSON_TOKEN_OBJECT_END)
				bad_json(reader, JSON_EXPECTED_STRING);
		}
		else if (token != JSON_TOKEN_OBJECT_END)
			bad_json(reader, JSON_EXPECTED_OBJECT_NEXT);
	}
	expect(reader, JSON_TOKEN_END, JSON_EXPECTED_END);
	/* A record may have a foreign member "cfp". */
	if ((seen & (1 << LINE_KEY)) != 0)
		reader->header = false;
}

static void
check_record(LineReader *reader)
{
	static const struct
	{
		int			column;
		int			member;
	}			required[] = {
		{CFP_COL_KEY, LINE_KEY},
		{CFP_COL_COLLECTION, LINE_COLLECTION},
		{CFP_COL_ITEM, LINE_ITEM},
		{CFP_COL_UPDATED_AT, LINE_UPDATED_AT},
		{CFP_COL_VERSION, LINE_VERSION},
	};

	for (int i = 0; i < lengthof(required); i++)
	{
		if (reader->nulls[required[i].column])
			bad_line("\"%s\" is missing", member_names[required[i].member]);
	}
	if (reader->names_len > CFP_MAX_NAME_BYTES)
		bad_line("the names together are %d bytes long, the maximum is %d",
				 reader->names_len, CFP_MAX_NAME_BYTES);
	if (DatumGetInt32(reader->values[CFP_COL_VERSION]) < 1)
		bad_line("\"version\" must be greater than 0");
}

/* The line in the server's encoding. */
static char *
line_to_server(const char *text, int len, int *server_len)
{
	char	   *converted;

	*server_len = len;
	switch (GetDatabaseEncoding())
	{
		case PG_UTF8:
		case PG_SQL_ASCII:
			(void) pg_verify_mbstr(GetDatabaseEncoding(), text, len, false);
			return (char *) text;
		default:
			converted = pg_any_to_server(text, len, PG_UTF8);
			if (converted != text)
				*server_len = strlen(converted);
			return converted;
	}
}

CfpLineKind
cfp_line_read(const char *text, int len, Datum *values, bool *nulls, char **problem)
{
	MemoryContext caller = CurrentMemoryContext;
	LineReader	reader = {.values = values,.nulls = nulls};
	volatile bool ok = true;

	for (int i = 0; i < CFP_NCOLS; i++)
	{
		values[i] = (Datum) 0;
		nulls[i] = true;
	}

	PG_TRY();
	{
		int			server_len;
		char	   *server_text = line_to_server(text, len, &server_len);

		reader.lex = cfp_make_json_lexer(server_text, server_len);
		read_members(&reader);
		if (!reader.header)
			check_record(&reader);
	}
	PG_CATCH();
	{
		ErrorData  *error;
		int			class = ERRCODE_TO_CATEGORY(geterrcode());

		if (class != ERRCODE_DATA_EXCEPTION && class != ERRCODE_PROGRAM_LIMIT_EXCEEDED &&
			geterrcode() != ERRCODE_FEATURE_NOT_SUPPORTED)
			PG_RE_THROW();
		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		*problem = error->detail ? psprintf("%s: %s", error->message, error->detail) :
			error->message;
		ok = false;
	}
	PG_END_TRY();

	if (!ok)
		return CFP_LINE_BAD;
	return reader.header ? CFP_LINE_HEADER : CFP_LINE_RECORD;
}
