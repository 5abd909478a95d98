-- What a user would have instead of cfp: the same columns in plain tables.

CREATE TABLE public.plain_history (
	key text COLLATE "C" NOT NULL,
	collection_name text COLLATE "C" NOT NULL,
	item_name text COLLATE "C" NOT NULL,
	data jsonb,
	value_int bigint,
	value_float double precision,
	value_string text,
	timestamp timestamptz,
	status text,
	status_int integer,
	username text,
	updated_at timestamptz NOT NULL,
	version integer NOT NULL,
	txid xid8 NOT NULL DEFAULT pg_current_xact_id(),
	PRIMARY KEY (key, collection_name, item_name, version)
);
CREATE INDEX ON public.plain_history (txid);

-- The same without the index on txid, which only cfp's flush needs.
CREATE TABLE public.key_only_history (
	LIKE public.plain_history INCLUDING DEFAULTS,
	PRIMARY KEY (key, collection_name, item_name, version)
);

-- Latest and history as one would write them by hand: no index on txid, and
-- room in the pages of latest, as in storage_latest.
CREATE TABLE public.upsert_latest (
	LIKE public.plain_history INCLUDING DEFAULTS,
	PRIMARY KEY (key, collection_name, item_name)
) WITH (fillfactor = 85);
CREATE TABLE public.upsert_history (
	LIKE public.plain_history INCLUDING DEFAULTS,
	PRIMARY KEY (key, collection_name, item_name, version)
);

-- The other way by hand: an upsert of latest, whose trigger writes the history.
CREATE TABLE public.audit_latest (
	LIKE public.plain_history INCLUDING DEFAULTS,
	PRIMARY KEY (key, collection_name, item_name)
) WITH (fillfactor = 85);
CREATE TABLE public.audit_history (
	LIKE public.plain_history INCLUDING DEFAULTS,
	PRIMARY KEY (key, collection_name, item_name, version)
);
CREATE FUNCTION public.audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.audit_history SELECT NEW.*;
	RETURN NULL;
END $$;
CREATE TRIGGER audit AFTER INSERT OR UPDATE ON public.audit_latest
	FOR EACH ROW EXECUTE FUNCTION public.audit();
