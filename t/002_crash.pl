# Kills: backends, the worker and the postmaster, at any point, while clients
# store and write down what was acknowledged.  Nothing acknowledged may be
# lost, nothing rolled back be seen, no version be given twice, and the cache
# must agree with the tables.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CfpTest;
use IO::Handle;
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $clients = 4;
my $items = 12;
my $node = cfp_node('main', 'restart_after_crash = on', 'cfp.flush_interval = 1s');
my $dir = PostgreSQL::Test::Utils::tempdir;

cfp_install($node);

# One client: stores of its own choice until told to stop.  A line in its
# file is what the server acknowledged: item, version, mark.
sub client
{
	my ($number) = @_;
	my ($stop, $sequence, $dbh) = (0, 0);

	local $SIG{TERM} = sub { $stop = 1 };
	srand($number);
	open(my $acknowledged, '>', "$dir/client$number") or die $!;
	$acknowledged->autoflush(1);

	while (!$stop)
	{
		eval {
			$dbh //= connect_node($node);
			my @stored;
			my $store = sub {
				my ($rolled_back, $expected) = @_;
				my $item = 'item' . int(rand($items));
				my $mark = sprintf('%d-%d', $number, ++$sequence);
				my ($version) = $dbh->selectrow_array(
					"SELECT cfp_store('crash', ?::jsonb, ?, 'c', ?::int, expected_version => ?::int)",
					undef, qq({"mark": "$mark", "rolled_back": $rolled_back}),
					$item, $sequence, $expected);
				push @stored, "$item\t$version\t$mark\n" if $rolled_back eq 'false';
			};
			my $way = int(rand(6));

			if ($way < 3)
			{
				$store->('false');
			}
			elsif ($way == 3)
			{
				$dbh->do('BEGIN');
				$store->('false') for 1 .. 3;
				$dbh->do('SAVEPOINT s');
				$store->('true');
				$dbh->do('ROLLBACK TO s');
				$store->('false');
				$dbh->do('COMMIT');
			}
			elsif ($way == 4)
			{
				$dbh->do('BEGIN');
				$store->('true') for 1 .. 2;
				$dbh->do('ROLLBACK');
			}
			else
			{
				my ($now) = $dbh->selectrow_array(
					"SELECT (cfp_item('crash', 'item0', 'c')).version");
				my $mark = sprintf('%d-%d', $number, ++$sequence);
				my ($version) = $dbh->selectrow_array(
					"SELECT cfp_store('crash', ?::jsonb, 'item0', 'c', expected_version => ?::int)",
					undef, qq({"mark": "$mark"}), $now // 0);
				push @stored, "item0\t$version\t$mark\n";
			}
			print $acknowledged @stored;
			1;
		} or do
		{
			my $state = $dbh ? $dbh->state : '08000';

			if ($state eq '40001')
			{
				eval { $dbh->do('ROLLBACK') };
			}
			else
			{
				eval { $dbh->disconnect } if $dbh;
				undef $dbh;
				usleep(20_000);
			}
		};
		usleep(4_000);
	}
	eval { $dbh->disconnect } if $dbh;
	close $acknowledged;
	return;
}

my @pids;
END { kill 'KILL', @pids }
foreach my $number (1 .. $clients)
{
	my $pid = fork;
	die "fork: $!" unless defined $pid;
	if ($pid == 0)
	{
		client($number);
		POSIX::_exit(0);
	}
	push @pids, $pid;
}

# What the clients were told since the last call, whole lines only.
my %position;
sub acknowledged
{
	my $new = '';

	foreach my $number (1 .. $clients)
	{
		open(my $file, '<', "$dir/client$number") or next;
		seek $file, $position{$number} // 0, 0;
		local $/;
		my $part = <$file> // '';
		$part =~ s/[^\n]*\z//;
		$position{$number} += length $part;
		$new .= $part;
		close $file;
	}
	return $new;
}

my $all_acknowledged = "$dir/all";
sub nothing_lost
{
	my ($what, $full) = @_;
	my $new = acknowledged();
	my $file = $full ? $all_acknowledged : "$dir/new";

	append_to_file($all_acknowledged, $new);
	unlink "$dir/new";
	append_to_file("$dir/new", $new);
	is( $node->safe_psql(
			'postgres', qq{
CREATE TEMP TABLE acknowledged (item text, version int, mark text);
\\copy acknowledged FROM '$file'
ANALYZE acknowledged, storage_history;
SELECT 'lost', item, version, mark FROM acknowledged a
WHERE NOT EXISTS (
	SELECT FROM storage_history h
	WHERE h.key = 'crash' AND h.collection_name = 'c' AND h.item_name = a.item
		AND h.version = a.version AND h.data ->> 'mark' = a.mark)
UNION ALL
SELECT 'hidden', item, max(version), '' FROM acknowledged a
GROUP BY item
HAVING max(version) > (cfp_item('crash', item, 'c')).version
UNION ALL
SELECT 'rolled back, but seen', item_name, version, data ->> 'mark'
FROM storage_history WHERE data ->> 'rolled_back' = 'true'
LIMIT 20}),
		'',
		$what);
	return;
}

sub client_backend
{
	$node->poll_query_until('postgres',
		q{SELECT count(*) > 0 FROM pg_stat_activity WHERE query LIKE '%cfp_store%' AND pid <> pg_backend_pid()});
	return $node->safe_psql('postgres',
		q{SELECT pid FROM pg_stat_activity
		  WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
		  ORDER BY random() LIMIT 1});
}

# Kill a process as a crash would, and wait until the server has taken notice
# and thrown everybody out.
sub crash
{
	my ($pid) = @_;
	my $witness = connect_node($node);

	return unless $pid && kill 'KILL', $pid;
	foreach my $try (1 .. 200)
	{
		last unless eval { $witness->do('SELECT 1'); 1 };
		usleep(10_000);
	}
	return;
}

sub start_after_kill
{
	foreach my $try (1 .. 600)
	{
		return if $node->start(fail_ok => 1);
		# the killed server's last processes may still be there
		usleep(100_000);
		$node->stop('fast', fail_ok => 1);
	}
	BAIL_OUT('the server does not start');
}

my %kill = (
	'backend killed' => sub {
		crash(client_backend());
	},
	'backend terminated' => sub {
		my $pid = client_backend();
		kill 'TERM', $pid if $pid;
	},
	'worker killed' => sub {
		my $pid = wait_worker($node);
		usleep(rand(100_000));
		crash($pid);
	},
	'worker terminated' => sub {
		my $pid = wait_worker($node);
		kill 'TERM', $pid;
	},
	'postmaster killed' => sub {
		$node->kill9;
		start_after_kill();
	},
	'stopped at once' => sub {
		$node->stop('immediate');
		$node->start;
	});
my @plan = (
	('backend killed') x 20,
	('backend terminated') x 8,
	('worker killed') x 10,
	('worker terminated') x 4,
	('postmaster killed') x 8,
	('stopped at once') x 4);

srand(42);
for (my $i = @plan; --$i;)
{
	my $j = int(rand($i + 1));
	@plan[ $i, $j ] = @plan[ $j, $i ];
}

my $kills = 0;
foreach my $what (@plan)
{
	usleep(100_000 + rand(400_000));
	$kill{$what}->();
	wait_true($node, 'SELECT true');
	$kills++;
	nothing_lost("kill $kills, $what: nothing lost");
	if ($kills % 9 == 0)
	{
		seen_ok($node, "kill $kills: cache and tables agree");
		wait_worker($node);
		$node->safe_psql('postgres', 'SELECT cfp_fold()');
	}
}
cmp_ok($kills, '>=', 50, 'enough kills');

kill 'TERM', @pids;
waitpid $_, 0 foreach @pids;
@pids = ();

nothing_lost('at the end: nothing lost', 1);
cmp_ok(-s $all_acknowledged, '>', 10_000, 'the clients were acknowledged many stores');
history_ok($node, 'at the end: no version twice');
is( $node->safe_psql(
		'postgres',
		q{SELECT data ->> 'mark', count(*) FROM storage_history GROUP BY 1 HAVING count(*) > 1 LIMIT 10}),
	'', 'at the end: no store twice');
seen_ok($node, 'at the end: cache and tables agree');
wait_worker($node);
$node->safe_psql('postgres', 'SELECT cfp_flush(); SELECT cfp_fold()');
latest_ok($node, 'at the end: the fold is right');
seen_ok($node, 'after the fold: cache and tables agree');

$node->stop;
log_ok(
	$node,
	qr/terminating connection because of crash of another server process/,
	qr/terminating connection due to administrator command/,
	qr/terminating background worker "[^"]*" due to administrator command/,
	qr/FATAL:  the database system is (?:in recovery mode|starting up|shutting down|not yet accepting connections)/,
	qr/FATAL:  terminating connection due to unexpected postmaster exit/,
	qr/ERROR:  the item is not at the expected version/,
	qr/WARNING:  there is no transaction in progress/,
	qr/not properly shut down/,
	qr/FATAL:  (?:lock file "postmaster.pid" already exists|pre-existing shared memory block)/);
done_testing();
