-- Approvals too: whoever waits on one gateway hears of it when somebody decides on another.
CREATE TRIGGER penstock_tell AFTER UPDATE ON approval
    FOR EACH STATEMENT EXECUTE FUNCTION penstock_tell();
