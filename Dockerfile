# One binary in a small image. Run it with nothing writable but the data:
#
#   docker build -t amanat .
#   docker run --read-only --tmpfs /tmp -v amanat-data:/data -p 8080:8080 amanat
#
# Mount a policy of your own at /policies, and secrets as files named by `AMANAT__…_FILE`.

FROM rust:1.95-bookworm AS build
# OpenSSL for the bundled libpq is built from source, which takes make and perl.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends build-essential perl \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY . .
RUN cargo build --locked --profile ship --bin amanat

FROM debian:bookworm-slim
# The roots by which recipients' certificates are checked.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin amanat \
    && install --directory --owner=amanat --group=amanat --mode=0700 /data
COPY --from=build /build/target/ship/amanat /usr/local/bin/amanat
COPY --from=build /build/policies /policies
# Relative paths of the configuration (`data/…`, `policies`) begin here.
WORKDIR /
ENV AMANAT__SERVER__LISTEN=0.0.0.0:8080 \
    AMANAT__LOG__FORMAT=json
USER 10001:10001
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["/usr/local/bin/amanat", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/amanat"]
CMD ["serve"]
