/*-------------------------------------------------------------------------
 *
 * manifest.c
 *		The manifest of a backup: manifest.json in the directory of its date.
 *
 * Written by the job worker as the last step of a backup, so a backup is
 * complete when it is there.  Read by whoever wants to know which backups
 * there are, verifies, or restores.
 *
 * A manifest that is cut, is not JSON, lacks something, is not what was written
 * or is of another cluster or database is never used; who reads it is told what
 * is wrong.  One that was made before the extension was dropped and created
 * again can be restored from, by its date; nothing builds on it.  Its last
 * member is the SHA-256 of all lines before it:
 *
 *		head -n -2 manifest.json | sha256sum
 *
 * Locks: none.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "commands/dbcommands.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/snapmgr.h"

#include "base/calendar.h"
#include "base/jsonc.h"
#include "base/transcode.h"
#include "files/day_dir.h"
#include "files/manifest.h"
#include "record/encode.h"
#include "record/record.h"
#include "tables/state.h"

#define FORMAT				2
#define MAX_SIZE			(64 * 1024) /* of a manifest */
#define MAX_COUNT			(INT64CONST(1) << 50)	/* rows or bytes; sums of
													 * them are no overflow */

/* How a manifest ends. */
#define CHECKSUM			"  \"checksum\": \"%s\"\n}\n"
#define CHECKSUM_LEN		(sizeof(CHECKSUM) - 3 + CFP_SHA256_TEXT - 1)

static const char *const kinds[] = {"full", "day", "off"};	/* CfpBackupKind */

/*-------------------------------------------------------------------------
 * Writing
 *-------------------------------------------------------------------------
 */

static void
add_file(jsonc_object *files, const char *name, const CfpCopySums *sums)
{
	jsonc_object *file = cfp_jsonc_made(json_object_new_object());

	cfp_jsonc_add_string(file, "name", name);
	cfp_jsonc_add_int(file, "rows", sums->rows);
	cfp_jsonc_add_int(file, "bytes", sums->bytes);
	cfp_jsonc_add_string(file, "sha256", sums->sha256);
	if (json_object_array_add(files, file) != 0)
		cfp_jsonc_out_of_memory();
}

/* A name that is for people only. */
static char *
transcoded(const char *name, int from, int to)
{
	StringInfoData buf;

	initStringInfo(&buf);
	cfp_append_transcoded(&buf, name, strlen(name), from, to);
	return buf.data;
}

/* The end of a manifest whose text begins with so many bytes, palloc'd. */
static char *
manifest_checksum(const char *text, size_t len)
{
	char		sha256[CFP_SHA256_TEXT];

	cfp_sha256_text(text, len, sha256);
	return psprintf(CHECKSUM, sha256);
}

/* The manifest's text, palloc'd. */
static char *
manifest_text(const CfpManifest *manifest)
{
	char	   *identifier = psprintf(UINT64_FORMAT, GetSystemIdentifier());
	char	   *database = get_database_name(MyDatabaseId);
	char	   *incarnation = cfp_incarnation(GetActiveSnapshot());
	char	   *date = cfp_date_text(manifest->date);
	char	   *builds_on = manifest->history_kind == CFP_BACKUP_KIND_DAY ?
	cfp_date_text(manifest->builds_on) : NULL;
	jsonc_object *root = cfp_jsonc_made(json_object_new_object());
	jsonc_object *files = cfp_jsonc_made(json_object_new_array());
	const char *json;
	char	   *text;

	if (database != NULL)
		database = transcoded(database, GetDatabaseEncoding(), PG_UTF8);

	cfp_jsonc_add_int(root, "format", FORMAT);
	cfp_jsonc_add_string(root, "server_version", PG_VERSION);
	cfp_jsonc_add_string(root, "system_identifier", identifier);
	cfp_jsonc_add_int(root, "database_oid", MyDatabaseId);
	if (incarnation != NULL)
		cfp_jsonc_add_string(root, "incarnation", incarnation);
	cfp_jsonc_add_string(root, "database", database);
	cfp_jsonc_add_int(root, "timeline", GetWALInsertionTimeLine());
	cfp_jsonc_add_string(root, "encoding", GetDatabaseEncodingName());
	cfp_jsonc_add_string(root, "date", date);
	cfp_jsonc_add_string(root, "finished", manifest->finished);
	cfp_jsonc_add_string(root, "snapshot", manifest->snapshot);
	cfp_jsonc_add_string(root, "history", kinds[manifest->history_kind]);
	cfp_jsonc_add_string(root, "builds_on", builds_on);
	cfp_jsonc_add_string(root, "builds_on_sha256", builds_on == NULL ? NULL : manifest->builds_on_sha256);
	if (manifest->on_demand)
		cfp_jsonc_add(root, "on_demand", cfp_jsonc_made(json_object_new_boolean(true)));
	cfp_jsonc_add_string(root, "compression", manifest->compressed ? "zstd" : "none");
	if (manifest->history_kind != CFP_BACKUP_KIND_OFF)
		add_file(files, CFP_HISTORY_BACKUP, &manifest->history);
	add_file(files, CFP_LATEST_BACKUP, &manifest->latest);
	cfp_jsonc_add(root, "files", files);

	json = json_object_to_json_string_ext(root, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED);
	/* json-c says nothing when its buffer cannot grow. */
	if (json == NULL || strlen(json) < 2 || strcmp(json + strlen(json) - 2, "\n}") != 0)
		cfp_jsonc_out_of_memory();
	/* The checksum takes the place of the last line. */
	text = psprintf("%.*s,\n", (int) strlen(json) - 2, json);
	json_object_put(root);
	return psprintf("%s%s", text, manifest_checksum(text, strlen(text)));
}

void
cfp_write_manifest(const CfpManifest *manifest)
{
	char	   *path = cfp_date_file(manifest->date, CFP_MANIFEST_FILE);
	char	   *temporary = psprintf("%s.tmp", path);
	char	   *text = manifest_text(manifest);
	size_t		len = strlen(text);
	int			fd = OpenTransientFile(temporary, O_WRONLY | O_CREAT | O_TRUNC | PG_BINARY);

	Assert(IsTransactionState());
	if (fd < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create file \"%s\": %m", temporary)));
	errno = 0;
	if (write(fd, text, len) != len)
	{
		if (errno == 0)
			errno = ENOSPC;
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not write file \"%s\": %m", temporary)));
	}
	if (CloseTransientFile(fd) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not close file \"%s\": %m", temporary)));
	/* It syncs the file first, then the directory. */
	(void) durable_rename(temporary, path, ERROR);
}

/*-------------------------------------------------------------------------
 * Reading
 *-------------------------------------------------------------------------
 */

/*
 * The file's text, palloc'd; NULL when there is none.  Throws what reading a
 * file throws.  A pipe is opened without waiting, and read as empty.
 */
static char *
read_text(const char *path, size_t *len)
{
	int			fd = OpenTransientFile(path, O_RDONLY | O_NONBLOCK | PG_BINARY);
	char	   *text;
	ssize_t		n;

	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return NULL;
	if (fd < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open file \"%s\": %m", path)));
	text = palloc(MAX_SIZE);
	n = read(fd, text, MAX_SIZE - 1);
	if (n < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read file \"%s\": %m", path)));
	CloseTransientFile(fd);
	text[n] = '\0';
	*len = n;
	return text;
}

/* A member of this type; NULL when there is none. */
static jsonc_object *
member(jsonc_object *object, const char *key, json_type type)
{
	jsonc_object *value;

	if (!json_object_is_type(object, json_type_object) ||
		!json_object_object_get_ex(object, key, &value) ||
		!json_object_is_type(value, type))
		return NULL;
	return value;
}

/* A member's string; empty when there is none. */
static const char *
member_string(jsonc_object *object, const char *key)
{
	jsonc_object *value = member(object, key, json_type_string);

	return value == NULL ? "" : json_object_get_string(value);
}

/* A member's integer; -1 when there is none. */
static int64
member_int(jsonc_object *object, const char *key)
{
	jsonc_object *value = member(object, key, json_type_int);

	return value == NULL ? -1 : json_object_get_int64(value);
}

/* So many hexadecimal digits, in lower case? */
static bool
is_sha256(const char *text)
{
	return strlen(text) == CFP_SHA256_TEXT - 1 &&
		strspn(text, "0123456789abcdef") == CFP_SHA256_TEXT - 1;
}

/* What is known of a file of this name; false when it is not listed. */
static bool
parse_file(jsonc_object *root, const char *name, CfpCopySums *sums)
{
	jsonc_object *files = member(root, "files", json_type_array);

	for (size_t i = 0; files != NULL && i < json_object_array_length(files); i++)
	{
		jsonc_object *file = json_object_array_get_idx(files, i);

		if (strcmp(member_string(file, "name"), name) != 0)
			continue;
		sums->rows = member_int(file, "rows");
		sums->bytes = member_int(file, "bytes");
		strlcpy(sums->sha256, member_string(file, "sha256"), sizeof(sums->sha256));
		return sums->rows >= 0 && sums->rows <= MAX_COUNT &&
			sums->bytes >= 0 && sums->bytes <= MAX_COUNT &&
			is_sha256(member_string(file, "sha256"));
	}
	return false;
}

/* Is the text the one that was written? */
static bool
is_as_written(const char *text)
{
	size_t		len = strlen(text);

	return len >= CHECKSUM_LEN &&
		memcmp(text + len - CHECKSUM_LEN, manifest_checksum(text, len - CHECKSUM_LEN), CHECKSUM_LEN) == 0;
}

/* Whose it is, as a DETAIL. */
static char *
manifest_owner(jsonc_object *root)
{
	char	   *database = transcoded(member_string(root, "database"), PG_UTF8, GetDatabaseEncoding());
	int			len = pg_mbcliplen(database, strlen(database), NAMEDATALEN - 1);

	return psprintf("It is of database \"%s\" (oid %lld) of the server with system identifier %s.",
					pnstrdup(database, len), (long long) member_int(root, "database_oid"),
					member_string(root, "system_identifier"));
}

/* Fill in *manifest; NULL, or what is wrong as a DETAIL. */
static char *
parse_manifest(jsonc_object *root, bool as_written, DateADT date, CfpManifest *manifest)
{
	static const char *const malformed = "Something is missing in it, or has another form than cfp writes.";
	const char *system_identifier = member_string(root, "system_identifier");
	const char *compression = member_string(root, "compression");
	const char *kind = member_string(root, "history");
	const char *builds_on_sha256 = member_string(root, "builds_on_sha256");
	const char *snapshot = member_string(root, "snapshot");
	const char *incarnation = member_string(root, "incarnation");
	char	   *mine = cfp_incarnation(GetActiveSnapshot());
	size_t		digits = strspn(system_identifier, "0123456789");
	int			k = 0;

	if (member_int(root, "format") != FORMAT)
		return psprintf("Its format is not %d, the one this version of cfp knows.", FORMAT);
	if (!as_written)
		return pstrdup("Its checksum is not that of what it says: it is damaged, or was changed.");
	if (digits == 0 || digits > 20 || system_identifier[digits] != '\0')
		return pstrdup(malformed);
	manifest->foreign = strcmp(system_identifier, psprintf(UINT64_FORMAT, GetSystemIdentifier())) != 0 ||
		member_int(root, "database_oid") != MyDatabaseId;
	if (manifest->foreign)
		return manifest_owner(root);
	if (strcmp(member_string(root, "encoding"), GetDatabaseEncodingName()) != 0)
		return pstrdup("It is of a database with another encoding.");
	if (!cfp_parse_date(member_string(root, "date"), &manifest->date) || manifest->date != date)
		return pstrdup("It is not of this date.");

	while (k < lengthof(kinds) && strcmp(kind, kinds[k]) != 0)
		k++;
	manifest->history_kind = k;
	manifest->compressed = strcmp(compression, "zstd") == 0;
	if (k == lengthof(kinds) ||
		(k == CFP_BACKUP_KIND_DAY &&
		 (!cfp_parse_date(member_string(root, "builds_on"), &manifest->builds_on) ||
		  manifest->builds_on >= date || !is_sha256(builds_on_sha256))) ||
		(!manifest->compressed && strcmp(compression, "none") != 0) ||
		(k != CFP_BACKUP_KIND_OFF && !parse_file(root, CFP_HISTORY_BACKUP, &manifest->history)) ||
		!parse_file(root, CFP_LATEST_BACKUP, &manifest->latest))
		return pstrdup(malformed);
	manifest->on_demand = member(root, "on_demand", json_type_boolean) != NULL;
	strlcpy(manifest->finished, member_string(root, "finished"), sizeof(manifest->finished));
	strlcpy(manifest->builds_on_sha256, builds_on_sha256, sizeof(manifest->builds_on_sha256));
	manifest->snapshot = *snapshot == '\0' ? NULL : pstrdup(snapshot);
	manifest->other_incarnation = *incarnation != '\0' && mine != NULL &&
		strcmp(incarnation, mine) != 0;
	return NULL;
}

bool
cfp_read_manifest(DateADT date, CfpManifest *manifest, char **problem)
{
	char	   *path = cfp_date_file(date, CFP_MANIFEST_FILE);
	size_t		len;
	char	   *text = read_text(path, &len);
	bool		as_written;
	json_tokener *tokener;
	jsonc_object *root;
	char	   *wrong = NULL;

	Assert(IsTransactionState());
	if (problem != NULL)
		*problem = NULL;
	memset(manifest, 0, sizeof(*manifest));
	if (text == NULL)
		return false;

	as_written = is_as_written(text);
	tokener = json_tokener_new();
	if (tokener == NULL)
		cfp_jsonc_out_of_memory();
	root = json_tokener_parse_ex(tokener, text, len);
	if (json_tokener_get_error(tokener) != json_tokener_success ||
		!pg_verify_mbstr(PG_UTF8, text, len, true))
		wrong = pstrdup("It is cut or not JSON.");
	json_tokener_free(tokener);

	/* What json-c has allocated must be freed, whatever happens. */
	PG_TRY();
	{
		if (wrong == NULL)
			wrong = parse_manifest(root, as_written, date, manifest);
	}
	PG_FINALLY();
	{
		json_object_put(root);
	}
	PG_END_TRY();

	if (wrong != NULL && problem != NULL)
		*problem = wrong;
	return wrong == NULL;
}

/* Is the file there, with this size, and may it be read? */
static bool
has_size(DateADT date, const char *name, int64 bytes)
{
	char	   *path = cfp_date_file(date, name);
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == bytes &&
		access(path, R_OK) == 0;
}

/* Is there a manifest that can be read? */
static bool
has_manifest(DateADT date)
{
	char	   *path = cfp_date_file(date, CFP_MANIFEST_FILE);
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, R_OK) == 0;
}

List *
cfp_list_backups(bool on_demand)
{
	List	   *result = NIL;
	DateADT		restored = DATEVAL_NOEND;
	TimestampTz restored_at;
	char		at[MAXDATELEN + 1] = "";
	ListCell   *lc;

	Assert(ActiveSnapshotSet());
	if (cfp_last_restore(GetActiveSnapshot(), &restored, &restored_at))
		at[cfp_encode_timestamp(at, restored_at)] = '\0';
	foreach(lc, cfp_list_date_dirs())
	{
		CfpManifest manifest;

		if (has_manifest(lfirst_int(lc)) &&
			cfp_read_manifest(lfirst_int(lc), &manifest, NULL) &&
			!manifest.other_incarnation &&
			(on_demand || !manifest.on_demand) &&
			(manifest.date <= restored || strcmp(manifest.finished, at) > 0) &&
			has_size(lfirst_int(lc), CFP_LATEST_BACKUP, manifest.latest.bytes) &&
			(manifest.history_kind == CFP_BACKUP_KIND_OFF ||
			 has_size(lfirst_int(lc), CFP_HISTORY_BACKUP, manifest.history.bytes)))
			result = lappend_int(result, lfirst_int(lc));
	}
	return result;
}

List *
cfp_backup_chain(CfpManifest *manifest, bool *whole)
{
	List	   *chain = NIL;

	Assert(IsTransactionState());
	*whole = false;
	while (manifest->history_kind != CFP_BACKUP_KIND_OFF)
	{
		const char *sha256 = manifest->builds_on_sha256;
		CfpManifest *link;

		chain = lappend(chain, manifest);
		*whole = manifest->history_kind == CFP_BACKUP_KIND_FULL;
		if (*whole)
			break;
		link = palloc(sizeof(CfpManifest));
		if (!has_manifest(manifest->builds_on) ||
			!cfp_read_manifest(manifest->builds_on, link, NULL) ||
			link->history_kind == CFP_BACKUP_KIND_OFF ||
			link->other_incarnation != manifest->other_incarnation ||
			(sha256[0] != '\0' && strcmp(link->history.sha256, sha256) != 0) ||
			!has_size(link->date, CFP_HISTORY_BACKUP, link->history.bytes))
			break;
		manifest = link;
	}
	return chain;
}
