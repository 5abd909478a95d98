/*-------------------------------------------------------------------------
 *
 * clients.h
 *		The loop of a driver whose clients are connections to a server.
 *
 * One thread serves all of them.  Each sends its next request as soon as it
 * has the whole answer to the one before; the latency is the time between.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLIENTS_H
#define CLIENTS_H

#include <poll.h>

#include "common.h"

/* Sends the next request of a client. */
typedef void (*SendFunction) (int client, uint64_t *random);

/* Reads what there is for a client; true if that completes the answer. */
typedef bool (*ReceiveFunction) (int client);

static inline void
run_clients(const int *sockets, int n, double seconds, uint64_t seed,
			SendFunction send_request, ReceiveFunction receive_answer)
{
	struct pollfd *polls = calloc(n, sizeof(struct pollfd));
	double	   *sent = calloc(n, sizeof(double));
	int			waiting = n;
	double		start = now(),
				deadline = start + seconds;

	for (int i = 0; i < n; i++)
	{
		polls[i].fd = sockets[i];
		polls[i].events = POLLIN;
		sent[i] = now();
		send_request(i, &seed);
	}
	while (waiting > 0)
	{
		if (poll(polls, n, -1) < 0)
		{
			perror("poll");
			exit(1);
		}
		for (int i = 0; i < n; i++)
		{
			double		end;

			if (polls[i].revents == 0 || !receive_answer(i))
				continue;
			end = now();
			count_latency(end - sent[i]);
			if (end < deadline)
			{
				sent[i] = end;
				send_request(i, &seed);
			}
			else
			{
				polls[i].fd = -1;
				waiting--;
			}
		}
	}
	report(now() - start);
	free(polls);
	free(sent);
}

#endif							/* CLIENTS_H */
