-- The server's own configuration becomes a configuration set: key "postgresql",
-- collection = category, item = setting, and the value keeps its type.
SELECT count(cfp_store('postgresql',
                       data            => jsonb_build_object('description', short_desc, 'unit', unit, 'context', context),
                       item_name       => name,
                       collection_name => category,
                       value           => setting::bigint)) AS integers
FROM pg_settings WHERE vartype = 'integer';
SELECT count(cfp_store('postgresql',
                       data            => jsonb_build_object('description', short_desc, 'unit', unit, 'context', context),
                       item_name       => name,
                       collection_name => category,
                       value           => setting::float8)) AS reals
FROM pg_settings WHERE vartype = 'real';
SELECT count(cfp_store('postgresql',
                       data            => jsonb_build_object('description', short_desc, 'choices', enumvals, 'context', context),
                       item_name       => name,
                       collection_name => category,
                       value           => setting)) AS texts
FROM pg_settings WHERE vartype IN ('bool', 'enum', 'string');
