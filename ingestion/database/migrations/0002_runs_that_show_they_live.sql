-- A command's process shows in its run's row that it lives, so that others see when it was killed.

alter table ops.runs add column beat_at timestamptz;
comment on column ops.runs.beat_at is
'When the process of a tickmart command last showed that it lives, every 20 s; null for runs of Dagster''s daemon.';
