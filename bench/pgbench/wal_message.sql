SELECT pg_logical_emit_message(true, 'cfp', :payload::text);
