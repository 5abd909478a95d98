\set z random_zipfian(1, 10000, 1.07)
\set i 1000000 + permute(:z - 1, 10000, 1)
\set c :i / 100
SELECT cfp_get('bench', :i, :c);
