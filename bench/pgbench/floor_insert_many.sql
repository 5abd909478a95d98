\set c random(10000, 10099)
\set n :n + 1
\set version (:base + :n) * 32 + :client_id
SELECT floor_insert_many('plain_history', 'many', :datas::jsonb[], :names::text[], :c, :numbers::bigint[], :version::integer);
