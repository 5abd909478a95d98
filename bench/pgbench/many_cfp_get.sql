\set c random(10000, 10099)
SELECT cfp_get_many('many', :names, :c);
