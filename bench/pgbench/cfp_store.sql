\set i random(1000000, 1009999)
\set c :i / 100
\set v random(1, 100000)
SELECT cfp_store('bench', :data, :i, :c, :v::bigint);
