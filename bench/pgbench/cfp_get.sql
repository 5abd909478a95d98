\set i random(1000000, 1009999)
\set c :i / 100
SELECT cfp_get('bench', :i::text, :c::text);
