-- Absence in one answer is no fact: a gap is explained when two independent ways lack its bars.

alter table ops.coverage add column answered_by text[] not null default '{}';
comment on column ops.coverage.answered_by is
'The independent ways that answered for the whole day once it was over: rest, archive, status (the symbol did not trade).';

update ops.coverage set answered_by = array[source] where is_final and source in ('rest', 'archive');

alter table ops.gaps drop constraint gaps_kind_check;
alter table ops.gaps add constraint gaps_kind_check check (
    kind in ('exchange_halt', 'symbol_halt', 'not_listed', 'delisted', 'missing_locally')
);
