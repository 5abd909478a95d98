# What was committed is there after a restart, and the cache is built anew.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CfpTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = cfp_node('main');
cfp_install($node);

$node->safe_psql(
	'postgres', q{
SELECT cfp_store('k' || k, jsonb_build_object('n', n), 'item' || n, 'c' || c, n)
FROM generate_series(1, 3) k, generate_series(1, 4) c, generate_series(1, 20) n;
SELECT cfp_store('k1', '{"status": "changed"}', 'item3', 'c1', 1.5);
SELECT cfp_delete('k1', 'item4', 'c1')});

my $all = q{
SELECT jsonb_object_agg(k, cfp_get_key(k)) FROM generate_series(1, 3) n, concat('k', n) k};
my $before = $node->safe_psql('postgres', $all);
seen_ok($node, 'all agree before a restart');

foreach my $mode ('fast', 'smart', 'immediate')
{
	$node->stop($mode);
	$node->start;
	is($node->safe_psql('postgres', $all), $before, "the same is read after stop -m $mode");
	seen_ok($node, "all agree after stop -m $mode");

	wait_worker($node);
	is( $node->safe_psql('postgres', q{
		SELECT cfp_store('k2', '{}', 'item9', 'c2')
			 = (SELECT max(version) + 1 FROM storage_history
				WHERE key = 'k2' AND collection_name = 'c2' AND item_name = 'item9')}),
		't', "versions go on after stop -m $mode");
	$node->safe_psql('postgres', 'SELECT cfp_flush()');
	$before = $node->safe_psql('postgres', $all);
}

is( $node->safe_psql(
		'postgres', q{
		SELECT cfp_get('k3', 'item7', 'c4') ->> 'version';
		SELECT loads > 0, hits >= 0 FROM cfp_stat}),
	"1\nt|t", 'reads load the cache again');

$node->safe_psql('postgres', 'SELECT cfp_fold()');
latest_ok($node, 'the fold brings all items into storage_latest');
seen_ok($node, 'all agree after a fold');
$node->restart;
seen_ok($node, 'all agree after a fold and a restart');
history_ok($node, 'no version twice');

$node->stop;
log_ok($node, qr/not properly shut down/);
done_testing();
