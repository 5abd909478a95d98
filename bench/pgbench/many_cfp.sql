\set c random(10000, 10099)
SELECT cfp_store_many('many', :items, :c);
