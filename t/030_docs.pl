# The commands of README.md and docs/*.md, run as they are printed: how is said
# in CfpDocs.pm.  Those of docs/operations.md, which take longest, and the
# programs of docs/clients.md have tests of their own.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CfpDocs;
use Test::More;

my @documents = (
	{ file => 'README.md', database => 'postgres', install => 0 },
	{ file => 'docs/concepts.md', database => 'app', install => 1 },
	{ file => 'docs/reference.md', database => 'app', install => 1 },
	{ file => 'docs/settings.md', database => 'app', install => 1 },
	{ file => 'docs/faq.md', database => 'app', install => 1 },
	{ file => 'docs/performance.md' },
	{ file => 'docs/architecture.md' });

is(join(' ', sort(documents_there())), join(' ', sort('docs/clients.md', 'docs/operations.md', map { $_->{file} } @documents)),
	'each document is run');
run_documents(grep { !$ENV{CFP_DOCS} || $ENV{CFP_DOCS} =~ /\Q$_->{file}\E/ } @documents);
done_testing();
