//! The hand-over against an honest gateway and dishonest ones.
