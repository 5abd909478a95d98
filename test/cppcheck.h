/* What cppcheck, which sees no header of PostgreSQL, has to know of them. */
#define pg_attribute_aligned(bytes)
#define pg_attribute_printf(format, arguments)
#define pg_unreachable()	abort()
#define foreach(cell, list) \
	for (cell = list_head(list); cell != NULL; cell = lnext(list, cell))
#define foreach_ptr(type, var, list) \
	for (type *var = first(list); var != NULL; var = next(list))
#define ERROR	21
#define FATAL	22
#define PANIC	23
#define elog(level, ...) \
	do { report(__VA_ARGS__); if ((level) >= ERROR) abort(); } while (0)
#define ereport(level, ...) \
	do { (__VA_ARGS__); if ((level) >= ERROR) abort(); } while (0)
#define ereport_domain(level, domain, ...)	ereport(level, __VA_ARGS__)
#define Assert(condition)	do { if (!(condition)) abort(); } while (0)
#define PG_TRY()	if (try())
#define PG_CATCH()	else
#define PG_FINALLY()
#define PG_END_TRY()
#define INT64_FORMAT "%lld"
#define UINT64_FORMAT "%llu"
