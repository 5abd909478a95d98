/*-------------------------------------------------------------------------
 *
 * copy_file.c
 *		Rows of a storage table in a file: COPY's binary format, compressed.
 *
 * Backups (backup.c) are written and read (verify.c, restore.c) through what is here.
 * What is in a file is what COPY storage_history TO ... (FORMAT binary) would
 * give, in the server's encoding, as one zstd frame where the server was built
 * with zstd; so a file can be restored by hand with zstd and COPY.  It is
 * written here and not by COPY because COPY cannot write through a callback.
 *
 * Bytes, SHA-256 and rows are counted on the way, of the file as stored.
 * Compressing is done by a thread of zstd's beside this one.  It runs nothing
 * of the server's, and all signals are blocked in it, so that their handlers
 * run where they belong.
 *
 * Memory: a writer or reader is a context below the current one.  When that
 * goes, be it by an error, so do zstd's memory and thread, which are not
 * PostgreSQL's, and the file when it was not finished.
 *
 * Locks: none.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef CFP_ZSTD
#include <zstd.h>
#endif

#include "common/cryptohash.h"
#include "common/sha2.h"
#include "libpq/pqformat.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "base/settings.h"
#include "base/transcode.h"
#include "files/copy_file.h"
#include "files/day_dir.h"
#include "record/content.h"
#include "record/record.h"
#include "record/row.h"

#define COMPRESSION_LEVEL	1
#define FLUSH_AT			(256 * 1024)	/* bytes of rows gathered */
#define BLOCK				(128 * 1024)	/* bytes read or written at once */
#define SPACE_CHECK			(16 * 1024 * 1024)	/* bytes between looks at free
												 * space */

/* Signature, flags, length of the header's extension; then rows, then -1. */
static const char header[] = "PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0";

#define HEADER_SIZE			19

struct CfpCopyWriter
{
	MemoryContext context;
	MemoryContextCallback callback;
	MemoryContext row_context;	/* for the one row being written */
	char	   *path;
	int			fd;
	bool		finished;
	int64		rows;
	int64		bytes;
	int64		space_checked;	/* bytes at the last look at free space */
	pg_cryptohash_ctx *sha;
	StringInfoData rows_buffer; /* rows not yet compressed */
#ifdef CFP_ZSTD
	ZSTD_CCtx  *zstd;
	char	   *out;
	size_t		out_size;
#endif
};

struct CfpCopyReader
{
	MemoryContext context;
	MemoryContextCallback callback;
	char	   *path;
	int			fd;
	bool		file_ended;		/* nothing left in the file */
	bool		rows_ended;		/* the trailer has been read */
	int64		rows;
	int64		bytes;
	pg_cryptohash_ctx *sha;
	StringInfoData data;		/* as in COPY; read up to its cursor */
#ifdef CFP_ZSTD
	ZSTD_DCtx  *zstd;			/* NULL: not compressed */
	bool		frame_ended;
	ZSTD_inBuffer in;
	char	   *in_data;
#endif
};

bool
cfp_copy_compresses(void)
{
#ifdef CFP_ZSTD
	return true;
#else
	return false;
#endif
}

void
cfp_copy_damaged(const char *path, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("backup file \"%s\" is damaged", path),
			 errdetail_internal("%s", detail),
			 errhint("Use the backup of another date.")));
}

/*-------------------------------------------------------------------------
 * Sums
 *-------------------------------------------------------------------------
 */

static pg_cryptohash_ctx *
sha_start(void)
{
	pg_cryptohash_ctx *sha = pg_cryptohash_create(PG_SHA256);

	if (sha == NULL || pg_cryptohash_init(sha) < 0)
		elog(ERROR, "could not start a SHA-256 computation");
	return sha;
}

static void
sha_add(pg_cryptohash_ctx *sha, const char *data, size_t len)
{
	if (pg_cryptohash_update(sha, (const uint8 *) data, len) < 0)
		elog(ERROR, "could not compute a SHA-256: %s", pg_cryptohash_error(sha));
}

static void
sha_end(pg_cryptohash_ctx *sha, char *text)
{
	uint8		digest[PG_SHA256_DIGEST_LENGTH];

	if (pg_cryptohash_final(sha, digest, sizeof(digest)) < 0)
		elog(ERROR, "could not compute a SHA-256: %s", pg_cryptohash_error(sha));
	pg_cryptohash_free(sha);
	text[hex_encode((const char *) digest, sizeof(digest), text)] = '\0';
}

void
cfp_sha256_text(const char *data, size_t len, char text[CFP_SHA256_TEXT])
{
	pg_cryptohash_ctx *sha = sha_start();

	sha_add(sha, data, len);
	sha_end(sha, text);
}

/*-------------------------------------------------------------------------
 * Writing
 *-------------------------------------------------------------------------
 */

/* The writer's memory goes. */
static void
writer_gone(void *arg)
{
	CfpCopyWriter *writer = arg;

#ifdef CFP_ZSTD
	ZSTD_freeCCtx(writer->zstd);
#endif
	if (!writer->finished)
		unlink(writer->path);
}

static void
store_bytes(CfpCopyWriter *writer, const char *data, size_t len)
{
	if (writer->bytes >= writer->space_checked)
	{
		int64		free_space;

		if (cfp_space_is_short(&free_space))
			ereport(ERROR,
					(errcode(ERRCODE_DISK_FULL),
					 errmsg("could not write file \"%s\": less than cfp.min_free_space is left on the disk",
							writer->path),
					 errhint("Free some space, or lower cfp.min_free_space.")));
		writer->space_checked = writer->bytes + SPACE_CHECK;
	}

	sha_add(writer->sha, data, len);
	writer->bytes += len;
	while (len > 0)
	{
		ssize_t		written;

		errno = 0;
		pgstat_report_wait_start(PG_WAIT_EXTENSION);
		written = write(writer->fd, data, len);
		pgstat_report_wait_end();
		if (written <= 0)
		{
			if (errno == EINTR)
				continue;
			if (errno == 0)
				errno = ENOSPC;
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not write file \"%s\": %m", writer->path)));
		}
		data += written;
		len -= written;
	}
}

#ifdef CFP_ZSTD

static size_t
zstd_check(size_t result)
{
	if (ZSTD_isError(result))
		elog(ERROR, "could not compress: %s", ZSTD_getErrorName(result));
	return result;
}

/*
 * A library without threads refuses the number of workers, and then does
 * without.  Starting to compress is what makes the thread.
 */
static void
zstd_start(CfpCopyWriter *writer)
{
	ZSTD_inBuffer in = {"", 0, 0};
	ZSTD_outBuffer out;
	sigset_t	all,
				before;
	size_t		result;

	writer->out_size = ZSTD_CStreamOutSize();
	writer->out = palloc(writer->out_size);
	writer->zstd = ZSTD_createCCtx();
	if (writer->zstd == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	zstd_check(ZSTD_CCtx_setParameter(writer->zstd, ZSTD_c_compressionLevel, COMPRESSION_LEVEL));
	zstd_check(ZSTD_CCtx_setParameter(writer->zstd, ZSTD_c_checksumFlag, 1));
	(void) ZSTD_CCtx_setParameter(writer->zstd, ZSTD_c_nbWorkers, 1);

	out.dst = writer->out;
	out.size = writer->out_size;
	out.pos = 0;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	result = ZSTD_compressStream2(writer->zstd, &out, &in, ZSTD_e_continue);
	sigprocmask(SIG_SETMASK, &before, NULL);
	zstd_check(result);
	store_bytes(writer, out.dst, out.pos);
}

/* Take in all of the rows gathered; at the end, write all out. */
static void
compress_rows(CfpCopyWriter *writer, bool end)
{
	ZSTD_inBuffer in = {writer->rows_buffer.data, writer->rows_buffer.len, 0};
	size_t		left;

	do
	{
		ZSTD_outBuffer out = {writer->out, writer->out_size, 0};

		CHECK_FOR_INTERRUPTS();
		left = zstd_check(ZSTD_compressStream2(writer->zstd, &out, &in,
											   end ? ZSTD_e_end : ZSTD_e_continue));
		if (out.pos > 0)
			store_bytes(writer, out.dst, out.pos);
	} while (end ? left > 0 : in.pos < in.size);
}

#endif

static void
flush_rows(CfpCopyWriter *writer, bool end)
{
#ifdef CFP_ZSTD
	compress_rows(writer, end);
#else
	CHECK_FOR_INTERRUPTS();
	store_bytes(writer, writer->rows_buffer.data, writer->rows_buffer.len);
#endif
	resetStringInfo(&writer->rows_buffer);
}

CfpCopyWriter *
cfp_copy_create(const char *path)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "cfp copy writer",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	CfpCopyWriter *writer = palloc0(sizeof(CfpCopyWriter));

	writer->context = context;
	writer->row_context = AllocSetContextCreate(context, "cfp copy row",
												ALLOCSET_DEFAULT_SIZES);
	writer->path = pstrdup(path);
	writer->fd = OpenTransientFile(path, O_WRONLY | O_CREAT | O_TRUNC | PG_BINARY);
	if (writer->fd < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create file \"%s\": %m", path)));
	writer->callback.func = writer_gone;
	writer->callback.arg = writer;
	MemoryContextRegisterResetCallback(context, &writer->callback);

	writer->sha = sha_start();
	initStringInfo(&writer->rows_buffer);
	enlargeStringInfo(&writer->rows_buffer, 2 * FLUSH_AT);
#ifdef CFP_ZSTD
	zstd_start(writer);
#endif
	appendBinaryStringInfo(&writer->rows_buffer, header, HEADER_SIZE);
	MemoryContextSwitchTo(old);
	return writer;
}

/* For messages: a name, whatever it has. */
static char *
shown_name(Datum value)
{
	text	   *name = DatumGetTextPP(value);
	int			encoding = GetDatabaseEncoding();
	StringInfoData shown;

	initStringInfo(&shown);
	cfp_append_transcoded(&shown, VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name),
						  encoding, encoding);
	return shown.data;
}

/*
 * A backup with such a row could not be restored.  It came past all checks, as
 * when the triggers of the table were off.
 */
pg_noreturn static void row_not_sound(const Datum *values, const CfpFault *fault);

static void
row_not_sound(const Datum *values, const CfpFault *fault)
{
	ereport(ERROR,
			(errcode(fault->bytes == NULL ? ERRCODE_PROGRAM_LIMIT_EXCEEDED :
					 ERRCODE_CHARACTER_NOT_IN_REPERTOIRE),
			 errmsg("version %d of key \"%s\", collection \"%s\", item \"%s\": %s",
					DatumGetInt32(values[CFP_COL_VERSION]), shown_name(values[CFP_COL_KEY]),
					shown_name(values[CFP_COL_COLLECTION]), shown_name(values[CFP_COL_ITEM]),
					cfp_fault_message(fault)),
			 errdetail("It is in %s. Nothing that has it could be restored.", fault->field),
			 errhint("UPDATE or DELETE the row in storage_history and storage_latest.")));
}

static void
append_text(StringInfo buf, int column, const Datum *values)
{
	text	   *t = DatumGetTextPP(values[column]);
	int			len = VARSIZE_ANY_EXHDR(t);
	CfpFault	fault;

	if (!cfp_text_is_sound(cfp_columns[column].name, VARDATA_ANY(t), len, &fault))
		row_not_sound(values, &fault);
	enlargeStringInfo(buf, len + 4);
	pq_writeint32(buf, len);
	memcpy(buf->data + buf->len, VARDATA_ANY(t), len);
	buf->len += len;
}

/* As jsonb_send() does it: a version number, and the text. */
static void
append_jsonb(StringInfo buf, const Datum *values)
{
	Jsonb	   *jsonb = DatumGetJsonbP(values[CFP_COL_DATA]);
	int			start = buf->len;
	uint32		len;
	CfpFault	fault;

	if (!cfp_data_is_sound("data", &jsonb->root, &fault))
		row_not_sound(values, &fault);
	enlargeStringInfo(buf, 5);
	pq_writeint32(buf, 0);
	pq_writeint8(buf, 1);
	(void) JsonbToCString(buf, &jsonb->root, VARSIZE(jsonb));
	len = pg_hton32((uint32) (buf->len - start - 4));
	memcpy(buf->data + start, &len, 4);
}

/* As enum_send() does it. */
static void
append_label(StringInfo buf, const char *label)
{
	int			len = strlen(label);

	enlargeStringInfo(buf, len + 4);
	pq_writeint32(buf, len);
	appendBinaryStringInfo(buf, label, len);
}

void
cfp_copy_row(CfpCopyWriter *writer, const Datum *values, const bool *nulls)
{
	StringInfo	buf = &writer->rows_buffer;
	MemoryContext old = MemoryContextSwitchTo(writer->row_context);

	Assert(!writer->finished);
	enlargeStringInfo(buf, 2);
	pq_writeint16(buf, CFP_NCOLS);
	for (int i = 0; i < CFP_NCOLS; i++)
	{
		/* Enough for whatever is not of variable length. */
		enlargeStringInfo(buf, 12);
		if (nulls[i] && i != CFP_COL_OPERATION)
		{
			pq_writeint32(buf, (uint32) -1);
			continue;
		}
		switch (i)
		{
			case CFP_COL_DATA:
				append_jsonb(buf, values);
				break;
			case CFP_COL_STATUS_INT:
			case CFP_COL_VERSION:
				pq_writeint32(buf, 4);
				pq_writeint32(buf, (uint32) DatumGetInt32(values[i]));
				break;
				/* Their bits, as their send functions do. */
			case CFP_COL_VALUE_INT:
			case CFP_COL_VALUE_FLOAT:
			case CFP_COL_TIMESTAMP:
			case CFP_COL_UPDATED_AT:
			case CFP_COL_TXID:
				pq_writeint32(buf, 8);
				pq_writeint64(buf, (uint64) DatumGetInt64(values[i]));
				break;
			case CFP_COL_OPERATION:
				append_label(buf, cfp_operation_names[cfp_row_operation(values, nulls)]);
				break;
			default:
				append_text(buf, i, values);
				break;
		}
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(writer->row_context);
	writer->rows++;
	if (buf->len >= FLUSH_AT)
		flush_rows(writer, false);
}

void
cfp_copy_finish(CfpCopyWriter *writer, CfpCopySums *sums)
{
	Assert(!writer->finished);
	enlargeStringInfo(&writer->rows_buffer, 2);
	pq_writeint16(&writer->rows_buffer, (uint16) -1);
	flush_rows(writer, true);

	if (pg_fsync(writer->fd) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not fsync file \"%s\": %m", writer->path)));
	if (CloseTransientFile(writer->fd) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not close file \"%s\": %m", writer->path)));
	sums->rows = writer->rows;
	sums->bytes = writer->bytes;
	sha_end(writer->sha, sums->sha256);
	writer->finished = true;
	MemoryContextDelete(writer->context);
}

/*-------------------------------------------------------------------------
 * Reading
 *-------------------------------------------------------------------------
 */

#ifdef CFP_ZSTD
static void
reader_gone(void *arg)
{
	ZSTD_freeDCtx(((CfpCopyReader *) arg)->zstd);
}
#endif

CfpCopyReader *
cfp_copy_open(const char *path, bool compressed)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "cfp copy reader",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	CfpCopyReader *reader = palloc0(sizeof(CfpCopyReader));

	if (compressed && !cfp_copy_compresses())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot read file \"%s\": it is compressed, and this server was built without zstd",
						path)));
	reader->context = context;
	reader->path = pstrdup(path);
	/* A pipe is not waited for. */
	reader->fd = OpenTransientFile(path, O_RDONLY | O_NONBLOCK | PG_BINARY);
	if (reader->fd < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open backup file \"%s\": %m", path),
				 errhint("Use the backup of another date.")));
	reader->sha = sha_start();
	initStringInfo(&reader->data);
#ifdef CFP_ZSTD
	if (compressed)
	{
		reader->zstd = ZSTD_createDCtx();
		if (reader->zstd == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OUT_OF_MEMORY),
					 errmsg("out of memory")));
		reader->callback.func = reader_gone;
		reader->callback.arg = reader;
		MemoryContextRegisterResetCallback(context, &reader->callback);
		reader->in_data = palloc(BLOCK);
	}
#endif
	MemoryContextSwitchTo(old);
	return reader;
}

/* Up to len bytes of the file; 0 at its end. */
static int
load_bytes(CfpCopyReader *reader, char *to, int len)
{
	int			n;

	CHECK_FOR_INTERRUPTS();
	pgstat_report_wait_start(PG_WAIT_EXTENSION);
	n = read(reader->fd, to, len);
	pgstat_report_wait_end();
	if (n < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read file \"%s\": %m", reader->path)));
	if (n == 0)
		reader->file_ended = true;
	sha_add(reader->sha, to, n);
	reader->bytes += n;
	return n;
}

#ifdef CFP_ZSTD
static void
decompress_some(CfpCopyReader *reader)
{
	StringInfo	data = &reader->data;
	ZSTD_outBuffer out;
	size_t		left;

	if (reader->in.pos == reader->in.size)
	{
		reader->in.src = reader->in_data;
		reader->in.size = load_bytes(reader, reader->in_data, BLOCK);
		reader->in.pos = 0;
		if (reader->file_ended)
		{
			if (!reader->frame_ended)
				cfp_copy_damaged(reader->path, "It ends too early.");
			return;
		}
	}
	out.dst = data->data;
	out.size = data->maxlen - 1;
	out.pos = data->len;
	left = ZSTD_decompressStream(reader->zstd, &out, &reader->in);
	if (ZSTD_isError(left))
		cfp_copy_damaged(reader->path,
						 psprintf("It cannot be decompressed: %s.", ZSTD_getErrorName(left)));
	data->len = out.pos;
	reader->frame_ended = left == 0;
}
#endif

/* More of what is in the file; the caller has made room. */
static void
read_some(CfpCopyReader *reader)
{
	StringInfo	data = &reader->data;

#ifdef CFP_ZSTD
	if (reader->zstd != NULL)
	{
		decompress_some(reader);
		return;
	}
#endif
	data->len += load_bytes(reader, data->data + data->len,
							Min(data->maxlen - 1 - data->len, BLOCK));
}

/* Have at least n bytes after the cursor; false when the file ends before. */
static bool
have_bytes(CfpCopyReader *reader, int n)
{
	StringInfo	data = &reader->data;

	while (data->len - data->cursor < n)
	{
		if (reader->file_ended)
			return false;
		if (data->cursor > 0)
		{
			memmove(data->data, data->data + data->cursor, data->len - data->cursor);
			data->len -= data->cursor;
			data->cursor = 0;
		}
		enlargeStringInfo(data, Max(n - data->len, BLOCK));
		read_some(reader);
	}
	return true;
}

/* An integer of 2 or 4 bytes at this distance from the cursor. */
static int32
peek_int(CfpCopyReader *reader, int at, int size)
{
	const char *from;
	uint16		i16;
	uint32		i32;

	if (!have_bytes(reader, at + size))
		cfp_copy_damaged(reader->path, "It ends too early.");
	from = reader->data.data + reader->data.cursor + at;
	if (size == 2)
	{
		memcpy(&i16, from, 2);
		return (int16) pg_ntoh16(i16);
	}
	memcpy(&i32, from, 4);
	return (int32) pg_ntoh32(i32);
}

bool
cfp_copy_next_row(CfpCopyReader *reader, CfpCopyField *fields)
{
	StringInfo	data = &reader->data;
	int			at = 2;
	int			nfields;

	if (reader->rows_ended)
		return false;
	if (reader->rows == 0 && reader->bytes == 0)
	{
		if (!have_bytes(reader, HEADER_SIZE) || memcmp(data->data, header, HEADER_SIZE) != 0)
			cfp_copy_damaged(reader->path, "It does not begin as a backup does.");
		data->cursor += HEADER_SIZE;
	}

	nfields = peek_int(reader, 0, 2);
	if (nfields == -1)
	{
		data->cursor += 2;
		if (have_bytes(reader, 1))
			cfp_copy_damaged(reader->path, "There is something after its end.");
		reader->rows_ended = true;
		return false;
	}
	if (nfields != CFP_NCOLS)
		cfp_copy_damaged(reader->path, psprintf("A row has %d columns.", nfields));

	/* The row must be in memory whole before anything points into it. */
	for (int i = 0; i < CFP_NCOLS; i++)
	{
		int			len = peek_int(reader, at, 4);

		if (len < -1 || len > (int) MaxAllocSize - at - 8)
			cfp_copy_damaged(reader->path, psprintf("A column has length %d.", len));
		fields[i].len = len;
		at += 4 + Max(len, 0);
	}
	if (!have_bytes(reader, at))
		cfp_copy_damaged(reader->path, "It ends too early.");
	at = 2;
	for (int i = 0; i < CFP_NCOLS; i++)
	{
		fields[i].data = data->data + data->cursor + at + 4;
		at += 4 + Max(fields[i].len, 0);
	}
	data->cursor += at;
	reader->rows++;
	return true;
}

int
cfp_copy_read(CfpCopyReader *reader, void *to, int min, int max)
{
	int			n;

	(void) have_bytes(reader, min);
	n = Min(reader->data.len - reader->data.cursor, max);
	memcpy(to, reader->data.data + reader->data.cursor, n);
	reader->data.cursor += n;
	return n;
}

void
cfp_copy_check(CfpCopyReader *reader, int64 rows, const CfpCopySums *sums)
{
	char		sha256[CFP_SHA256_TEXT];

	while (have_bytes(reader, 1))
		reader->data.cursor = reader->data.len;
	sha_end(reader->sha, sha256);
	if (reader->bytes != sums->bytes)
		cfp_copy_damaged(reader->path,
						 psprintf("It has %lld bytes, and had %lld when it was written.",
								  (long long) reader->bytes, (long long) sums->bytes));
	if (strcmp(sha256, sums->sha256) != 0)
		cfp_copy_damaged(reader->path,
						 psprintf("Its SHA-256 is %s, and was %s when it was written.",
								  sha256, sums->sha256));
	if (rows != sums->rows)
		cfp_copy_damaged(reader->path,
						 psprintf("It has %lld rows, and had %lld when it was written.",
								  (long long) rows, (long long) sums->rows));
	CloseTransientFile(reader->fd);
	MemoryContextDelete(reader->context);
}
