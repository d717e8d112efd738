# A Python base made from Debian's packages, for machines that reach no image registry. The root file system comes from
# mmdebstrap (`docker import`), the certificates from the machine.
ARG ROOT=localhost/debian-py:raw
FROM ${ROOT}
RUN ln -sf /usr/bin/python3 /usr/local/bin/python && rm -f /usr/lib/python3*/EXTERNALLY-MANAGED
COPY certificates.pem /etc/ssl/certs/ca-certificates.crt
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt
CMD ["python3"]
