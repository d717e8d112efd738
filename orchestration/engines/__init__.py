"""The same dbt models on Spark and Sail: inputs from bronze, the build, the comparison with Postgres, publication.

``process``, ``session``, ``sources`` and ``translation`` run in the environment of an engine and import no package of
ours but each other. The rest runs in tickmart's. Models and their dialect are in ``dbt_project``.
"""
