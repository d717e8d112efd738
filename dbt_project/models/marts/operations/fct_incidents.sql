-- A view: incidents and their alerts show without a build. It covers 90 days and every open incident.
{{ config(materialized='view') }}

with incidents as (

    select * from {{ ref('stg_tickmart__incidents') }}
    where recovered_at is null or opened_at >= current_timestamp - {{ hours(2160) }}

),

alerts as (

    select
        incident_id,
        count(*) filter (where sent_at is not null) as sent_alerts,
        count(*) filter (where is_waiting) as waiting_alerts,
        count(*) filter (where refused_at is not null) as refused_alerts,
        max(last_error) filter (where sent_at is null) as alert_error
    from {{ ref('stg_tickmart__alerts') }}
    where incident_id is not null
    group by incident_id

)

select
    incidents.incident_id,
    incidents.kind,
    incidents.severity,
    incidents.title,
    incidents.detail,
    incidents.run_id,
    incidents.opened_at as incident_opened_at,
    incidents.recovered_at,
    incidents.recovered_at is null as is_open,
    incidents.reopened_count,
    coalesce(alerts.sent_alerts, 0)::integer as sent_alerts,
    coalesce(alerts.waiting_alerts, 0)::integer as waiting_alerts,
    coalesce(alerts.refused_alerts, 0)::integer as refused_alerts,
    alerts.alert_error
from incidents
left join alerts on incidents.incident_id = alerts.incident_id
