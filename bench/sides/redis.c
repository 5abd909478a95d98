/*-------------------------------------------------------------------------
 *
 * redis.c
 *		Clients of Redis.
 *
 *		redis KIND SOCKET CONNECTIONS DEPTH SECONDS SEED PER_COLLECTION RECORD
 *
 * The items are those that redis_fill in lib.sh made: 10,000, each with RECORD
 * as its value, in hashes of PER_COLLECTION of them, and as many keys.  KIND:
 *
 *		get, set			a key
 *		hget, hset			a field of a hash
 *		hgetall				a hash
 *		mget				100 keys
 *		hset_many			the first 100 fields of a hash
 *		mixed				nine get to one set, by Zipf's law
 *
 * A client sends DEPTH such requests at once, and has all the replies before
 * it sends the next.  One thread serves all clients.  Prints how often a second
 * that is, and p50, p99, p99.9 in milliseconds.
 *
 *-------------------------------------------------------------------------
 */
#include <hiredis/hiredis.h>
#include <poll.h>

#include "common.h"

#define MANY 100
#define MAX_WORDS (2 + 2 * MANY)

typedef struct Connection
{
	redisContext *context;
	double		sent;
	int			missing;		/* replies */
	long		expected;		/* bytes of strings in the replies */
	long		received;
} Connection;

static int	depth;
static int	per_collection;
static const char *record;
static size_t record_size;

/* The request that is being made. */
static int	nwords;
static const char *words[MAX_WORDS];
static size_t sizes[MAX_WORDS];
static char names[MAX_WORDS][16];

static void
check(Connection *connection, bool ok)
{
	if (!ok)
	{
		fprintf(stderr, "redis: %s\n", connection->context->err != 0 ?
				connection->context->errstr : "not the reply expected");
		exit(1);
	}
}

static void
add_word(const char *word, size_t size)
{
	words[nwords] = word;
	sizes[nwords++] = size;
}

/* The name of a key or a field: a prefix and twelve digits. */
static void
add_name(const char *prefix, int number)
{
	char	   *name = names[nwords];
	size_t		size = strlen(prefix) + 12;

	memcpy(name, prefix, size - 12);
	for (size_t i = size; i-- > size - 12; number /= 10)
		name[i] = '0' + number % 10;
	add_word(name, size);
}

/* Each returns how many bytes the strings in the reply have. */

static long
get(int item)
{
	add_word("GET", 3);
	add_name("i:", item);
	return record_size;
}

static long
set(int item)
{
	add_word("SET", 3);
	add_name("i:", item);
	add_word(record, record_size);
	return strlen("OK");
}

static long
hget(int item)
{
	add_word("HGET", 4);
	add_name("c:", item / per_collection);
	add_name("", item % per_collection);
	return record_size;
}

static long
hset(int item)
{
	add_word("HSET", 4);
	add_name("c:", item / per_collection);
	add_name("", item % per_collection);
	add_word(record, record_size);
	return 0;
}

static long
hgetall(int item)
{
	add_word("HGETALL", 7);
	add_name("c:", item / per_collection);
	return per_collection * (12 + record_size);
}

static long
hset_many(int item)
{
	add_word("HSET", 4);
	add_name("c:", item / per_collection);
	for (int i = 0; i < MANY; i++)
	{
		add_name("", i);
		add_word(record, record_size);
	}
	return 0;
}

static long
mget(uint64_t *random)
{
	add_word("MGET", 4);
	for (int i = 0; i < MANY; i++)
		add_name("i:", next_random(random) % ITEMS);
	return MANY * record_size;
}

static long
mixed(uint64_t *random)
{
	int			item;

	return next_mixed(random, &item) ? set(item) : get(item);
}

/* Those that work on one item, any with the same chance, and the others. */
static const struct
{
	const char *name;
	long		(*of_item) (int item);
	long		(*of_random) (uint64_t *random);
}			kinds[] =
{
	{"get", get, NULL},
	{"set", set, NULL},
	{"hget", hget, NULL},
	{"hset", hset, NULL},
	{"hgetall", hgetall, NULL},
	{"hset_many", hset_many, NULL},
	{"mget", NULL, mget},
	{"mixed", NULL, mixed},
};
static int	kind;

static void
send_requests(Connection *connection, uint64_t *random, double sent)
{
	int			done = 0;

	connection->sent = sent;
	connection->missing = depth;
	connection->expected = connection->received = 0;
	for (int i = 0; i < depth; i++)
	{
		nwords = 0;
		connection->expected += kinds[kind].of_item != NULL ?
			kinds[kind].of_item(next_random(random) % ITEMS) : kinds[kind].of_random(random);
		redisAppendCommandArgv(connection->context, nwords, words, sizes);
	}
	while (!done)
		check(connection, redisBufferWrite(connection->context, &done) == REDIS_OK);
}

/* Reads what there is; true if those are all the replies. */
static bool
receive_replies(Connection *connection)
{
	redisReader *reader = connection->context->reader;
	void	   *reply;

	check(connection, redisBufferRead(connection->context) == REDIS_OK);
	while (connection->missing > 0)
	{
		check(connection, redisReaderGetReply(reader, &reply) == REDIS_OK);
		if (reply == NULL)
			return false;
		connection->missing--;
	}
	check(connection, connection->received == connection->expected);
	return true;
}

/*
 * What hiredis calls for the strings and numbers in a reply: they are looked
 * at and not kept.  It takes the result for the object that was made.
 */
static void *
see_string(const redisReadTask *task, char *string, size_t size)
{
	Connection *connection = task->privdata;

	if (task->type == REDIS_REPLY_ERROR)
	{
		fprintf(stderr, "redis: %.*s\n", (int) size, string);
		exit(1);
	}
	connection->received += size;
	return connection;
}

/* Only HSET returns one: how many fields are new, which none should be. */
static void *
see_integer(const redisReadTask *task, long long value)
{
	Connection *connection = task->privdata;

	check(connection, value == 0);
	return connection;
}

static redisReplyObjectFunctions see = {
	.createString = see_string,
	.createInteger = see_integer,
};

int
main(int argc, char **argv)
{
	Connection *connections;
	struct pollfd *polls;
	int			n,
				waiting;
	uint64_t	random;
	double		start,
				deadline;

	if (argc == 9)
		while (kind < (int) lengthof(kinds) && strcmp(kinds[kind].name, argv[1]) != 0)
			kind++;
	if (argc != 9 || kind == (int) lengthof(kinds))
	{
		fputs("usage: redis KIND SOCKET CONNECTIONS DEPTH SECONDS SEED PER_COLLECTION RECORD\n", stderr);
		return 2;
	}
	n = waiting = atoi(argv[3]);
	depth = atoi(argv[4]);
	random = strtoull(argv[6], NULL, 10);
	per_collection = atoi(argv[7]);
	record = argv[8];
	record_size = strlen(record);
	connections = calloc(n, sizeof(Connection));
	polls = calloc(n, sizeof(struct pollfd));
	for (int i = 0; i < n; i++)
	{
		redisContext *context = redisConnectUnix(argv[2]);

		connections[i].context = context;
		check(&connections[i], context->err == 0);
		context->reader->fn = &see;
		context->reader->privdata = &connections[i];
		context->reader->maxbuf = 0;	/* buffers are kept */
		polls[i].fd = context->fd;
		polls[i].events = POLLIN;
	}

	prepare_zipf();
	start = now();
	deadline = start + atof(argv[5]);
	for (int i = 0; i < n; i++)
		send_requests(&connections[i], &random, now());
	while (waiting > 0)
	{
		if (poll(polls, n, -1) < 0)
		{
			perror("redis: poll");
			return 1;
		}
		for (int i = 0; i < n; i++)
		{
			double		end;

			if (polls[i].revents == 0 || !receive_replies(&connections[i]))
				continue;
			end = now();
			count_latency(end - connections[i].sent);
			if (end < deadline)
				send_requests(&connections[i], &random, end);
			else
			{
				polls[i].fd = -1;
				waiting--;
			}
		}
	}
	report(now() - start);

	for (int i = 0; i < n; i++)
		redisFree(connections[i].context);
	free(connections);
	free(polls);
	return 0;
}
