-- A seat map of one show; two seats are taken.
SELECT count(cfp_store('show 42', jsonb_build_object('row', 'A', 'status', 'taken'), format('A%s', n), 'seats', 'group'))
FROM generate_series(1, 2) n;
-- Now Anna and Ben want seat A3 at the same moment. expected_version => 0 says:
-- only if nobody has it.
