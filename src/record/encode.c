/*-------------------------------------------------------------------------
 *
 * encode.c
 *		jsonb written by hand: numbers, timestamps, objects of ready parts.
 *
 * Called by record.c for each store and each row loaded, and by who returns
 * a collection as one object; so nothing goes through JsonbValue trees.  What
 * is written is byte for byte what the server's own jsonb code makes of the
 * same content.  Functions of their arguments: no locks, no shared memory.
 *
 * In an object the keys' JEntries come first, then the values', then the
 * bytes of the keys, then those of the values.  Every JB_OFFSET_STRIDEth JEntry
 * has an offset, the others have lengths.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include <math.h>

#include "catalog/pg_type_d.h"
#include "common/shortest_dec.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "record/encode.h"
#include "record/encode_int.h"

void
cfp_raise_jsonb_too_large(const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("total size of jsonb object elements exceeds the maximum of %u bytes",
					JENTRY_OFFLENMASK),
			 errhint("%s", hint)));
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

	Assert(ndigits == 0 || digits[0] != '0');
	Assert(dscale >= 0 && dscale <= DISK_NUMERIC_DSCALE_MASK);

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
		Assert(used <= lengthof(base));
		while (used > 0 && base[used - 1] == 0)
			used--;
	}
	else
		negative = false;

	start = dst = cfp_put_padding(dst);
	dst += VARHDRSZ;
	if (dscale <= DISK_NUMERIC_SHORT_DSCALE_MAX &&
		weight <= DISK_NUMERIC_SHORT_WEIGHT_MAX &&
		weight >= DISK_NUMERIC_SHORT_WEIGHT_MIN)
	{
		uint16		header = DISK_NUMERIC_SHORT |
		(negative ? DISK_NUMERIC_SHORT_NEGATIVE : 0) |
		(dscale << DISK_NUMERIC_SHORT_DSCALE_SHIFT) |
		(weight & DISK_NUMERIC_SHORT_WEIGHT_MASK);

		dst = cfp_put_bytes(dst, &header, sizeof(header));
	}
	else
	{
		uint16		header = (negative ? DISK_NUMERIC_NEGATIVE : 0) | dscale;
		int16		long_weight = weight;

		dst = cfp_put_bytes(dst, &header, sizeof(header));
		dst = cfp_put_bytes(dst, &long_weight, sizeof(long_weight));
	}
	dst = cfp_put_bytes(dst, base, used * sizeof(int16));
	SET_VARSIZE(start, dst - start);
	Assert(dst - start <= CFP_NUMERIC_ROOM - 3);
	return dst;
}

char *
cfp_put_int(char *dst, int64 value)
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
char *
cfp_put_float(char *dst, float8 value)
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

	Assert(!isnan(value) && !isinf(value));

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
	for (int i = 1; i < npairs; i++)
		Assert(compare_pairs(&pairs[i - 1], &pairs[i]) < 0);

	/* An upper bound: each value might need 3 bytes of padding. */
	room = VARHDRSZ + sizeof(uint32) + (Size) npairs * (2 * sizeof(JEntry) + 3);
	for (int i = 0; i < npairs; i++)
		payload += (Size) pairs[i].key_len + pairs[i].value_len;
	if (room + payload > JENTRY_OFFLENMASK)
		cfp_raise_jsonb_too_large("Read the items one by one, or with cfp_items().");

	result = palloc(room + payload);
	result->root.header = npairs | JB_FOBJECT;
	entries = result->root.children;
	base = dst = (char *) (entries + 2 * npairs);

	for (int i = 0; i < npairs; i++)
	{
		dst = cfp_put_bytes(dst, pairs[i].key, pairs[i].key_len);
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
			Assert(JsonContainerSize(value) == 1);
			entry = value->children[0] & JENTRY_TYPEMASK;
			if (entry == JENTRY_ISNUMERIC)
				dst = cfp_put_padding(dst);
			dst = cfp_put_bytes(dst, &value->children[1],
								JBE_OFFLENFLD(value->children[0]));
		}
		else
		{
			entry = JENTRY_ISCONTAINER;
			dst = cfp_put_padding(dst);
			dst = cfp_put_bytes(dst, value, pairs[i].value_len);
		}
		entries[npairs + i] = ((npairs + i) % JB_OFFSET_STRIDE) == 0 ?
			entry | JENTRY_HAS_OFF | (dst - base) :
			entry | (dst - start);
	}
	Assert(dst - (char *) result <= room + payload);
	SET_VARSIZE(result, dst - (char *) result);
	return result;
}
