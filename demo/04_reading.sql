-- One item: a memory copy. The typed value comes back as what it was.
SELECT jsonb_pretty(cfp_get('postgresql', 'random_page_cost', 'Query Tuning / Planner Cost Constants')) AS record;
SELECT cfp_get_value('postgresql', 'max_connections', 'Connections and Authentication / Connection Settings') AS an_integer,
       cfp_get_value('postgresql', 'random_page_cost', 'Query Tuning / Planner Cost Constants') AS a_float,
       cfp_get_value('postgresql', 'wal_level', 'Write-Ahead Log / Settings') AS a_string,
       cfp_get_text('postgresql', 'wal_level', 'Write-Ahead Log / Settings') AS as_text;
-- A whole collection in one call.
SELECT jsonb_pretty(cfp_get_values('postgresql', 'Write-Ahead Log / Checkpoints')) AS checkpoints;
-- A changed item keeps its history, from the moment of the commit.
SELECT cfp_store('postgresql', '{"reason": "nightly reports spill to disk"}', 'work_mem', 'Resource Usage / Memory',
                 65536, username => 'anna');
SELECT version, value_int, username, coalesce(data ->> 'reason', data ->> 'description') AS said
FROM cfp_history('postgresql', 'work_mem', 'Resource Usage / Memory');
-- storage_current is a table like any other: which settings does the running
-- server not have as they are stored?
SELECT c.collection_name, c.item_name, c.value AS stored, s.setting AS running, s.unit
FROM storage_current c JOIN pg_settings s ON s.name = c.item_name
WHERE c.key = 'postgresql' AND s.vartype = 'integer' AND s.unit IS NOT NULL AND c.value #>> '{}' <> s.setting;
-- It is also the door for plain SQL: nothing is lost by reading first.
UPDATE storage_current SET value_int = value_int * 2
WHERE key = 'postgresql' AND collection_name = 'Resource Usage / Memory' AND item_name = 'work_mem';
SELECT cfp_get_value('postgresql', 'work_mem', 'Resource Usage / Memory') AS work_mem;
-- The largest sections of the package inventory.
SELECT collection_name AS section, count(*) AS packages, pg_size_pretty(sum(value_int) * 1024) AS installed,
       max(item_name) FILTER (WHERE value_int = largest) AS largest
FROM (SELECT *, max(value_int) OVER (PARTITION BY collection_name) AS largest
      FROM storage_current WHERE key = 'dpkg') p
GROUP BY collection_name ORDER BY sum(value_int) DESC LIMIT 5;
-- A typed table shows a collection with members of data as columns, and is
-- written as a table, too.
CREATE FOREIGN TABLE admin_packages (
	package   text OPTIONS (field 'item_name') COLLATE "C",
	kilobytes bigint OPTIONS (field 'value'),
	version   text OPTIONS (member 'version'),
	owner     text
) SERVER cfp OPTIONS (key 'dpkg', collection 'admin');
UPDATE admin_packages SET owner = 'anna' WHERE package LIKE 'adduser%' RETURNING package, kilobytes, version, owner;
