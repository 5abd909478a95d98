# The programs of docs/clients.md, each run as it is printed, and what it prints
# compared with the block behind it: how is said in CfpDocs.pm.  Whose language
# or library is not there is skipped; test/install-clients installs them.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CfpDocs;
use Test::More;

run_documents({
	file => 'docs/clients.md', database => 'app', install => 1,
	# not every driver can do with a socket
	conf => ["listen_addresses = '127.0.0.1'"],
	# who is late is told so, and ActiveRecord tidies up before it rolls back
	log => [ qr/ERROR:  the item is not at the expected version/, qr/ERROR:  could not serialize access/,
		qr/ERROR:  current transaction is aborted/ ] });
done_testing();
