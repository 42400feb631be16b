-- Revocations of kind `logins`: tokens that were issued up to this time, in seconds since 1970.
ALTER TABLE revocation ADD COLUMN issued_up_to_unix BIGINT;
