/*-------------------------------------------------------------------------
 *
 * line_write.c
 *		One record as one line of JSON.
 *
 * Called by the flush, for each record (day_files.c).  The format is described
 * in line_format.c.  Locks: none; the catalogs are asked for the database's
 * name only.
 *
 * One json-c object, made once, whose members are filled in anew for each
 * line.  json-c writes the object and its strings; what JSON has no exact C
 * type for (numbers, jsonb) is text that PostgreSQL makes, put in by a
 * serializer.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include <math.h>

#include "access/xlog.h"
#include "commands/dbcommands.h"
#include "common/shortest_dec.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "base/calendar.h"
#include "base/compat.h"
#include "base/jsonc.h"
#include "base/transcode.h"
#include "record/columns.h"
#include "record/encode.h"
#include "record/line_format_int.h"
#include "record/line_write.h"
#include "record/row.h"

#define PLAIN_JSON			(JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE)

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

static jsonc_object *line_object = NULL;
static Member members[LINE_MEMBERS];
static int	frame_len;			/* of a line without any value */
static int	line_len;			/* that the line will have at least */
static MemoryContext line_context;	/* of one line */

static int
write_raw(struct jsonc_object *object, struct printbuf *out, int level, int flags)
{
	RawText    *raw = json_object_get_userdata(object);

	return printbuf_memappend(out, raw->text, raw->len);
}

static void
show_member(int n, jsonc_object *object)
{
	Assert(n >= 0 && n < LINE_MEMBERS);

	if (members[n].shown == object)
		return;
	/* The object owns what it shows; the members own theirs as well. */
	if (json_object_object_add_ex(line_object, cfp_line_members[n], json_object_get(object),
								  JSON_C_OBJECT_ADD_CONSTANT_KEY) != 0)
		cfp_jsonc_out_of_memory();
	members[n].shown = object;
}

/* Once in a process; begun anew when memory ran out half-way. */
static void
line_init(void)
{
	if (line_context == NULL)
		line_context = AllocSetContextCreate(TopMemoryContext, "cfp line",
											 ALLOCSET_DEFAULT_SIZES);
	if (line_object != NULL)
		json_object_put(line_object);
	memset(members, 0, sizeof(members));
	line_object = cfp_jsonc_made(json_object_new_object());
	frame_len = 2;
	for (int n = 0; n < LINE_MEMBERS; n++)
	{
		Member	   *member = &members[n];

		member->string = cfp_jsonc_made(json_object_new_string(""));
		member->raw = cfp_jsonc_made(json_object_new_int(0));
		json_object_set_serializer(member->raw, write_raw, &member->text, NULL);
		if (json_object_object_add_ex(line_object, cfp_line_members[n], NULL,
									  JSON_C_OBJECT_ADD_KEY_IS_NEW |
									  JSON_C_OBJECT_ADD_CONSTANT_KEY) != 0)
			cfp_jsonc_out_of_memory();
		frame_len += strlen(cfp_line_members[n]) + strlen("\"\":,");
	}
}

static void
put_null(int n)
{
	show_member(n, NULL);
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
	show_member(n, members[n].string);
	line_len += VARSIZE_ANY_EXHDR(str) + 2;
}

/* The text lives until the line is written. */
static void
put_raw(int n, const char *text, int len)
{
	members[n].text.text = text;
	members[n].text.len = len;
	show_member(n, members[n].raw);
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

static void
put_operation(int n, CfpOperation operation)
{
	char	   *room = members[n].text.room;

	put_raw(n, room, snprintf(room, sizeof(members[n].text.room), "\"%s\"",
							  cfp_operation_names[operation]));
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

/*
 * Append the object as a line: its text with the checksum as one more member.
 * json-c says nothing when its buffer cannot grow.
 */
static void
append_line(StringInfo buf, jsonc_object *object, int least)
{
	int			encoding = GetDatabaseEncoding();
	int			start = buf->len;
	char		digits[LINE_CRC_DIGITS];
	size_t		len;
	const char *text = json_object_to_json_string_length(object, PLAIN_JSON, &len);

	if (text == NULL || len < least)
		cfp_jsonc_out_of_memory();
	len--;						/* the brace comes after the checksum */
	/* A character without a place in UTF-8 must not stop the flush. */
	if (encoding == PG_UTF8 || encoding == PG_SQL_ASCII)
		appendBinaryStringInfo(buf, text, len);
	else
		cfp_append_transcoded(buf, text, len, encoding, PG_UTF8);

	cfp_line_crc_digits(digits, buf->data + start, buf->len - start);
	enlargeStringInfo(buf, LINE_CRC_LEN + 1);
	appendBinaryStringInfo(buf, LINE_CRC_MEMBER, LINE_CRC_MEMBER_LEN);
	appendBinaryStringInfo(buf, digits, LINE_CRC_DIGITS);
	appendBinaryStringInfo(buf, LINE_CRC_END "\n", LINE_CRC_END_LEN + 1);
}

void
cfp_line_write(StringInfo buf, const Datum *values, const bool *nulls)
{
	MemoryContext caller;

	if (members[LINE_MEMBERS - 1].raw == NULL)
		line_init();
	line_len = frame_len - 1;
	Assert(CurrentMemoryContext != line_context);
	caller = MemoryContextSwitchTo(line_context);

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
	put_operation(LINE_OPERATION, cfp_row_operation(values, nulls));
	put_txid(LINE_TXID,
			 U64FromFullTransactionId(DatumGetFullTransactionId(values[CFP_COL_TXID])));
	append_line(buf, line_object, line_len);

	MemoryContextSwitchTo(caller);
	MemoryContextReset(line_context);
}

void
cfp_line_write_header(StringInfo buf, DateADT date, const char *incarnation)
{
	jsonc_object *header = cfp_jsonc_made(json_object_new_object());
	char	   *database = get_database_name(MyDatabaseId);

	cfp_jsonc_add_int(header, LINE_HEADER_MEMBER, LINE_HEADER_FORMAT);
	cfp_jsonc_add_string(header, "server_version", PG_VERSION);
	cfp_jsonc_add_string(header, "system_identifier", psprintf(UINT64_FORMAT, GetSystemIdentifier()));
	cfp_jsonc_add_string(header, "database", database != NULL ? cfp_valid_text(database) : "");
	cfp_jsonc_add_int(header, "database_oid", MyDatabaseId);
	if (incarnation != NULL)
		cfp_jsonc_add_string(header, "incarnation", incarnation);
	cfp_jsonc_add_string(header, "date", cfp_date_text(date));
	append_line(buf, header, 0);
	json_object_put(header);
}

static void
add_text(jsonc_object *object, const char *name, text *value)
{
	cfp_jsonc_add(object, name,
				  cfp_jsonc_made(json_object_new_string_len(VARDATA_ANY(value),
															VARSIZE_ANY_EXHDR(value))));
}

void
cfp_line_write_forget(StringInfo buf, const CfpForget *forget)
{
	jsonc_object *root = cfp_jsonc_made(json_object_new_object());
	jsonc_object *what = cfp_jsonc_made(json_object_new_object());
	char		at[MAXDATELEN + 1];

	Assert(forget->kind <= CFP_FORGET_GAP);
	cfp_jsonc_add_string(what, "kind", cfp_forget_kinds[forget->kind]);
	cfp_jsonc_add_int(what, "id", forget->id);
	switch (forget->kind)
	{
		case CFP_FORGET_ITEM:
		case CFP_FORGET_PRUNE:
			Assert(forget->name[0] != NULL && forget->name[1] != NULL && forget->name[2] != NULL);
			for (int i = 0; i < 3; i++)
				add_text(what, cfp_line_members[LINE_KEY + i], forget->name[i]);
			if (forget->kind == CFP_FORGET_ITEM)
				cfp_jsonc_add_int(what, "from_version", forget->from_version);
			cfp_jsonc_add_int(what, "version", forget->version);
			break;
		case CFP_FORGET_RESTORE:
			cfp_jsonc_add_string(what, "date", cfp_date_text(forget->date));
			if (forget->snapshot != NULL)
				cfp_jsonc_add_string(what, "snapshot", forget->snapshot);
			break;
		case CFP_FORGET_REBUILD:
			cfp_jsonc_add_int(what, "from_id", forget->from_id);
			cfp_jsonc_add_int(what, "to_id", forget->to_id);
			break;
		case CFP_FORGET_ALL:
		case CFP_FORGET_GAP:
			break;
	}
	cfp_jsonc_add(root, LINE_FORGET_MEMBER, what);
	at[cfp_encode_timestamp(at, forget->at)] = '\0';
	cfp_jsonc_add_string(root, "at", at);
	cfp_jsonc_add_int(root, "txid", forget->txid);
	append_line(buf, root, 0);
	json_object_put(root);
}
