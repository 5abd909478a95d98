\set i random(1000000, 1009999)
\set c :i / 100
\set v random(1, 100000)
\set n :n + 1
\set version (:base + :n) * 32 + :client_id
SELECT floor_insert(:table, 'bench', :data, :i, :c, :v::bigint, :version::integer);
