/*-------------------------------------------------------------------------
 *
 * line_read.c
 *		A line of JSON as the record it was written of.
 *
 * Called by wal_files.c, for each line of a day file.  The format is described
 * in line_format.c.  Locks: none; no catalogs.
 *
 * json-c keeps integers of 64 bits and floats only, and data may have numbers
 * of any size.  So the server's lexer reads the line and its jsonb input
 * function data.  Their errors are caught and become the reason why a line is
 * bad: nothing they do needs a transaction's end to be undone.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "common/jsonapi.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgroids.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "base/calendar.h"
#include "base/compat.h"
#include "base/jsonc.h"
#include "record/columns.h"
#include "record/content.h"
#include "record/line_format.h"
#include "record/line_format_int.h"
#include "record/line_read.h"
#include "record/row.h"

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
	bool		forget;
	int			names_len;
} LineReader;

pg_noreturn static void bad_line(const char *message,...) pg_attribute_printf(1, 2);

static void
bad_line(const char *message,...)
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

pg_noreturn static void
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
expect_token(LineReader *reader, JsonTokenType token, JsonParseErrorType error)
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

	Assert(*start == '{' || *start == '[');

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
		bad_line("\"%s\" must be %s", cfp_line_members[member],
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
		bad_line("\"%s\" must be an integer", cfp_line_members[member]);
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
		bad_line("\"%s\" must be a transaction id", cfp_line_members[member]);
	reader->values[column] = FullTransactionIdGetDatum(FullTransactionIdFromU64(txid));
	reader->nulls[column] = false;
}

/* A number of so many digits; -1 when there is anything else. */
static inline int
read_digits(const char *str, int n)
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

/* As cfp_encode_timestamp() writes it, between years 1 and 9999. */
static bool
plain_timestamp(const char *str, int len, TimestampTz *ts)
{
	static const int tens[] = {1, 10, 100, 1000, 10000, 100000};
	int			fraction = len - (int) strlen("YYYY-MM-DDTHH:MM:SS.+00:00");
	int			year,
				month,
				day,
				hour,
				minute,
				second,
				usec = 0;

	if (len < (int) strlen("YYYY-MM-DDTHH:MM:SS+00:00") || fraction == 0 || fraction > 6 ||
		str[4] != '-' || str[7] != '-' || str[10] != 'T' || str[13] != ':' ||
		str[16] != ':' || (fraction > 0 && str[19] != '.') ||
		memcmp(str + len - 6, "+00:00", 6) != 0)
		return false;
	year = read_digits(str, 4);
	month = read_digits(str + 5, 2);
	day = read_digits(str + 8, 2);
	hour = read_digits(str + 11, 2);
	minute = read_digits(str + 14, 2);
	second = read_digits(str + 17, 2);
	if (fraction > 0)
	{
		usec = read_digits(str + 20, fraction);
		if (usec >= 0)
			usec *= tens[6 - fraction];
	}
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
	CfpFault	fault;

	if (reader->lex->token_type == JSON_TOKEN_NULL)
		return;
	if (reader->lex->token_type != JSON_TOKEN_OBJECT_START)
		bad_line("\"data\" must be an object");
	reader->values[CFP_COL_DATA] = nested_value(reader);
	reader->nulls[CFP_COL_DATA] = false;
	if (!cfp_data_is_sound("data", &DatumGetJsonbP(reader->values[CFP_COL_DATA])->root, &fault))
		cfp_raise_fault(&fault);
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

static void
read_operation(LineReader *reader, int member)
{
	char	   *name = token_text(reader, member, JSON_TOKEN_STRING);
	CfpOperation operation;

	if (name == NULL)
		return;
	if (!cfp_operation_named(name, &operation))
		bad_line("\"%s\" must be create, update or delete", cfp_line_members[member]);
	reader->values[CFP_COL_OPERATION] = cfp_operation_datum(operation);
	reader->nulls[CFP_COL_OPERATION] = false;
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
		case LINE_OPERATION:
			read_operation(reader, member);
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

		if (strcmp(name, cfp_line_members[member]) == 0)
			return member;
	}
	return LINE_MEMBERS;
}

StaticAssertDecl(LINE_MEMBERS < 32, "each member of a line has a bit of its own");

static void
read_members(LineReader *reader)
{
	uint32		seen = 0;
	int			expected = 0;
	JsonTokenType token;

	expect_token(reader, JSON_TOKEN_OBJECT_START, JSON_EXPECTED_JSON);
	token = next_token(reader);
	while (token != JSON_TOKEN_OBJECT_END)
	{
		int			member;

		if (token != JSON_TOKEN_STRING)
			bad_json(reader, JSON_EXPECTED_STRING);
		member = find_member(reader->lex->strval->data, expected);
		if (member == LINE_MEMBERS &&
			strcmp(reader->lex->strval->data, LINE_HEADER_MEMBER) == 0)
			reader->header = true;
		if (member == LINE_MEMBERS &&
			strcmp(reader->lex->strval->data, LINE_FORGET_MEMBER) == 0)
			reader->forget = true;
		if (member < LINE_MEMBERS && (seen & (1 << member)) != 0)
			bad_line("\"%s\" is there twice", cfp_line_members[member]);
		seen |= 1 << member;
		expected = (member + 1) % LINE_MEMBERS;

		expect_token(reader, JSON_TOKEN_COLON, JSON_EXPECTED_COLON);
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
	expect_token(reader, JSON_TOKEN_END, JSON_EXPECTED_END);
	/* A record may have foreign members of these names. */
	if ((seen & (1 << LINE_KEY)) != 0)
		reader->header = reader->forget = false;
}

static jsonc_object *
forget_member(jsonc_object *object, const char *name, json_type type)
{
	jsonc_object *value;

	if (!json_object_object_get_ex(object, name, &value) || !json_object_is_type(value, type))
		bad_line("\"%s\" is missing, or of a wrong type", name);
	return value;
}

static int64
forget_int(jsonc_object *object, const char *name)
{
	return json_object_get_int64(forget_member(object, name, json_type_int));
}

static const char *
forget_string(jsonc_object *object, const char *name)
{
	return json_object_get_string(forget_member(object, name, json_type_string));
}

/* The line, which is JSON, in the server's encoding. */
static void
read_forget(jsonc_object *root, CfpForget *forget)
{
	jsonc_object *what = forget_member(root, LINE_FORGET_MEMBER, json_type_object);
	const char *kind = forget_string(what, "kind");

	memset(forget, 0, sizeof(*forget));
	if (!cfp_forget_kind(kind, &forget->kind))
		bad_line("something is given up in a way that this version of cfp does not know: \"%s\"", kind);
	forget->id = forget_int(what, "id");
	switch (forget->kind)
	{
		case CFP_FORGET_ITEM:
		case CFP_FORGET_PRUNE:
			for (int i = 0; i < 3; i++)
			{
				jsonc_object *name = forget_member(what, cfp_line_members[LINE_KEY + i],
												   json_type_string);

				forget->name[i] = cstring_to_text_with_len(json_object_get_string(name),
														   json_object_get_string_len(name));
			}
			forget->from_version = forget->kind == CFP_FORGET_PRUNE ? PG_INT32_MIN :
				forget_int(what, "from_version");
			forget->version = forget_int(what, "version");
			break;
		case CFP_FORGET_RESTORE:
			if (!cfp_parse_date(forget_string(what, "date"), &forget->date))
				bad_line("\"date\" must be a date");
			if (json_object_object_get_ex(what, "snapshot", NULL))
			{
				forget->snapshot = pstrdup(forget_string(what, "snapshot"));
				(void) OidFunctionCall1(F_PG_SNAPSHOT_IN, CStringGetDatum(forget->snapshot));
			}
			break;
		case CFP_FORGET_REBUILD:
			forget->from_id = forget_int(what, "from_id");
			forget->to_id = forget_int(what, "to_id");
			break;
		case CFP_FORGET_ALL:
		case CFP_FORGET_GAP:
			break;
	}
	forget->txid = forget_int(root, "txid");
	forget->at = DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in,
														 CStringGetDatum(forget_string(root, "at")),
														 ObjectIdGetDatum(InvalidOid),
														 Int32GetDatum(-1)));
}

/* What json-c has allocated must be freed, whatever happens. */
static void
parse_forget(const char *text, int len, CfpForget *forget)
{
	json_tokener *tokener = json_tokener_new();
	jsonc_object *root;

	if (tokener == NULL)
		cfp_jsonc_out_of_memory();
	root = json_tokener_parse_ex(tokener, text, len);
	json_tokener_free(tokener);
	PG_TRY();
	{
		read_forget(root, forget);
	}
	PG_FINALLY();
	{
		json_object_put(root);
	}
	PG_END_TRY();
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
	CfpOperation operation;

	for (int i = 0; i < lengthof(required); i++)
	{
		if (reader->nulls[required[i].column])
			bad_line("\"%s\" is missing", cfp_line_members[required[i].member]);
	}
	if (reader->names_len > CFP_MAX_NAME_BYTES)
		bad_line("the names together are %d bytes long, the maximum is %d",
				 reader->names_len, CFP_MAX_NAME_BYTES);
	if (DatumGetInt32(reader->values[CFP_COL_VERSION]) < 1)
		bad_line("\"version\" must be greater than 0");
	operation = cfp_row_operation(reader->values, reader->nulls);
	if (!reader->nulls[CFP_COL_OPERATION] &&
		cfp_operation_of(reader->values[CFP_COL_OPERATION]) != operation)
		bad_line(operation == CFP_DELETE ?
				 "\"operation\" must be delete where there is neither data nor value" :
				 "\"operation\" is delete, and there is data or a value");
	reader->values[CFP_COL_OPERATION] = cfp_operation_datum(operation);
	reader->nulls[CFP_COL_OPERATION] = false;
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
cfp_line_read(const char *text, int len, bool *checked, Datum *values, bool *nulls,
			  CfpForget *forget, char **problem)
{
	MemoryContext caller = CurrentMemoryContext;
	LineReader	reader = {.values = values,.nulls = nulls};
	volatile bool ok = true;

	Assert(memchr(text, '\n', len) == NULL);

	for (int i = 0; i < CFP_NCOLS; i++)
	{
		values[i] = (Datum) 0;
		nulls[i] = true;
	}

	switch (cfp_line_checksum(text, len))
	{
		case CFP_CHECKSUM_RIGHT:
			*checked = true;
			break;
		case CFP_CHECKSUM_WRONG:
			*checked = true;
			*problem = "its checksum is wrong: it is damaged, or was changed";
			return CFP_LINE_BAD;
		case CFP_CHECKSUM_NONE:
			if (!*checked)
				break;
			*problem = "it has no checksum, and a line before it has one: it is damaged, or was written by hand";
			return CFP_LINE_BAD;
	}

	PG_TRY();
	{
		int			server_len;
		char	   *server_text = line_to_server(text, len, &server_len);

		reader.lex = cfp_make_json_lexer(server_text, server_len);
		read_members(&reader);
		if (reader.forget && forget != NULL)
			parse_forget(server_text, server_len, forget);
		else if (!reader.header && !reader.forget)
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
	if (reader.forget)
		return CFP_LINE_FORGET;
	return reader.header ? CFP_LINE_HEADER : CFP_LINE_RECORD;
}
