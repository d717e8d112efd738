# Stand-ins for Prometheus, Caddy and Adminer where their images cannot be pulled: Debian's packages with the images'
# users, paths, ports and commands, so that docker-compose.yml is tried as it is. One target each.
ARG PYTHON_IMAGE
FROM ${PYTHON_IMAGE} AS packages
# Each target needs the lists; whichever versions the base's Debian has will do.
# hadolint ignore=DL3009
RUN apt-get update

# The image's user is nobody (65534), who owns /prometheus.
FROM packages AS prometheus
# hadolint ignore=DL3008
RUN apt-get install -y --no-install-recommends prometheus wget && install -d -o nobody -g nogroup /prometheus
USER 65534
WORKDIR /prometheus
VOLUME /prometheus
ENTRYPOINT ["/usr/bin/prometheus"]

# The image's program has the capability to listen below 1024 in its file, and does not start without it.
FROM packages AS caddy
# hadolint ignore=DL3008
RUN apt-get install -y --no-install-recommends caddy libcap2-bin wget && setcap cap_net_bind_service=+ep /usr/bin/caddy \
    && install -d /config /data
ENV XDG_CONFIG_HOME=/config XDG_DATA_HOME=/data
VOLUME ["/config", "/data"]
CMD ["caddy", "run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"]

FROM packages AS adminer
# hadolint ignore=DL3008
RUN apt-get install -y --no-install-recommends adminer php-cli php-pgsql \
    && useradd --uid 1000 --no-create-home adminer && install -d -o adminer /var/www/html
WORKDIR /var/www/html
RUN printf '%s\n' '<?php require "/usr/share/adminer/adminer.php";' > index.php
USER 1000
CMD ["php", "-d", "session.save_path=/tmp", "-S", "[::]:8080", "-t", "/var/www/html"]
