\set i random(1000000, 1009999)
\set c :i / 100
SELECT constant_record() WHERE :i::text IS NOT NULL AND :c::text IS NOT NULL;
