/*-------------------------------------------------------------------------
 *
 * redis.c
 *		Nine GET to one SET in Redis, items by Zipf's law.
 *
 *		redis SOCKET CONNECTIONS SECONDS SEED RECORD
 *
 * redis-benchmark has no mixed load.  Otherwise as it is: one thread, and each
 * connection sends its next request when it has the answer to the one before.
 * The items are those of redis_items() in lib.sh.
 * Prints requests a second, and p50, p99, p99.9 in milliseconds.
 *
 *-------------------------------------------------------------------------
 */
#include <hiredis/hiredis.h>
#include <poll.h>

#include "common.h"

typedef struct Connection
{
	redisContext *context;
	int			expected;		/* type of the reply */
	double		sent;
} Connection;

static const char *record;
static size_t record_size;

static void
check(Connection *connection, int ok)
{
	if (!ok)
	{
		fprintf(stderr, "redis: %s\n", connection->context->err != 0 ?
				connection->context->errstr : "not the reply expected");
		exit(1);
	}
}

static void
send_request(Connection *connection, uint64_t *random, double sent)
{
	int			item;
	bool		is_store = next_mixed(random, &item);
	char		name[16];
	const char *words[] = {is_store ? "SET" : "GET", name, record};
	size_t		sizes[] = {3, snprintf(name, sizeof(name), "i:%012d", item), record_size};
	int			done = 0;

	connection->expected = is_store ? REDIS_REPLY_STATUS : REDIS_REPLY_STRING;
	connection->sent = sent;
	redisAppendCommandArgv(connection->context, is_store ? 3 : 2, words, sizes);
	while (!done)
		check(connection, redisBufferWrite(connection->context, &done) == REDIS_OK);
}

/* Reads what there is; true if that is the whole reply. */
static bool
receive_reply(Connection *connection)
{
	void	   *reply = NULL;

	check(connection, redisBufferRead(connection->context) == REDIS_OK &&
		  redisReaderGetReply(connection->context->reader, &reply) == REDIS_OK);
	if (reply == NULL)
		return false;
	check(connection, ((redisReply *) reply)->type == connection->expected);
	freeReplyObject(reply);
	return true;
}

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

	if (argc != 6)
	{
		fputs("usage: redis SOCKET CONNECTIONS SECONDS SEED RECORD\n", stderr);
		return 2;
	}
	n = waiting = atoi(argv[2]);
	random = strtoull(argv[4], NULL, 10);
	record = argv[5];
	record_size = strlen(record);
	connections = calloc(n, sizeof(Connection));
	polls = calloc(n, sizeof(struct pollfd));
	for (int i = 0; i < n; i++)
	{
		connections[i].context = redisConnectUnix(argv[1]);
		check(&connections[i], connections[i].context->err == 0);
		polls[i].fd = connections[i].context->fd;
		polls[i].events = POLLIN;
	}

	prepare_zipf();
	start = now();
	deadline = start + atof(argv[3]);
	for (int i = 0; i < n; i++)
		send_request(&connections[i], &random, now());
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

			if (polls[i].revents == 0 || !receive_reply(&connections[i]))
				continue;
			end = now();
			count_latency(end - connections[i].sent);
			if (end < deadline)
				send_request(&connections[i], &random, end);
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
