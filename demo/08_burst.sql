-- One client of the burst: each generated line is a transaction, and each line
-- printed is a store that the server has acknowledged.
SELECT format($$SELECT %1$L, cfp_store('burst', '{"by": "client %2$s"}', %1$L, 'orders', %3$s), %3$s$$,
              'order ' || (random() * 100)::int, :client, :client * 1000000 + n)
FROM generate_series(1, 200000) n \gexec
