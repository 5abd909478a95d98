# What goes into a record comes out of every copy of it, what would not is
# refused, and a copy that is damaged says so: checksums of day files, invalid
# bytes and deep jsonb by every door, backups that are verified, random records
# through day files, backups and dumps.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CfpTest;
use Digest::SHA qw(sha256_hex);
use PostgreSQL::Test::Utils;
use Test::More;

my $node = cfp_node('checked', 'autovacuum = off', 'cfp.retain_days = 0');
cfp_install($node);

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub write_file
{
	my ($path, $content) = @_;

	open(my $file, '>:raw', $path) or die "$path: $!";
	print $file $content;
	close $file;
	return;
}

# ---- day files: each bit of a line

sql(q{SELECT cfp_store('flip', '{"a": "text", "n": [1, 2.50, null]}', 'item', 'c', 'value'::text, username => 'somebody')});
sql(q{SELECT cfp_store('after', '{}', 'item', 'c', 2.5::float8); SELECT cfp_flush()});
my $date = sql('SELECT max(date) FROM cfp_wal_files');
my ($dir) = glob($node->data_dir . "/cfp/*_postgres/$date");
my $mine = "$dir/wal_000001.jsonl";
# a date of its own, of which all there is counts
my $other_date = '2020-01-01';
my $other_dir = $dir =~ s/[^\/]*$/$other_date/r;
my $other = "$other_dir/wal_000001.jsonl";
mkdir $other_dir or die "$other_dir: $!";
my ($header, $line, $after) = split /^/, slurp_file($mine);
my $rows = qq{SELECT string_agg(key || item_name || version, ' ' ORDER BY key) FROM cfp_read_wal('$other_date')};

# The file's records, and the WARNINGs of reading it.
sub read_other
{
	my ($content) = @_;
	my ($out, $err) = ('', '');

	write_file($other, $content);
	$node->psql('postgres', $rows, stdout => \$out, stderr => \$err);
	return ($out, $err);
}

# Copies of a line, a bit flipped in each.
sub flipped
{
	my ($text) = @_;

	return map {
		my $copy = $text;
		substr($copy, $_ >> 3, 1) ^= chr(1 << ($_ & 7));
		$copy
	} 0 .. 8 * length($text) - 1;
}

my ($out, $err) = read_other("$header$line$after");
is($out, 'afteritem1 flipitem1', 'a file as it was');
is($err, '', 'has no bad lines');

my @copies = flipped(substr $line, 0, -1);
($out, $err) = read_other($header . join '', map { "$_\n" } @copies);
# two lines of one
my $bad = @copies + grep { /\n/ } @copies;
is($out, '', 'of a line with a bit flipped nothing is taken, whichever it is');
like($err, qr/WARNING:  line 2 of day file "[^"]*wal_000001\.jsonl" is not used\nDETAIL:  its checksum is wrong/, 'file and line are named');
like($err, qr/WARNING:  $bad lines of the day files are not used/, 'and all are counted');

# the newline between two lines, the last one, and that of the header
my $position = 0;
foreach my $copy (grep { substr($_, 0, -1) eq substr($line, 0, -1) } flipped($line))
{
	$position++;
	($out, $err) = read_other("$header$copy$after");
	is($out, '', "newline flipped, $position: two lines in one are not taken");
	like($err, qr/line 2 of day file/, 'and named');
	($out, $err) = read_other("$header$after$copy");
	is($out, 'afteritem1', "last newline flipped, $position: the line before it is taken");
	like($err, qr/line 3 of day file/, 'and it is named');
}
is($position, 8, 'each bit of a newline');

# a line that was cut off, as after a crash
my $silent = grep { (read_other("$header$after" . substr($line, 0, $_)))[1] eq '' } 1, 20, length($line) - 2;
is($silent, 3, 'a line that was cut off is passed over silently');
is((read_other("$header$after" . substr($line, 0, -1)))[0], 'afteritem1 flipitem1', 'one without its newline is taken');

# the first line
($out, $err) = read_other(($header =~ s/"cfp":1/"cfp":3/r) . $line);
like($err, qr/line 1 of day file .* is not used/, 'a damaged first line is named');
is($out, 'flipitem1', 'the others are taken');
(my $unchecked = $line) =~ s/"crc"/"crb"/;
is((read_other($header . $unchecked))[0], '', 'in a file with checksums a line without is not taken');
is((read_other(($header =~ s/"cfp":1/"cfp":3/r) . $unchecked))[0], '', 'nor where the first line is damaged');

# by hand, and by another build
(my $plain = $line) =~ s/,"crc":"[0-9a-f]{8}"//;
is((read_other($plain))[0], 'flipitem1', 'a file without checksums is read');
($out, $err) = read_other($plain . $after . ($plain =~ s/"flip"/"more"/r));
is($out, 'afteritem1 flipitem1', 'one that goes on with checksums: lines without before the first with');
like($err, qr/line 3 of day file .* is not used\nDETAIL:  it has no checksum, and a line before it has one/, 'and none after it');

# a rebuild
write_file($other, $header . $line =~ s/text/tent/r);
sql('TRUNCATE storage_history, storage_latest');
my $offset = -s $node->logfile;
(undef, $out, $err) = $node->psql('postgres', "SELECT cfp_rebuild_history_from_wal('$other_date')");
is($out, '0', 'a rebuild does not take a damaged line');
like($err, qr/WARNING:  1 lines of the day files could not be used/, 'and says so');
like(slurp_file($node->logfile, $offset), qr/WARNING:  line 2 of day file "[^"]*wal_000001\.jsonl" is not used/, 'the log names it');
is(sql("SELECT cfp_rebuild_history_from_wal('$date')"), '2', 'it takes what is whole');

# a file whose first line is damaged is not known as this database's
write_file($other, ($header =~ s/"database":"p/"database":"q/r) . $line . $after);
is(sql("SELECT records FROM cfp_wal_files WHERE date = '$other_date'"), '3', 'a damaged first line counts as any other');
(undef, $out, $err) = $node->psql('postgres', "SELECT cfp_rebuild_history_from_wal('$other_date')");
like($err, qr/1 day files were not made by this server for this database/, 'and the file is not known as ours');

# ---- invalid bytes: every door refuses them

sql(q{TRUNCATE storage_history, storage_latest});
sql(q{SELECT cfp_store('there', '{}', 'i', 'c', 1); SELECT cfp_flush()});

# A byte that UTF-8 does not have, as text: the server does not check settings
# of the start-up packet.
$ENV{PGOPTIONS} = "-c bad.byte=\xfc";
my $byte = q{current_setting('bad.byte')};
my $stored = q{SELECT count(*) FROM storage_history};
my $count = sql($stored);

sub refused
{
	my ($sql, $field, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	state_is($node, 'postgres', $sql, '22021',
		qr/invalid byte sequence for encoding "UTF8": 0xfc.*HINT:  It is in \Q$field\E\. /s, $what);
	is(sql($stored), $count, "$what: nothing is stored");
	return;
}

my %doors = (
	'cfp_store, key' => [ "SELECT cfp_store($byte, '{}')", 'key' ],
	'cfp_store, item' => [ "SELECT cfp_store('k', '{}', 'a long name before it ' || $byte)", 'item_name' ],
	'cfp_store, collection' => [ "SELECT cfp_store('k', '{}', 'i', $byte || 'and one that is behind it')", 'collection_name' ],
	'cfp_store, username' => [ "SELECT cfp_store('k', '{}', 'i', 'c', 1, username => $byte)", 'username' ],
	'cfp_store, text' => [ "SELECT cfp_store('k', '{}', 'i', 'c', $byte)", 'value' ],
	'cfp_store, varchar' => [ "SELECT cfp_store('k', '{}', 'i', 'c', 'x'::varchar || $byte)", 'value' ],
	'cfp_store, bpchar' => [ "SELECT cfp_store('k', '{}', 'i', 'c', $byte\::char(10))", 'value' ],
	'cfp_store, name' => [ "SELECT cfp_store('k', '{}', 'i', 'c', $byte\::name)", 'value' ],
	'cfp_store, jsonb' => [ "SELECT cfp_store('k', '{}', 'i', 'c', to_jsonb($byte))", 'value' ],
	'cfp_store, data' => [ "SELECT cfp_store('k', jsonb_build_object('a', $byte))", 'data' ],
	'cfp_store, a name in data' => [ "SELECT cfp_store('k', jsonb_build_object($byte, 1))", 'data' ],
	'cfp_store, the last of many names in data' =>
	  [ "SELECT cfp_store('k', (SELECT jsonb_object_agg(repeat('n', i), i) FROM generate_series(1, 100) i) || jsonb_build_object(repeat('z', 200) || $byte, 1))", 'data' ],
	'cfp_store, the last of many strings in data' =>
	  [ "SELECT cfp_store('k', jsonb_build_object('a', (SELECT jsonb_agg(repeat('n', i)) FROM generate_series(1, 100) i) || to_jsonb($byte)))", 'data' ],
	'cfp_store, deep in data' =>
	  [ "SELECT cfp_store('k', jsonb_build_object('b', true, 'n', 1.5, 'a', jsonb_build_array(1, jsonb_build_object('x', jsonb_build_array(null, 'f', $byte)))))", 'data' ],
	'cfp_store, status' => [ "SELECT cfp_store('k', jsonb_build_object('status', $byte))", 'data' ],
	'cfp_store, a long text' => [ "SELECT cfp_store('k', '{}', 'i', 'c', repeat('x', 100000) || $byte)", 'value' ],
	'cfp_store, behind other characters' => [ "SELECT cfp_store('k', '{}', 'i', 'c', 'äöü' || $byte)", 'value' ],
	'cfp_store_json, value' => [ "SELECT cfp_store_json('k', value => to_jsonb($byte))", 'value' ],
	'cfp_store_many, item' => [ "SELECT cfp_store_many('k', jsonb_build_object('a', '{}'::jsonb, $byte, '{}'::jsonb))", 'item_name' ],
	'cfp_store_many, data' =>
	  [ "SELECT cfp_store_many('k', jsonb_build_object('a', '{}'::jsonb, 'b', jsonb_build_object('data', jsonb_build_object('x', $byte))))", 'data' ],
	'cfp_store_many, value' => [ "SELECT cfp_store_many('k', jsonb_build_object('b', jsonb_build_object('value', $byte)))", 'value' ],
	'cfp_store_many, username' => [ "SELECT cfp_store_many('k', '{\"a\": {}}'::jsonb, 'c', $byte)", 'username' ],
	'cfp_delete' => [ "SELECT cfp_delete('there', 'i', 'c', username => $byte)", 'username' ],
	'cfp_delete_collection' => [ "SELECT cfp_delete_collection('there', 'c', $byte)", 'username' ],
	'INSERT into storage_current' => [ "INSERT INTO storage_current (key, item_name, value_string) VALUES ('k', 'i', $byte)", 'value' ],
	'UPDATE of storage_current' => [ "UPDATE storage_current SET data = jsonb_build_object('a', $byte) WHERE key = 'there'", 'data' ],
	'INSERT into the history' =>
	  [ "INSERT INTO storage_history (key, collection_name, item_name, data, updated_at, version) VALUES ('k', '', $byte, '{}', now(), 1)", 'item_name' ],
	'INSERT into latest' =>
	  [ "INSERT INTO storage_latest (key, collection_name, item_name, data, updated_at, version) VALUES ('k', '', '', jsonb_build_object('a', $byte), now(), 1)", 'data' ],
	'UPDATE of the history' => [ "UPDATE storage_history SET status = $byte", 'status' ]);
refused(@{ $doors{$_} }, $_) foreach sort keys %doors;

# Every length and place: text is looked at in pieces.
is(sql(qq{
CREATE FUNCTION public.refused_at(text) RETURNS boolean LANGUAGE plpgsql AS \$\$
BEGIN
	PERFORM cfp_store('k', '{}', \$1);
	RETURN false;
EXCEPTION WHEN character_not_in_repertoire THEN
	RETURN true;
END \$\$;
SELECT count(*), bool_and(public.refused_at(repeat('x', place) || $byte || repeat('x', len - place - 1)))
FROM generate_series(1, 40) len, LATERAL generate_series(0, len - 1) place}), '820|t', 'a byte at every place of texts of every length');

# The setting
{
	local $ENV{PGOPTIONS} = "-c cfp.username=m\xfcller";
	my %stores = (
		'cfp_store' => q{SELECT cfp_store('k', '{}')},
		'cfp_store, text' => q{SELECT cfp_store('k', '{}', 'i', 'c', 'text')},
		'cfp_store_json' => q{SELECT cfp_store_json('k', value => '1')},
		'cfp_store_many' => q{SELECT cfp_store_many('k', '{"a": {}}')},
		'cfp_delete' => q{SELECT cfp_delete('there', 'i', 'c')},
		'cfp_delete_collection' => q{SELECT cfp_delete_collection('there', 'c')},
		'INSERT into storage_current' => q{INSERT INTO storage_current (key) VALUES ('k')},
		'UPDATE of storage_current' => q{UPDATE storage_current SET value_int = 2 WHERE key = 'there'},
		'DELETE from storage_current' => q{DELETE FROM storage_current WHERE key = 'there'},
		'COPY into storage_current' => qq{COPY storage_current (key) FROM PROGRAM 'echo k'});
	refused($stores{$_}, 'cfp.username', "cfp.username of the start-up packet: $_") foreach sort keys %stores;
	is(sql(q{SELECT cfp_store('k', '{}', username => 'given')}), '2', 'a username that is given counts instead');
}
sql(q{CREATE ROLE other LOGIN; GRANT USAGE ON SCHEMA cfp TO other; GRANT ALL ON storage_current TO other});
sql(q{CREATE DATABASE ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'});
$node->safe_psql('ascii', q{ALTER ROLE other IN DATABASE postgres SET cfp.username = E'm\374ller'});
$count = sql($stored);
state_is($node, 'postgres', q{SELECT cfp_store('k', '{}')}, '22021', qr/HINT:  It is in cfp\.username\. /,
	'cfp.username made in a database of another encoding', extra_params => [ '-U', 'other' ]);
is(sql($stored), $count, 'nothing is stored');

# What is valid there
cfp_install($node, 'ascii');
is($node->safe_psql('ascii', qq{SELECT cfp_store('k' || $byte, jsonb_build_object($byte, $byte), $byte, $byte, $byte, username => $byte)}),
	'1', 'SQL_ASCII has all bytes');
$node->safe_psql('postgres', q{CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'});
cfp_install($node, 'latin');
is($node->safe_psql('latin', qq{SELECT cfp_store('k' || $byte, jsonb_build_object($byte, $byte), $byte, $byte, $byte, username => $byte)}),
	'1', 'so has LATIN1');
is(sql(q{SELECT cfp_store('é', '{"ü": ["€", {"😀": "aé€😀"}]}', '€', '😀', 'aé€😀z', username => 'é')}), '2', 'UTF-8 of every length');

# ---- depth

$count = sql($stored);
my %nested = (
	objects => sub { "('" . '{"a":' x $_[0] . '1' . '}' x $_[0] . "')::jsonb" },
	arrays => sub { "('{\"a\":" . '[' x ($_[0] - 1) . ']' x ($_[0] - 1) . "}')::jsonb" });
foreach my $kind (sort keys %nested)
{
	my $fits = $nested{$kind}->(1000);
	my $deep = $nested{$kind}->(1001);

	is(sql("SELECT cfp_store('depth', $fits, '$kind')"), '2', "1000 $kind");
	$count++;
	foreach my $door ("SELECT cfp_store('k', $deep)", "SELECT cfp_store_many('k', jsonb_build_object('a', jsonb_build_object('data', $deep)))",
		"INSERT INTO storage_current (key, data) VALUES ('k', $deep)",
		"INSERT INTO storage_history (key, collection_name, item_name, data, updated_at, version) VALUES ('k', '', '', $deep, now(), 1)")
	{
		state_is($node, 'postgres', $door, '54000', qr/jsonb is nested too deeply.*limit is 1000 levels, in data/s, "1001 $kind: " . substr $door, 0, 40);
		is(sql($stored), $count, 'nothing is stored');
	}
}
# deeper than what reads it goes
sql(q{CREATE FUNCTION public.deep(levels integer) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE d jsonb := '{}';
BEGIN
	FOR i IN 2 .. levels LOOP d := jsonb_build_object('a', d); END LOOP;
	RETURN d;
END $$});
state_is($node, 'postgres', "SET max_stack_depth = '7MB'; SELECT cfp_store('k', " . $nested{objects}->(10000) . ')',
	'54000', qr/nested too deeply/, 'what only a session with a larger stack can have');
is(sql(q{SELECT cfp_get_collection('depth')::text::jsonb = cfp_get_collection('depth'), cfp_get_key('depth')::text::jsonb = cfp_get_key('depth')}),
	't|t', 'what fits is read back within a collection and a key');

# a line of a day file, written by hand
write_file($other, join '', map {
	qq({"key":"hand","collection_name":"","item_name":"$_","data":) . '{"a":' x $_ . '1' . '}' x $_ . qq(,"updated_at":"2020-01-01","version":1}\n)
} 1000, 1001, 100000);
($out, $err) = ('', '');
$node->psql('postgres', $rows, stdout => \$out, stderr => \$err);
is($out, 'hand10001', 'of a day file the line that fits is taken');
like($err, qr/line 2 of day file .* is not used\nDETAIL:  jsonb is nested too deeply: The limit is 1000 levels/, 'one too deep is a bad line');
like($err, qr/line 3 of day file/, 'and one that is much too deep');
unlink $other;

# ---- backups

# The close of day goes on where the row of the date says: behind the fold.
sub backup
{
	my ($day) = @_;

	sql("INSERT INTO storage_days (date, started, items_folded) VALUES ('$day', now(), 0); SELECT pg_reload_conf()");
	wait_true($node, "SELECT finished IS NOT NULL OR error IS NOT NULL FROM cfp.storage_days WHERE date = '$day'");
	return sql("SELECT finished IS NOT NULL, error FROM storage_days WHERE date = '$day'");
}

# A new worker tries at once.
sub retry { return sql('SELECT pg_reload_conf()') }

# past the check: a backup that could not be restored is none, and says why
my $insert = q{INSERT INTO storage_history (key, collection_name, item_name, data, value_string, updated_at, version, operation, txid) };
sql(qq{ALTER TABLE storage_history DISABLE TRIGGER cfp_stamp;
	$insert VALUES ('past', '', 'text', '{}', 'x' || $byte, now(), 1, 'create', '2');
	ALTER TABLE storage_history ENABLE ALWAYS TRIGGER cfp_stamp});
like(backup('2020-02-01'), qr/^f\|could not back up 2020-02-01: version 1 of key "past", collection "", item "text": invalid byte sequence for encoding "UTF8": 0xfc$/,
	'invalid bytes in the tables: no backup, and the reason');
ok(!-e "$dir/../2020-02-01/manifest.json", 'there is none');
sql(qq{BEGIN;
	ALTER TABLE storage_history DISABLE TRIGGER cfp_stamp;
	DELETE FROM storage_history WHERE key = 'past';
	$insert VALUES ('past', '', $byte, '{}', NULL, now(), 1, 'create', '2'), ('past', 'deep', '', public.deep(1001), NULL, now(), 1, 'create', '2');
	ALTER TABLE storage_history ENABLE ALWAYS TRIGGER cfp_stamp;
	COMMIT});
retry();
wait_true($node, q{SELECT error LIKE '%item "?":%' FROM cfp.storage_days WHERE date = '2020-02-01'});
like(sql(q{SELECT error FROM storage_days WHERE date = '2020-02-01'}), qr/key "past", collection "", item "\?": invalid byte/,
	'an error about an invalid name can be dumped');
sql(q{DELETE FROM storage_history WHERE key = 'past' AND collection_name = ''});
retry();
wait_true($node, q{SELECT error LIKE '%"deep"%' FROM cfp.storage_days WHERE date = '2020-02-01'});
like(sql(q{SELECT error FROM storage_days WHERE date = '2020-02-01'}), qr/key "past", collection "deep", item "": jsonb is nested too deeply$/,
	'so is a jsonb that is too deep');
sql(q{DELETE FROM storage_history WHERE key = 'past'});
retry();
wait_true($node, q{SELECT finished IS NOT NULL FROM cfp.storage_days WHERE date = '2020-02-01'});
is(sql(q{SELECT cfp_verify_backup('2020-02-01') > 0, error IS NULL FROM storage_days WHERE date = '2020-02-01'}), 't|t',
	'without the row it is made');

# A file changed so that its sums are right says that a restore would fail.
my ($backup) = "$dir/../2020-02-01";
my $manifest = slurp_file("$backup/manifest.json");
my $zstd = $ENV{ZSTD} // 'zstd';

sub forge
{
	my ($file, $change) = @_;
	my $path = "$backup/$file";
	my $content = slurp_file($path);
	my $compressed = $manifest =~ /"compression": "zstd"/;
	my ($bytes, $sum) = (length $content, sha256_hex($content));
	my $text = $manifest;

	system("$zstd -dcq $path > $path.rows") == 0 or die $! if $compressed;
	$content = slurp_file("$path.rows") if $compressed;
	$change->($content) or die 'not changed';
	write_file("$path.rows", $content);
	system($compressed ? "$zstd -q -f $path.rows -o $path" : "mv $path.rows $path") == 0 or die $!;
	unlink "$path.rows";
	$content = slurp_file($path);
	my $new_bytes = length $content;
	my $new_sum = sha256_hex($content);
	$text =~ s/"bytes": $bytes\b(.*?)$sum/"bytes": $new_bytes$1$new_sum/s or die 'manifest';
	$text =~ s/^  "checksum": .*//ms;
	write_file("$backup/manifest.json", $text . sprintf qq(  "checksum": "%s"\n}\n), sha256_hex($text));
	return;
}

SKIP:
{
	skip 'no program zstd', 1 if $manifest =~ /"compression": "zstd"/ && system("$zstd --version >/dev/null 2>&1") != 0;
	sql(q{TRUNCATE storage_history, storage_latest; SELECT cfp_store('forge', '{"member": "content"}', 'item name', 'c', 'value text'::text, username => 'some user'); SELECT cfp_fold()});
	is(backup('2020-02-02'), 't|', 'a backup to change');
	$backup = "$dir/../2020-02-02";
	$manifest = slurp_file("$backup/manifest.json");
	my %kept = map { $_ => slurp_file("$backup/$_") } 'storage_history.backup', 'storage_latest.backup', 'manifest.json';
	my %changes = (
		'a name' => [ sub { $_[0] =~ s/item name/item nam\xfc/ }, qr/Column 3 of row 1: invalid byte sequence/ ],
		'a value' => [ sub { $_[0] =~ s/value text/value tex\xfc/ }, qr/Column 7 of row 1: invalid byte sequence/ ],
		'username' => [ sub { $_[0] =~ s/some user/some use\xfc/ }, qr/Column 11 of row 1: invalid byte sequence/ ],
		'a string in data' => [ sub { $_[0] =~ s/"content"/"conten\xfc"/ }, qr/Column 4 of row 1: invalid byte sequence/ ],
		'JSON' => [ sub { $_[0] =~ s/"content"/"content}/ }, qr/Column 4 of row 1: invalid input syntax for type json/ ],
		'jsonb too deep' => [ sub { my $deep = "\x01" . '{"a":' x 100000 . '1' . '}' x 100000; $_[0] =~ s/....\x01\{"member": "content"\}/pack('N', length $deep) . $deep/se },
			qr/Column 4 of row 1: stack depth limit exceeded/ ],
		'another version of jsonb' => [ sub { $_[0] =~ s/\x01\{"member"/\x02{"member"/ }, qr/Column 4 of row 1: unsupported jsonb version/ ],
		'a timestamp' => [ sub { $_[0] =~ s/(some user\x00\x00\x00\x08)......../$1\x80\0\0\0\0\0\0\x01/s }, qr/Column 12 of row 1: timestamp out of range/ ],
		'a length' => [ sub { $_[0] =~ s/(some user)\x00\x00\x00\x08....(....)/$1\x00\x00\x00\x04$2/s }, qr/Column 12 of row 1: insufficient data/ ],
		'no updated_at' => [ sub { $_[0] =~ s/(some user)\x00\x00\x00\x08......../$1\xff\xff\xff\xff/s }, qr/Row 1 has no name, no version or no time/ ]);

	foreach my $file ('storage_history.backup', 'storage_latest.backup')
	{
		foreach my $what (sort keys %changes)
		{
			my ($change, $pattern) = @{ $changes{$what} };

			forge($file, $change);
			state_is($node, 'postgres', q{SELECT cfp_verify_backup('2020-02-02')}, 'XX001', qr/backup file "[^"]*$file" is damaged.*$pattern/s,
				"$file, $what: cfp_verify_backup says so");
			state_is($node, 'postgres', q{SELECT cfp_restore_backup('2020-02-02', true)}, 'XX001', qr/backup file "[^"]*$file" is damaged.*$pattern/s,
				"$file, $what: so does cfp_restore_backup");
			write_file("$backup/$_", $kept{$_}) foreach keys %kept;
		}
	}
	is(sql(q{SELECT cfp_verify_backup('2020-02-02')}), '2', 'as it was it is good');
	is(sql(q{SELECT count(*) FROM storage_history}), '1', 'and the tables are as they were');
}

# ---- random records

sql(q{TRUNCATE storage_history, storage_latest});
my $seed = $ENV{CFP_CHECKED_SEED} // int(rand(1000000));
note "CFP_CHECKED_SEED=$seed";
sql(qq{
CREATE FUNCTION public.random_text(most integer) RETURNS text LANGUAGE sql VOLATILE AS \$\$
	SELECT coalesce(string_agg(chr(CASE floor(random() * 6)
		WHEN 0 THEN 1 + random() * 126 WHEN 1 THEN 32 + random() * 90 WHEN 2 THEN 128 + random() * 1900
		WHEN 3 THEN 2048 + random() * 53000 WHEN 4 THEN 57344 + random() * 8000 ELSE 65536 + random() * 1048000 END::int), ''), '')
	FROM generate_series(1, (random() * most)::int) WHERE most IS NOT NULL \$\$;
CREATE FUNCTION public.random_jsonb(depth integer) RETURNS jsonb LANGUAGE plpgsql VOLATILE AS \$\$
BEGIN
	RETURN CASE floor(random() * CASE WHEN depth > 0 THEN 9 ELSE 7 END)
		WHEN 0 THEN to_jsonb(public.random_text(20))
		WHEN 1 THEN to_jsonb((random() * 1e9)::bigint)
		WHEN 2 THEN to_jsonb((round(random()::numeric, 15) || 'e' || (random() * 600 - 300)::int)::numeric)
		WHEN 3 THEN to_jsonb(round(random()::numeric, (random() * 15)::int))
		WHEN 4 THEN 'null' WHEN 5 THEN to_jsonb(random() < 0.5)
		WHEN 6 THEN to_jsonb(('-9.99e' || (random() * 3000)::int)::numeric)
		WHEN 7 THEN (SELECT coalesce(jsonb_agg(public.random_jsonb(depth - 1)), '[]') FROM generate_series(1, (random() * 5)::int))
		ELSE (SELECT coalesce(jsonb_object_agg(public.random_text(10), public.random_jsonb(depth - 1)), '{}') FROM generate_series(1, (random() * 40)::int)) END;
END \$\$;
CREATE FUNCTION public.random_time() RETURNS timestamptz LANGUAGE sql VOLATILE AS \$\$
	SELECT CASE floor(random() * 8) WHEN 0 THEN 'infinity' WHEN 1 THEN '-infinity'
		WHEN 2 THEN '4713-01-01 BC'::timestamptz + random() * interval '8000 years'
		WHEN 3 THEN '0001-01-01'::timestamptz + random() * interval '290000 years'
		ELSE '1900-01-01'::timestamptz + (random() * 5e15)::bigint * interval '1 microsecond' END \$\$;
SELECT setseed($seed / 1000000.0);
SELECT count(CASE n % 4
	WHEN 0 THEN cfp_store(k, d, i, c, ((random() - 0.5) * 1.8e19)::numeric(19)::bigint, ts => t, username => u)
	WHEN 1 THEN cfp_store(k, d, i, c, CASE WHEN random() < 0.2 THEN 5e-324 * floor(random() * 100) ELSE (random() - 0.5) * 10.0::float8 ^ (random() * 600 - 300)::int END, ts => t, username => u)
	WHEN 2 THEN cfp_store(k, d, i, c, public.random_text(300), ts => t, username => u)
	ELSE cfp_store(k, d, i, c, ts => t, username => u) END)
FROM (SELECT n, public.random_text(20) k, public.random_text(20) i, public.random_text(10) c, public.random_time() t,
	CASE WHEN random() < 0.7 THEN public.random_text(12) END u,
	(SELECT coalesce(jsonb_object_agg(public.random_text(8), public.random_jsonb(4)), '{}') FROM generate_series(1, (n % 7))) d
	FROM generate_series(1, 1000) n OFFSET 0) r;
SELECT cfp_delete(key, item_name, collection_name, public.random_time(), public.random_text(5)) FROM storage_current WHERE random() < 0.1;
SELECT cfp_store(key, data, item_name, collection_name) FROM storage_current WHERE random() < 0.1});
sql('SELECT cfp_fold()');
sql('CREATE TABLE public.kept_history AS TABLE storage_history; CREATE TABLE public.kept_latest AS TABLE storage_latest');

my $columns = q{key, collection_name, item_name, data::text, value_int, encode(float8send(value_float), 'hex'), value_string,
	timestamp, status, status_int, username, updated_at, version, operation};

sub same
{
	my ($a, $b, $what, $database) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is(
		$node->safe_psql($database // 'postgres', qq{SELECT count(*) FROM (
			(SELECT $columns FROM $a EXCEPT ALL SELECT $columns FROM $b) UNION ALL
			(SELECT $columns FROM $b EXCEPT ALL SELECT $columns FROM $a)) d}),
		'0', $what);
}

cmp_ok(sql('SELECT count(*) FROM storage_history'), '>', 1000, 'random records are stored');
my $since = sql('SELECT min(updated_at) FROM storage_history');
my $files = "(SELECT r.* FROM (SELECT DISTINCT date FROM cfp_wal_files) d, cfp_read_wal(d.date) r WHERE r.updated_at >= '$since') f";
same('public.kept_history', $files, "day files have them (seed $seed)");
is(backup('2020-02-03'), 't|', 'a backup of them');
is(sql(q{SELECT cfp_verify_backup('2020-02-03') = (SELECT count(*) FROM storage_history) + (SELECT count(*) FROM storage_latest)}), 't', 'it is verified');
sql('TRUNCATE storage_history, storage_latest');
sql(q{SELECT cfp_restore_backup('2020-02-03')});
same('public.kept_history', 'storage_history', "the backup has the history (seed $seed)");
same('public.kept_latest', 'storage_latest', "and latest (seed $seed)");
seen_ok($node, 'all agree');
sql('TRUNCATE storage_history, storage_latest');
sql(q{SELECT cfp_rebuild_history_from_wal(date) FROM (SELECT DISTINCT date FROM cfp_wal_files) d});
same('public.kept_history', "(SELECT * FROM storage_history WHERE updated_at >= '$since') h", "a rebuild brings them back (seed $seed)");
sql(q{TRUNCATE storage_history, storage_latest; SELECT cfp_restore_backup('2020-02-03')});
$node->command_ok([ 'pg_dump', '-Fc', '-d', 'postgres', '-f', "$dir/dump" ], 'dumped');
sql('CREATE DATABASE copy');
$node->command_ok([ 'pg_restore', '-e', '-d', 'copy', "$dir/dump" ], 'and restored');
$node->safe_psql('copy', 'ALTER DATABASE copy SET search_path = public, cfp');
same('public.kept_history', 'storage_history', "a dump has the history (seed $seed)", 'copy');
same('public.kept_latest', 'storage_latest', "and latest (seed $seed)", 'copy');

$node->stop;
log_ok($node, qr/ERROR:  (?:invalid byte sequence|jsonb is nested too deeply|cfp_(?:verify|restore)_backup\(\) failed: backup file ".*" is damaged)/,
	qr/WARNING:  cfp: close of day failed: could not back up 2020-02-01: /,
	qr/WARNING:  (?:line \d+ of day file|\d+ (?:lines of the )?day files|day file .* was not made)/, qr/WARNING:  \d+ (?:lines of the day files|records were passed over)/);
done_testing();
