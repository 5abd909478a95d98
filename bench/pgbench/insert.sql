\set i random(1000000, 1009999)
\set c :i / 100
\set v random(1, 100000)
\set n :n + 1
\set version (:base + :n) * 32 + :client_id
INSERT INTO plain_history (key, collection_name, item_name, data, value_int, timestamp, status, username, updated_at, version) VALUES ('bench', :c, :i, :data, :v, now(), 'held', 'box-office-3', clock_timestamp(), :version);
