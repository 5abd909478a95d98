/*-------------------------------------------------------------------------
 *
 * common.h
 *		What the drivers share: a clock, random items, latencies.
 *
 * Each program is one file, which includes this once.
 *
 *-------------------------------------------------------------------------
 */
#ifndef COMMON_H
#define COMMON_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ITEMS 10000
#define ZIPF 1.07				/* as in pgbench/zipf_*.sql */
#define SLOTS 1000000			/* latencies by microsecond; the last has the rest */

#define lengthof(array) (sizeof(array) / sizeof((array)[0]))

static double zipf[ITEMS];		/* weights of this rank and all before it */
static unsigned latencies[SLOTS];

static inline double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* The next number of a generator whose state this is, below 2^31. */
static inline uint32_t
next_random(uint64_t *random)
{
	*random = *random * 6364136223846793005 + 1442695040888963407;
	return *random >> 33;
}

static inline void
prepare_zipf(void)
{
	double		sum = 0;

	for (int rank = 0; rank < ITEMS; rank++)
		zipf[rank] = sum += pow(rank + 1, -ZIPF);
}

/*
 * The next request of the mixed load: true if it is a store, one of ten.  The
 * item has its rank by Zipf's law; neighbouring ranks are spread over items.
 */
static inline bool
next_mixed(uint64_t *random, int *item)
{
	double		wanted = next_random(random) / 0x1p31 * zipf[ITEMS - 1];
	int			low = 0,
				high = ITEMS - 1;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (zipf[middle] > wanted)
			high = middle;
		else
			low = middle + 1;
	}
	*item = low * 7919 % ITEMS;
	return next_random(random) % 10 == 0;
}

static inline void
count_latency(double seconds)
{
	long		slot = seconds * 1e6;

	__atomic_fetch_add(&latencies[slot < SLOTS ? slot : SLOTS - 1], 1, __ATOMIC_RELAXED);
}

/* Prints how many a second, and p50, p99, p99.9 in milliseconds. */
static inline void
report(double elapsed)
{
	static const double wanted[] = {0.5, 0.99, 0.999};
	long		all = 0,
				seen = 0;
	int			found = 0;

	for (int slot = 0; slot < SLOTS; slot++)
		all += latencies[slot];
	printf("%.2f", all / elapsed);
	for (int slot = 0; slot < SLOTS && found < 3; slot++)
	{
		seen += latencies[slot];
		while (found < 3 && seen >= wanted[found] * all)
		{
			printf(" %.3f", slot / 1000.0);
			found++;
		}
	}
	printf("\n");
}

#endif							/* COMMON_H */
