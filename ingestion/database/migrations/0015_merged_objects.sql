-- Objects of closed days and months are merged; the ledger keeps the row of each object that a merged one contains.

alter table ops.load_ledger add column merged_into text;
comment on column ops.load_ledger.merged_into is 'The merged object that has this object''s rows; null for an object that is read by itself.';
create index load_ledger_merged_into on ops.load_ledger (merged_into) where merged_into is not null;
