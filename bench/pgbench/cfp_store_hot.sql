\set v random(1, 100000)
SELECT cfp_store('bench', :data, 'hot', 'hot', :v::bigint);
