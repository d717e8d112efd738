-- When the old value of a restatement became known, so that marts.bars_as_of can return what was known at a moment.

alter table ops.restatements add column old_loaded_at timestamptz;
comment on column ops.restatements.old_loaded_at is
'When the old value was loaded; null for restatements of versions that did not record it.';
