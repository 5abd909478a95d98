\set c random(:first, :last)
SELECT cfp_get_collection(:key, :c);
