# SERIALIZABLE under load: two items of one collection may not both be taken.
# Each transaction reads the pair, by any reader, and takes one of them only
# when the other is free; any other order of the same would break the rule.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CfpTest;
use POSIX ();
use Test::More;

my $node = cfp_node('main', 'deadlock_timeout = 50ms');
my $pairs = 20;
my $clients = 4;
my $transactions = 400;

cfp_install($node);
$node->safe_psql('postgres', qq{
SELECT cfp_store('pairs', '{}', side || p, 'c', 0)
FROM generate_series(1, $pairs) p, unnest('{a,b}'::text[]) side;
CREATE TABLE broken (p int)});

# The sum of both sides of a pair.
my @readers = (
	q{SELECT (cfp_get_value('pairs', 'a%1$d', 'c'))::int + (cfp_get_value('pairs', 'b%1$d', 'c'))::int},
	q{SELECT (cfp_item('pairs', 'a%1$d', 'c')).value_int + (cfp_item('pairs', 'b%1$d', 'c')).value_int},
	q{SELECT sum(value_int) FROM cfp_items('pairs', 'c') WHERE item_name IN ('a%1$d', 'b%1$d')},
	q{SELECT (c -> 'a%1$d' ->> 'value')::int + (c -> 'b%1$d' ->> 'value')::int FROM cfp_get_collection('pairs', 'c') c},
	q{SELECT (c -> 'c' -> 'a%1$d' ->> 'value')::int + (c -> 'c' -> 'b%1$d' ->> 'value')::int FROM cfp_get_key('pairs') c},
	q{SELECT (c #>> '{items,a%1$d,value}')::int + (c #>> '{items,b%1$d,value}')::int FROM cfp_get_collection_json('pairs', 'c') c},
	q{SELECT sum(value_int) FROM storage_current WHERE key = 'pairs' AND collection_name = 'c' AND item_name IN ('a%1$d', 'b%1$d')});

my @pids;
foreach my $number (1 .. $clients)
{
	my $pid = fork;
	die "fork: $!" unless defined $pid;
	if ($pid)
	{
		push @pids, $pid;
		next;
	}

	my $committed = 0;
	my $ok = eval {
		my $dbh = connect_node($node);
		srand($number);
		$dbh->do(q{SET default_transaction_isolation = 'serializable'});
		foreach my $round (1 .. $transactions)
		{
			my $pair = 1 + int(rand($pairs));
			my $side = rand() < 0.5 ? 'a' : 'b';
			my $done = eval {
				$dbh->do('BEGIN');
				my ($sum) = $dbh->selectrow_array(sprintf($readers[ int(rand(@readers)) ], $pair));
				if ($sum > 1)
				{
					$dbh->do("INSERT INTO broken VALUES ($pair)");
				}
				elsif ($sum == 0)
				{
					$dbh->do("SELECT cfp_store('pairs', '{}', '$side$pair', 'c', 1)");
				}
				else
				{
					$dbh->do("SELECT cfp_store('pairs', '{}', 'a$pair', 'c', 0), cfp_store('pairs', '{}', 'b$pair', 'c', 0)");
				}
				$dbh->do('COMMIT');
				1;
			};
			if ($done)
			{
				$committed++;
				next;
			}
			die $@ unless ($dbh->state // '') =~ /^40(?:001|P01)$/;
			$dbh->do('ROLLBACK');
		}
		$dbh->disconnect;
		$committed > $transactions / 20 or die "only $committed transactions committed";
	};
	print STDERR "client $number: $@" unless $ok;
	POSIX::_exit($ok ? 0 : 1);
}
foreach my $pid (@pids)
{
	waitpid $pid, 0;
	is($?, 0, 'a client meets no error but serialization failures');
}
is($node->safe_psql('postgres', 'SELECT count(*) FROM broken'), '0', 'no transaction saw both sides taken');
is( $node->safe_psql('postgres', q{
	SELECT count(*) FROM generate_series(1, 20) p
	WHERE (cfp_item('pairs', 'a' || p, 'c')).value_int + (cfp_item('pairs', 'b' || p, 'c')).value_int > 1}),
	'0', 'no pair ends with both sides taken');
seen_ok($node, 'all agree');

$node->stop;
log_ok($node, qr/ERROR:  could not serialize/, qr/ERROR:  [^\n]*(?:conflict|concurrent)/, qr/ERROR:  deadlock detected/,
	qr/WARNING:  there is no transaction in progress/);
done_testing();
