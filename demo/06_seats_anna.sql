BEGIN;
SELECT cfp_store('show 42', '{"row": "A", "status": "taken"}', 'A3', 'seats', 'Anna', username => 'anna', expected_version => 0);
-- Anna looks for her credit card.
DO $$ BEGIN
	WHILE cfp_get('show 42', 'credit card', 'found') IS NULL LOOP
		PERFORM pg_sleep(0.1);
	END LOOP;
END $$;
COMMIT;
