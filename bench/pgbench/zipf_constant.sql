\set z random_zipfian(1, 10000, 1.07)
\set i 1000000 + permute(:z - 1, 10000, 1)
\set c :i / 100
SELECT constant_record() WHERE :i::text IS NOT NULL AND :c::text IS NOT NULL;
