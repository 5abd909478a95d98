/*-------------------------------------------------------------------------
 *
 * day_dir.c
 *		Where the files of a day are: base, database and date directories.
 *
 * Called by whatever reads or writes files: the worker and the job worker,
 * and sessions that look at day files.  Keeps no state: each call looks at
 * the disk, so that what others make, rename or delete is seen at once.
 *
 * A database's directory is "<oid>_<name>".  The oid finds it, the name is
 * for people: bytes of it that could trouble a file system or a shell are
 * written as %XX, and the worker renames the directory after the database.
 *
 * Names count only in exactly the form they are made in, and only those of
 * directories and regular files; anything else in these directories is not
 * cfp's and is not seen here.  (To open a pipe would wait for ever.)
 *
 * Directories are synced with fsync_fname_ext(): fsync_fname() would make a
 * PANIC of an error, and trouble with these files must not stop the server.
 *
 * Locks: none.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "commands/dbcommands.h"
#include "common/file_perm.h"
#include "miscadmin.h"
#include "storage/fd.h"

#include "base/calendar.h"
#include "base/settings.h"
#include "files/day_dir.h"

/* Make a directory and those above it that are missing, durably. */
static void
make_dir(const char *path)
{
	char	   *parent = pstrdup(path);

	get_parent_directory(parent);
	if (parent[0] == '\0')
		parent = ".";

	if (MakePGDirectory(path) < 0)
	{
		if (errno == EEXIST)
			return;
		if (errno == ENOENT && strcmp(parent, ".") != 0)
		{
			make_dir(parent);
			if (MakePGDirectory(path) == 0 || errno == EEXIST)
			{
				fsync_fname_ext(parent, true, false, ERROR);
				return;
			}
		}
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create directory \"%s\": %m", path)));
	}
	fsync_fname_ext(parent, true, false, ERROR);
}

/* Open a directory; NULL when it does not exist. */
static DIR *
open_dir(const char *path)
{
	DIR		   *dir = AllocateDir(path);

	if (dir == NULL && errno != ENOENT)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open directory \"%s\": %m", path)));
	return dir;
}

/* The kind of a file, as in st_mode; 0 when it does not exist. */
static mode_t
file_kind(const char *path)
{
	struct stat st;

	if (stat(path, &st) == 0)
		return st.st_mode & S_IFMT;
	if (errno != ENOENT)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not stat file \"%s\": %m", path)));
	return 0;
}

static bool
is_dir(const char *path)
{
	return file_kind(path) == S_IFDIR;
}

/* The directory of this database under its present name. */
static char *
named_database_dir(void)
{
	const char *name = get_database_name(MyDatabaseId);
	StringInfoData path;

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_DATABASE),
				 errmsg("database with OID %u does not exist", MyDatabaseId)));

	initStringInfo(&path);
	appendStringInfo(&path, "%s/%u_", cfp_base_dir, MyDatabaseId);
	for (const char *p = name; *p != '\0'; p++)
	{
		unsigned char c = (unsigned char) *p;

		if ((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
			(c >= '0' && c <= '9') || c == '_' || c == '-' || (c == '.' && p > name))
			appendStringInfoChar(&path, c);
		else
			appendStringInfo(&path, "%%%02X", c);
	}
	return path.data;
}

/* The directory of this database under whatever name; NULL without any. */
static char *
find_database_dir(void)
{
	char		prefix[16];
	char	   *found = NULL;
	struct dirent *entry;
	DIR		   *dir = open_dir(cfp_base_dir);

	if (dir == NULL)
		return NULL;
	snprintf(prefix, sizeof(prefix), "%u_", MyDatabaseId);
	while (found == NULL && (entry = ReadDir(dir, cfp_base_dir)) != NULL)
	{
		if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0)
			continue;
		found = psprintf("%s/%s", cfp_base_dir, entry->d_name);
		if (!is_dir(found))
			found = NULL;
	}
	FreeDir(dir);
	return found;
}

char *
cfp_database_dir(void)
{
	char	   *named = named_database_dir();
	char	   *found;

	if (is_dir(named))
		return named;
	found = find_database_dir();
	return found != NULL ? found : named;
}

char *
cfp_date_dir(DateADT date)
{
	return psprintf("%s/%s", cfp_database_dir(), cfp_date_text(date));
}

char *
cfp_date_file(DateADT date, const char *name)
{
	return psprintf("%s/%s", cfp_date_dir(date), name);
}

char *
cfp_day_file(DateADT date, int number)
{
	return psprintf("%s/wal_%06d.jsonl", cfp_date_dir(date), number);
}

char *
cfp_make_date_dir(DateADT date)
{
	char	   *named = named_database_dir();
	char	   *path;

	if (!is_dir(named))
	{
		char	   *found = find_database_dir();

		if (found != NULL)
		{
			if (rename(found, named) != 0)
				ereport(ERROR,
						(errcode_for_file_access(),
						 errmsg("could not rename file \"%s\" to \"%s\": %m", found, named)));
			fsync_fname_ext(cfp_base_dir, true, false, ERROR);
		}
	}
	path = psprintf("%s/%s", named, cfp_date_text(date));
	make_dir(path);
	return path;
}

void
cfp_make_base_dir(void)
{
	make_dir(cfp_base_dir);
}

static int
compare_ints(const ListCell *a, const ListCell *b)
{
	int			x = lfirst_int(a);
	int			y = lfirst_int(b);

	return x < y ? -1 : x > y;
}

List *
cfp_list_date_dirs(void)
{
	char	   *path = cfp_database_dir();
	DIR		   *dir = open_dir(path);
	struct dirent *entry;
	List	   *dates = NIL;

	if (dir == NULL)
		return NIL;
	while ((entry = ReadDir(dir, path)) != NULL)
	{
		DateADT		date;

		if (cfp_parse_date(entry->d_name, &date) &&
			is_dir(psprintf("%s/%s", path, entry->d_name)))
			dates = lappend_int(dates, date);
	}
	FreeDir(dir);
	list_sort(dates, compare_ints);
	return dates;
}

List *
cfp_list_day_files(DateADT date)
{
	char	   *path = cfp_date_dir(date);
	DIR		   *dir = open_dir(path);
	struct dirent *entry;
	List	   *numbers = NIL;

	if (dir == NULL)
		return NIL;
	while ((entry = ReadDir(dir, path)) != NULL)
	{
		char		name[MAXPGPATH];
		int			number;

		if (sscanf(entry->d_name, "wal_%d", &number) != 1 || number < 1)
			continue;
		snprintf(name, sizeof(name), "wal_%06d.jsonl", number);
		if (strcmp(entry->d_name, name) == 0 &&
			file_kind(psprintf("%s/%s", path, name)) == S_IFREG)
			numbers = lappend_int(numbers, number);
	}
	FreeDir(dir);
	list_sort(numbers, compare_ints);
	return numbers;
}

void
cfp_remove_file(const char *path)
{
	if (unlink(path) != 0 && errno != ENOENT)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not remove file \"%s\": %m", path)));
}

bool
cfp_space_is_short(int64 *free_space)
{
	struct statvfs fs;

	*free_space = -1;
	if (statvfs(cfp_base_dir, &fs) != 0)
		return false;
	*free_space = (int64) fs.f_bavail * (int64) fs.f_frsize;
	return *free_space < (int64) cfp_min_free_space * 1024 * 1024;
}
