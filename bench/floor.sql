CREATE FUNCTION public.floor_set(jsonb) RETURNS void
	LANGUAGE c VOLATILE STRICT AS :'library', 'floor_set';
CREATE FUNCTION public.floor_get(text, text, text) RETURNS jsonb
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS :'library', 'floor_get';
CREATE FUNCTION public.floor_insert(regclass, text, jsonb, text, text, bigint, integer) RETURNS void
	LANGUAGE c VOLATILE STRICT AS :'library', 'floor_insert';
CREATE FUNCTION public.floor_insert_many(regclass, text, jsonb[], text[], text, bigint[], integer) RETURNS void
	LANGUAGE c VOLATILE STRICT AS :'library', 'floor_insert_many';
CREATE FUNCTION public.floor_text(integer) RETURNS text
	LANGUAGE c STABLE STRICT AS :'library', 'floor_text';
CREATE FUNCTION public.floor_json(regclass) RETURNS bigint
	LANGUAGE c VOLATILE STRICT AS :'library', 'floor_json';
