/*-------------------------------------------------------------------------
 *
 * hash.c
 *		Hashes of names.
 *
 * Whoever may store chooses names, so names must not collide by themselves.
 * Each step multiplies two words of the name, each under a secret one, and
 * folds the 128 bits of the product: how a bit of the name changes the result
 * depends on the secret factor beside it, so that no change of other bits undoes
 * it for more than a few of all keys.  A step forgets one word where the other
 * factor is 0; that takes the secret word itself as part of a name.
 *
 * pg_locks shows a part of a collection's hash.  Items therefore have a key of
 * their own, and hashes of them are shown nowhere.
 *
 * The keys are drawn when the server's shared memory is made (descriptor.c); each
 * process has a copy.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "cache/hash.h"

static CfpHashKeys hash_keys;	/* a copy of those in shared memory */

void
cfp_hash_make_keys(CfpHashKeys *keys)
{
	if (!pg_strong_random(keys, sizeof(CfpHashKeys)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random keys for the hashes of names")));
}

void
cfp_hash_use_keys(const CfpHashKeys *keys)
{
	hash_keys = *keys;
}

static inline uint64
hash_fold(uint64 a, uint64 b)
{
	uint128		product = (uint128) a * b;

	return (uint64) product ^ (uint64) (product >> 64);
}

/*
 * Add a name: 16 bytes a step, of which the last overlaps the one before rather
 * than be shorter.  So what is added differs for different names of one length;
 * hash_end() adds the length.
 */
static inline uint64
hash_name(const CfpHashKey *key, uint64 h, const char *p, int len)
{
	const char *end = p + len;
	uint64		a;
	uint64		b;

	if (len >= 8)
	{
		if (len > 16)
		{
			for (; end - p > 16; p += 16)
			{
				memcpy(&a, p, 8);
				memcpy(&b, p + 8, 8);
				h = hash_fold(a ^ key->word, b ^ h);
			}
			p = end - 16;
		}
		memcpy(&a, p, 8);
		memcpy(&b, end - 8, 8);
	}
	else if (len >= 4)
	{
		uint32		first,
					last;

		memcpy(&first, p, 4);
		memcpy(&last, end - 4, 4);
		a = first;
		b = last;
	}
	else if (len > 0)
	{
		a = (uint64) (uint8) p[0] | (uint64) (uint8) p[len / 2] << 8 |
			(uint64) (uint8) p[len - 1] << 16;
		b = 0;
	}
	else
		return h;
	return hash_fold(a ^ key->word, b ^ h);
}

static inline uint64
hash_end(const CfpHashKey *key, uint64 h, uint64 len)
{
	return hash_fold(h ^ key->end, len ^ key->len);
}

uint64
cfp_collection_hash(const CfpCollectionName *name)
{
	const CfpHashKey *key = &hash_keys.collection;
	uint64		h = hash_name(key, key->start, name->key, name->key_len);

	h = hash_name(key, h, name->collection, name->collection_len);
	return hash_end(key, h, (uint64) name->key_len << 32 | (uint32) name->collection_len);
}

uint32
cfp_item_hash(const char *name, int len)
{
	const CfpHashKey *key = &hash_keys.item;

	return (uint32) hash_end(key, hash_name(key, key->start, name, len), len);
}
