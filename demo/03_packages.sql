-- The machine's package inventory: key "dpkg", collection = section, item =
-- package, the installed size as value, the rest in data.
CREATE TEMP TABLE package (name text, section text, version text, kilobytes bigint, status text, description text);
\copy package FROM PROGRAM 'dpkg-query -W -f ''${binary:Package}\t${Section}\t${Version}\t${Installed-Size}\t${db:Status-Status}\t${binary:Summary}\n''' WITH (FORMAT csv, DELIMITER E'\t', QUOTE E'\x01')
-- "status" in data is a special field: it gets a column of its own, too.
SELECT count(cfp_store('dpkg',
                       data            => jsonb_build_object('version', version, 'description', description, 'status', status),
                       item_name       => name,
                       collection_name => section,
                       value           => kilobytes)) AS packages
FROM package;
