-- Every gateway that shares this database hears of a change when it is committed, whoever made it.
CREATE FUNCTION penstock_tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('penstock', TG_TABLE_NAME);
    RETURN NULL;
END
$$;
CREATE TRIGGER penstock_tell AFTER INSERT OR UPDATE OR DELETE ON revocation
    FOR EACH STATEMENT EXECUTE FUNCTION penstock_tell();
-- Not of the last use, which every gateway writes down each minute.
CREATE TRIGGER penstock_tell AFTER INSERT OR DELETE OR UPDATE OF hash, group_list, expires_unix
    ON issued_key FOR EACH STATEMENT EXECUTE FUNCTION penstock_tell();
