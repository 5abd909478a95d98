# What the TAP tests of cfp share: a node with cfp preloaded, clients over
# DBI, checks that the cache agrees with the tables, and a check of the
# server's log.
package CfpTest;

use strict;
use warnings;

use DBI;
use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

our @EXPORT = qw(
  cfp_node cfp_install wait_worker connect_node wait_true
  seen_ok latest_ok history_ok log_ok sqlstate state_is
  succeeded
);

# A started node with cfp preloaded; extra lines go into postgresql.conf.
sub cfp_node
{
	my ($name, @conf) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init;
	$node->append_conf('postgresql.conf',
		join("\n", "shared_preload_libraries = 'cfp'", "jit = off",
			# the machine's disk is not what is tested
			"cfp.min_free_space = 0", @conf));
	$node->start;
	return $node;
}

# The extension in schema cfp of a database, found by every later session.
sub cfp_install
{
	my ($node, $database) = @_;

	$database //= 'postgres';
	$node->safe_psql($database, 'CREATE SCHEMA cfp; CREATE EXTENSION cfp SCHEMA cfp');
	$node->safe_psql($database,
		qq(ALTER DATABASE "$database" SET search_path = "\$user", public, cfp));
	wait_worker($node, $database);
	return;
}

# Wait until the database has a worker; returns its pid.
sub wait_worker
{
	my ($node, $database) = @_;

	$database //= 'postgres';
	$node->poll_query_until($database,
		"SELECT worker_pid IS NOT NULL AND worker_state <> 'starting' FROM cfp.cfp_stat")
	  or BAIL_OUT("no worker in database $database");
	return $node->safe_psql($database, 'SELECT worker_pid FROM cfp.cfp_stat');
}

# A DBI connection; errors die unless told otherwise.
sub connect_node
{
	my ($node, $database, %attributes) = @_;

	$database //= 'postgres';
	my $user = delete $attributes{user};
	return DBI->connect(
		sprintf('dbi:Pg:dbname=%s;host=%s;port=%d', $database, $node->host, $node->port),
		$user, undef,
		{   RaiseError => 1,
			PrintError => 0,
			PrintWarn => 0,
			AutoCommit => 1,
			AutoInactiveDestroy => 1,
			%attributes });
}

# Waits for the outcome of an asynchronous command of a DBI handle.  Whether
# pg_result throws when it has failed depends on the version of DBD::Pg.
sub succeeded
{
	my ($handle) = @_;

	return eval { $handle->pg_result; 1 } && $handle->state eq '';
}

# Wait until a query returns true, on a server that may be starting again.
# (poll_query_until dies of SIGPIPE when psql cannot connect.)
sub wait_true
{
	my ($node, $query) = @_;

	foreach my $try (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		my $result = eval { connect_node($node)->selectrow_array($query) };
		return 1 if $result;
		usleep(100_000);
	}
	BAIL_OUT("timed out: $query");
}

# Every reading function and storage_current against the newest committed records of
# the history, in one statement and so under one snapshot.
my $disagreements = q{
WITH newest AS (
	SELECT DISTINCT ON (key, collection_name, item_name) *
	FROM cfp.storage_history
	ORDER BY key, collection_name, item_name, version DESC),
live AS (
	SELECT key, collection_name, item_name, data, value_int, value_float,
		value_string, timestamp, status, status_int, username, updated_at, version, operation
	FROM newest
	WHERE data IS NOT NULL OR num_nonnulls(value_int, value_float, value_string) > 0),
collections AS (SELECT DISTINCT key, collection_name FROM newest),
keys AS (SELECT DISTINCT key FROM newest),
reads(by, key, collection_name, item_name, version, data) AS (
	SELECT 'cfp_items', i.key, i.collection_name, i.item_name, i.version, i.data
	FROM collections c, cfp.cfp_items(c.key, c.collection_name) i
	UNION ALL
	SELECT 'storage_current', key, collection_name, item_name, version, data
	FROM cfp.storage_current
	UNION ALL
	SELECT 'cfp_get_collection', c.key, c.collection_name, e.key,
		(e.value ->> 'version')::int, nullif(e.value -> 'data', 'null')
	FROM collections c, jsonb_each(cfp.cfp_get_collection(c.key, c.collection_name)) e
	UNION ALL
	SELECT 'cfp_get_collection_json', c.key, c.collection_name, e.key,
		(e.value ->> 'version')::int, nullif(e.value::jsonb -> 'data', 'null')
	FROM collections c,
		json_each(cfp.cfp_get_collection_json(c.key, c.collection_name) -> 'items') e
	UNION ALL
	SELECT 'cfp_get_key', k.key, c.key, e.key,
		(e.value ->> 'version')::int, nullif(e.value -> 'data', 'null')
	FROM keys k, jsonb_each(cfp.cfp_get_key(k.key)) c, jsonb_each(c.value) e
	UNION ALL
	SELECT 'cfp_get', n.key, n.collection_name, n.item_name,
		(g ->> 'version')::int, nullif(g -> 'data', 'null')
	FROM newest n, cfp.cfp_get(n.key, n.item_name, n.collection_name) g
	WHERE g IS NOT NULL
	UNION ALL
	SELECT 'cfp_item', n.key, n.collection_name, n.item_name, (i).version, (i).data
	FROM newest n, cfp.cfp_item(n.key, n.item_name, n.collection_name) i
	WHERE (i).version IS NOT NULL),
readers(by) AS (
	VALUES ('cfp_items'), ('storage_current'), ('cfp_get_collection'),
		('cfp_get_collection_json'), ('cfp_get_key'), ('cfp_get'), ('cfp_item')),
wanted AS (
	SELECT by, key, collection_name, item_name, version, data FROM readers, live)
SELECT 'missing', * FROM (TABLE wanted EXCEPT ALL TABLE reads) m
UNION ALL
SELECT 'too many', * FROM (TABLE reads EXCEPT ALL TABLE wanted) t
ORDER BY 1, 2, 3, 4, 5
LIMIT 20
};

# The cache, storage_current and the history agree.
sub seen_ok
{
	my ($node, $what, $database) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is($node->safe_psql($database // 'postgres', $disagreements), '', $what);
}

# After a fold: latest is the newest record of each item, and nothing else.
# Option: txid => 0 does not compare those.
sub latest_ok
{
	my ($node, $what, $database, %option) = @_;
	my $txid = $option{txid} // 1 ? q{'-'} : q{'txid'};

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is(
		$node->safe_psql(
			$database // 'postgres', qq{
WITH newest AS (
	SELECT DISTINCT ON (key, collection_name, item_name) *
	FROM cfp.storage_history
	ORDER BY key, collection_name, item_name, version DESC),
wanted AS (SELECT to_jsonb(n) - $txid AS r FROM newest n),
there AS (SELECT to_jsonb(l) - $txid AS r FROM cfp.storage_latest l)
SELECT 'missing', * FROM (TABLE wanted EXCEPT ALL TABLE there) a
UNION ALL
SELECT 'too many', * FROM (TABLE there EXCEPT ALL TABLE wanted) b
LIMIT 20}),
		'',
		$what);
}

# No version twice, looked at without the primary key.
sub history_ok
{
	my ($node, $what, $database) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is(
		$node->safe_psql(
			$database // 'postgres', q{
SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off;
SELECT key, collection_name, item_name, version, count(*)
FROM cfp.storage_history GROUP BY 1, 2, 3, 4 HAVING count(*) > 1 OR version < 1 LIMIT 20}),
		'',
		$what);
}

# No line at WARNING or above in the server's log but those allowed, what a fast
# shutdown says to a client that is just leaving, and what a server that is not
# up yet says to one that comes too early; no failed assertion,
# and no process that crashed by itself.
sub log_ok
{
	my ($node, @allowed) = @_;
	my @bad;

	push @allowed, qr/FATAL:  terminating (?:connection|autovacuum process) due to administrator command/,
	  qr/FATAL:  the database system is (?:starting up|not yet accepting connections|in recovery mode|shutting down)/;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	foreach my $line (split /\n/, slurp_file($node->logfile))
	{
		next unless $line =~ /\b(?:WARNING|ERROR|FATAL|PANIC):  |^TRAP: |terminated by signal (?!9\b)/;
		push @bad, $line unless grep { $line =~ $_ } @allowed;
	}
	splice @bad, 20;
	return is(join("\n", @bad), '', 'no unexpected line in the log of ' . $node->name);
}

# The SQLSTATE a statement ends with, and its message; '00000' when it works,
# 'none' when it ends without one.
sub sqlstate
{
	my ($node, $database, $sql, %options) = @_;
	my ($out, $err) = ('', '');

	$node->psql(
		$database, $sql,
		stdout => \$out,
		stderr => \$err,
		on_error_stop => 1,
		extra_params => [ '-v', 'VERBOSITY=verbose', @{ $options{extra_params} // [] } ]);
	my ($state) = $err =~ /(?:ERROR|FATAL):  ([0-9A-Z]{5}):/;
	return ($state // ($err =~ /(?:ERROR|FATAL|server closed)/ ? 'none' : '00000'), $err, $out);
}

# A statement ends with this SQLSTATE, and its output matches.
sub state_is
{
	my ($node, $database, $sql, $state, $pattern, $what, %options) = @_;
	my ($got, $err, $out) = sqlstate($node, $database, $sql, %options);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is($got, $state, "$what: SQLSTATE") or diag($err);
	like($err, $pattern, "$what: message") if defined $pattern;
	return $out;
}

1;
