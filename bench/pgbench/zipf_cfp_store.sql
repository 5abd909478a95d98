\set z random_zipfian(1, 10000, 1.07)
\set i 1000000 + permute(:z - 1, 10000, 1)
\set c :i / 100
\set v random(1, 100000)
SELECT cfp_store('bench', :data, :i, :c, :v::bigint);
