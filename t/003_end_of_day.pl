# The end of day: reached, missed while the server was down, each date once.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CfpTest;
use Test::More;

# A zone in which it is late afternoon now: an end of day a few seconds ahead
# is then never near midnight or noon.
my $ahead = 17 - (gmtime)[2];
my $zone = sprintf('<TEST>%+d', -$ahead);

my $node = cfp_node('main');

# Set the end of day of a database some seconds ahead; returns that instant.
sub end_of_day_in
{
	my ($database, $seconds) = @_;
	my ($local, $instant) = split /\|/, $node->safe_psql(
		$database, qq{
SET timezone = '$zone';
SELECT to_char(t, 'HH24:MI:SS'), extract(epoch FROM date_trunc('second', t))::bigint
FROM (SELECT clock_timestamp() + interval '$seconds s') x(t)});

	$node->safe_psql($database, qq{
ALTER DATABASE "$database" SET cfp.timezone = '$zone';
ALTER DATABASE "$database" SET cfp.end_of_day = '$local'});
	$node->reload;
	return $instant;
}

sub wait_until
{
	my ($instant) = @_;

	$node->poll_query_until('postgres',
		"SELECT clock_timestamp() > to_timestamp($instant)");
	return;
}

my $today = $node->safe_psql('postgres',
	"SET timezone = '$zone'; SELECT current_date");
my $days = 'SELECT count(*), min(date), max(date), bool_and(finished IS NOT NULL) FROM storage_days';

foreach my $database ('reached', 'missed')
{
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	cfp_install($node, $database);
}

# Reached while running.
$node->safe_psql('reached', q{
SELECT cfp_store('k', '{}', 'i' || i, 'c', i) FROM generate_series(1, 100) i;
SELECT cfp_store('k', '{}', 'i1', 'c', 1000);
SELECT cfp_delete('k', 'i2', 'c')});
is($node->safe_psql('reached', 'SELECT count(*) FROM storage_latest'),
	'0', 'storage_latest is empty before the end of day');
end_of_day_in('reached', 4);
$node->poll_query_until('reached', 'SELECT count(*) = 1 FROM storage_days WHERE finished IS NOT NULL')
  or BAIL_OUT('the day is not closed');
is($node->safe_psql('reached', $days), "1|$today|$today|t", 'the end of day closes its date');
latest_ok($node, 'the end of day folds', 'reached');
seen_ok($node, 'all agree after the end of day', 'reached');

# A later end of day on the same date does not close it again.
$node->safe_psql('reached', q{SELECT cfp_store('k', '{}', 'i3', 'c', 'later')});
my $later = end_of_day_in('reached', 3);
wait_until($later + 1);
wait_worker($node, 'reached');
$node->safe_psql('reached', 'SELECT cfp_flush()');
is($node->safe_psql('reached', $days), "1|$today|$today|t", 'each date is closed once');
is( $node->safe_psql('reached', "SELECT cfp_next_end_of_day() > to_timestamp($later)"),
	't', 'the next end of day is ahead');
seen_ok($node, 'all agree between two ends of day', 'reached');

# Missed while the server is down.
$node->safe_psql('missed', q{
SELECT cfp_store('k', '{}', 'i' || i, 'c', i::text) FROM generate_series(1, 100) i});
my $missed = end_of_day_in('missed', 3);
$node->stop;
sleep 1 while time <= $missed;
$node->start;
$node->poll_query_until('missed', 'SELECT count(*) = 1 FROM storage_days WHERE finished IS NOT NULL')
  or BAIL_OUT('the missed day is not closed');
is($node->safe_psql('missed', $days), "1|$today|$today|t", 'a missed end of day is caught up at start');
latest_ok($node, 'a missed fold is caught up at start', 'missed');
$node->restart;
wait_worker($node, 'missed');
$node->safe_psql('missed', 'SELECT cfp_flush()');
is($node->safe_psql('missed', $days), "1|$today|$today|t", 'and not again at the next start');

$node->stop;
log_ok($node);
done_testing();
