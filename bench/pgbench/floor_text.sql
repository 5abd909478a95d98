\set c random(:first, :last)
SELECT floor_text(:size) WHERE :key::text IS NOT NULL AND :c::text IS NOT NULL;
