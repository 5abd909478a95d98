/*-------------------------------------------------------------------------
 *
 * day_reader.c
 *		Whose a day file is: what its first line says.
 *
 * Called by those who read, remove or cut back what may be of others: the
 * flush (day_disk.c), retention, rebuilds.  The other lines are read by
 * wal_files.c.
 *
 * Locks: none.  A file that is removed meanwhile is an error.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "base/jsonc.h"
#include "files/day_reader.h"
#include "record/line_format.h"
#include "record/line_read.h"
#include "record/line_write.h"
#include "tables/state.h"

#define FIRST_LINE_SIZE		4096	/* more than a first line has */

/* The first bytes of a file, NUL-terminated; *size is the whole file's. */
static char *
read_first_line(const char *name, off_t *size)
{
	char	   *text = palloc(FIRST_LINE_SIZE + 1);
	struct stat st;
	int			file = OpenTransientFile(name, O_RDONLY | PG_BINARY);
	int			len;

	if (file < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open file \"%s\": %m", name)));
	len = read(file, text, FIRST_LINE_SIZE);
	if (len < 0 || fstat(file, &st) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read file \"%s\": %m", name)));
	CloseTransientFile(file);
	text[len] = '\0';
	*size = st.st_size;
	return text;
}

/* A member of the header as text; empty when there is none. */
static const char *
header_member(jsonc_object *header, const char *name)
{
	jsonc_object *value;

	if (!json_object_is_type(header, json_type_object) ||
		!json_object_object_get_ex(header, name, &value) || value == NULL)
		return "";
	return json_object_get_string(value);
}

CfpFileOwner
cfp_day_file_owner(const char *name, char **origin)
{
	off_t		size;
	char	   *text = read_first_line(name, &size);
	char	   *newline = strchr(text, '\n');
	char	   *mine = cfp_incarnation(GetActiveSnapshot());
	jsonc_object *header;
	const char *incarnation;
	CfpFileOwner owner = CFP_FILE_FOREIGN;

	Assert(ActiveSnapshotSet());
	if (origin != NULL)
		*origin = "";
	if (newline == NULL || cfp_line_checksum(text, newline - text) == CFP_CHECKSUM_WRONG)
		return owner;
	*newline = '\0';
	header = json_tokener_parse(text);
	incarnation = header_member(header, "incarnation");
	if (*header_member(header, "cfp") != '\0' &&
		strcmp(header_member(header, "system_identifier"),
			   psprintf(UINT64_FORMAT, GetSystemIdentifier())) == 0 &&
		strcmp(header_member(header, "database_oid"), psprintf("%u", MyDatabaseId)) == 0)
		owner = mine == NULL || *incarnation == '\0' || strcmp(incarnation, mine) == 0 ?
			CFP_FILE_OURS : CFP_FILE_OTHER_INCARNATION;
	if (origin != NULL && owner != CFP_FILE_OURS)
		*origin = psprintf("%s/%s/%s", header_member(header, "system_identifier"),
						   header_member(header, "database_oid"), incarnation);
	json_object_put(header);
	return owner;
}

bool
cfp_day_file_is_ours(const char *name)
{
	return cfp_day_file_owner(name, NULL) == CFP_FILE_OURS;
}

bool
cfp_day_file_is_torn(const char *name, DateADT date)
{
	StringInfoData header;
	off_t		size;
	char	   *text = read_first_line(name, &size);

	initStringInfo(&header);
	cfp_line_write_header(&header, date, cfp_incarnation(GetActiveSnapshot()));
	return size < header.len && strncmp(text, header.data, size) == 0;
}
