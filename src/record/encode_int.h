/*-------------------------------------------------------------------------
 *
 * encode_int.h
 *		The bytes of jsonb and of numeric, for those who write them.
 *
 * Everything is appended at dst, which has room; what follows it is returned.
 * Containers and numerics start at a multiple of 4, and the padding before
 * them counts as part of them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_ENCODE_INT_H
#define CFP_ENCODE_INT_H

#include "base/names.h"

#include "utils/jsonb.h"

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
 * Room enough for a numeric of an integer or a float: at most 8 bytes of
 * header, 6 base-10000 digits and 3 bytes of padding.
 */
#define CFP_NUMERIC_ROOM	24

/* "294276-12-31T23:59:59.999999+00:00", "4714-11-24T00:00:00+00:00 BC" */
#define CFP_TIMESTAMP_ROOM	40

/* Zero bytes up to the next multiple of 4. */
static inline char *
cfp_put_padding(char *dst)
{
	char	   *end = (char *) INTALIGN(dst);

	while (dst < end)
		*dst++ = '\0';
	return dst;
}

static inline char *
cfp_put_bytes(char *dst, const void *src, Size len)
{
	memcpy(dst, src, len);
	return dst + len;
}

static inline char *
cfp_put_string(char *dst, JEntry *entry, const char *str, int len)
{
	Assert(str == NULL || (len >= 0 && len <= JENTRY_OFFLENMASK));

	if (str == NULL)
	{
		*entry = JENTRY_ISNULL;
		return dst;
	}
	*entry = JENTRY_ISSTRING | len;
	return cfp_put_bytes(dst, str, len);
}

/* A jsonb datum, palloc'd, whose root is a copy of the container. */
static inline Jsonb *
cfp_jsonb_of(const JsonbContainer *container, int len)
{
	Jsonb	   *result = palloc(VARHDRSZ + len);

	Assert(len >= sizeof(uint32));

	memcpy(&result->root, container, len);
	SET_VARSIZE(result, VARHDRSZ + len);
	return result;
}

/* A numeric with its padding; the float is finite. */
extern char *cfp_put_int(char *dst, int64 value);
extern char *cfp_put_float(char *dst, float8 value);

/* Throws 54000, since a jsonb object could not hold it. */
pg_noreturn extern void cfp_raise_jsonb_too_large(const char *hint);

#endif							/* CFP_ENCODE_INT_H */
