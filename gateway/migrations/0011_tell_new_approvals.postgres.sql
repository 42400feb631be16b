-- New approvals too: whoever looks on at one gateway sees what is asked for at another. What has
-- changed lately is found by when it did.
DROP TRIGGER penstock_tell ON approval;
CREATE TRIGGER penstock_tell AFTER INSERT OR UPDATE ON approval
    FOR EACH STATEMENT EXECUTE FUNCTION penstock_tell();
CREATE INDEX approval_by_change ON approval (changed_ms);
