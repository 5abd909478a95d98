/*-------------------------------------------------------------------------
 *
 * content.c
 *		What a record may have in it: text in the database's encoding, data that
 *		is not nested too deeply, and no more than JSON text has room for.
 *
 * A record leaves the tables as text: in day files, backups, dumps, and for
 * subscribers.  Whoever reads it back checks the encoding and parses data by
 * recursive descent, as the server's own input functions do.  So whatever
 * those would refuse must not get in: one such record would make all the others of a
 * dump or backup unreadable.  The server checks text that comes from a client,
 * but not settings of the start-up packet, of configuration files, or made in
 * a database of another encoding; "char" as text has any byte; and functions
 * nest jsonb more deeply than its parser goes.
 *
 * Called for each store (claim.c), for rows changed by hand (gate.c), for
 * lines of day files (line_read.c) and for what goes into a backup
 * (copy_file.c).
 *
 * CFP_MAX_DEPTH is the same everywhere, because a record is read back in
 * other servers than it was stored in.  The parser takes 150 bytes of stack a
 * level, several times as many in a server built for debugging; the default of
 * max_stack_depth, 2 MB, leaves room for both.
 *
 * Most text is ASCII, which is valid in every encoding of a server.  So text
 * is looked at eight bytes at a time for the high bit, and only where one is
 * set is the encoding's own check made.
 *
 * Locks: none.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

#include "base/settings.h"
#include "record/content.h"
#include "record/encode_int.h"

#define HIGH_BITS			UINT64CONST(0x8080808080808080)
#define HIGH_BITS_32		0x80808080U

/* Bytes that a message shows of an invalid sequence. */
#define SHOWN_BYTES			4

/*
 * JSON text of a record has to fit into the server's 1 GB, after a conversion
 * that may double it and with some of others before it.  A small jsonb need
 * not be looked at: the most text by the byte has a number like 1e131071, of
 * 16 bytes in an array.
 */
#define MAX_JSON_SIZE		(MaxAllocSize / 2 - 8 * 1024 * 1024)
#define SMALL_JSONB			(32 * 1024)

/* The last word is one that ends with the text, and may overlap. */
static inline bool
is_ascii(const char *str, int len)
{
	Assert(len >= 0);

	if (len >= (int) sizeof(uint64))
	{
		uint64		bits;
		uint64		word;

		memcpy(&bits, str + len - sizeof(bits), sizeof(bits));
		for (int i = 0; i < len - (int) sizeof(word); i += sizeof(word))
		{
			memcpy(&word, str + i, sizeof(word));
			bits |= word;
		}
		return (bits & HIGH_BITS) == 0;
	}
	if (len >= (int) sizeof(uint32))
	{
		uint32		first;
		uint32		last;

		memcpy(&first, str, sizeof(first));
		memcpy(&last, str + len - sizeof(last), sizeof(last));
		return ((first | last) & HIGH_BITS_32) == 0;
	}
	return len == 0 || !IS_HIGHBIT_SET(str[0] | str[len / 2] | str[len - 1]);
}

static bool
text_is_valid(const char *field, const char *str, int len, CfpFault *fault)
{
	int			valid = pg_encoding_verifymbstr(GetDatabaseEncoding(), str, len);

	Assert(valid >= 0 && valid <= len);

	if (valid == len)
		return true;
	fault->field = field;
	fault->bytes = str + valid;
	fault->len = len - valid;
	return false;
}

static inline bool
text_is_sound(const char *field, const char *str, int len, CfpFault *fault)
{
	return is_ascii(str, len) || text_is_valid(field, str, len, fault);
}

bool
cfp_text_is_sound(const char *field, const char *str, int len, CfpFault *fault)
{
	return text_is_sound(field, str, len, fault);
}

/* An object's or array's; depth counts it. */
static bool
container_is_sound(const char *field, const JsonbContainer *container, int depth,
				   CfpFault *fault)
{
	const JEntry *entries = container->children;
	int			nentries = JsonContainerSize(container);
	int			nkeys = JsonContainerIsObject(container) ? nentries : 0;
	const char *base;
	uint32		start = 0;
	int			i;

	if (depth > CFP_MAX_DEPTH)
	{
		fault->field = field;
		fault->bytes = NULL;
		return false;
	}
	nentries += nkeys;
	base = (const char *) (entries + nentries);

	/* Keys lie one behind the other: one look will mostly do. */
	for (i = 0; i < nkeys; i++)
		JBE_ADVANCE_OFFSET(start, entries[i]);
	if (!is_ascii(base, start))
	{
		start = 0;
		i = 0;
	}

	for (; i < nentries; i++)
	{
		JEntry		entry = entries[i];
		uint32		end = start;

		JBE_ADVANCE_OFFSET(end, entry);
		if (JBE_ISSTRING(entry))
		{
			if (!text_is_sound(field, base + start, end - start, fault))
				return false;
		}
		else if (JBE_ISCONTAINER(entry))
		{
			if (!container_is_sound(field, (const JsonbContainer *) (base + INTALIGN(start)),
									depth + 1, fault))
				return false;
		}
		start = end;
	}
	return true;
}

bool
cfp_data_is_sound(const char *field, const JsonbContainer *data, CfpFault *fault)
{
	return container_is_sound(field, data, 1, fault);
}

/* status is part of data. */
bool
cfp_content_is_sound(const CfpItemName *name, const CfpFields *fields, CfpFault *fault)
{
	return text_is_sound("key", name->in.key, name->in.key_len, fault) &&
		text_is_sound("collection_name", name->in.collection, name->in.collection_len, fault) &&
		text_is_sound("item_name", name->item, name->item_len, fault) &&
		(fields->data == NULL || container_is_sound("data", fields->data, 1, fault)) &&
		(fields->value.type != CFP_VALUE_STRING ||
		 text_is_sound("value", fields->value.str, fields->value.str_len, fault)) &&
		(fields->username == NULL ||
		 text_is_sound(fields->username == cfp_username ? "cfp.username" : "username",
					   fields->username, fields->username_len, fault));
}

char *
cfp_fault_message(const CfpFault *fault)
{
	StringInfoData text;

	initStringInfo(&text);
	if (fault->bytes == NULL)
		appendStringInfoString(&text, "jsonb is nested too deeply");
	else
	{
		appendStringInfo(&text, "invalid byte sequence for encoding \"%s\":",
						 GetDatabaseEncodingName());
		for (int i = 0; i < Min(fault->len, SHOWN_BYTES); i++)
			appendStringInfo(&text, " 0x%02x", (unsigned char) fault->bytes[i]);
	}
	return text.data;
}

void
cfp_raise_fault(const CfpFault *fault)
{
	char	   *message = cfp_fault_message(fault);

	Assert(fault->field != NULL && (fault->bytes == NULL || fault->len > 0));

	if (fault->bytes == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg_internal("%s", message),
				 errdetail("The limit is %d levels, in %s.", CFP_MAX_DEPTH, fault->field),
				 errhint("Nest less, or spread the data over several items.")));
	ereport(ERROR,
			(errcode(ERRCODE_CHARACTER_NOT_IN_REPERTOIRE),
			 errmsg_internal("%s", message),
			 errhint("It is in %s. Text that comes from a setting, or that a function makes of bytes, need not be in the database's encoding.",
					 fault->field)));
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

/* The bytes of a number in JSON, all the digits its exponent stands for; at most. */
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

/* The bytes of data in JSON, at most; the count stops beyond the limit. */
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
