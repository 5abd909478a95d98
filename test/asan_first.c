/*
 * Loaded with AddressSanitizer into a server that is built without it: has the
 * sanitizer start before bindtextdomain(), which constructors of libraries call,
 * and which holds a lock when it allocates.  A sanitizer that starts there asks
 * for translations of messages itself, and leaves that lock locked for ever.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>

char *
bindtextdomain(const char *domain, const char *dir)
{
	char	   *(*next) (const char *, const char *);

	free(malloc(1));
	*(void **) &next = dlsym(RTLD_NEXT, "bindtextdomain");
	return next(domain, dir);
}
