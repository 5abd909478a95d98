# The commands of docs/operations.md, run as they are printed: how is said in
# CfpDocs.pm.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CfpDocs;
use Test::More;

run_documents({ file => 'docs/operations.md', database => 'postgres', install => 0 });
done_testing();
