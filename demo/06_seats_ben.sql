SELECT cfp_store('show 42', '{"row": "A", "status": "taken"}', 'A3', 'seats', 'Ben', username => 'ben', expected_version => 0);
\echo SQLSTATE :SQLSTATE
-- Ben takes the next one.
SELECT cfp_store('show 42', '{"row": "A", "status": "taken"}', 'A4', 'seats', 'Ben', username => 'ben', expected_version => 0);
